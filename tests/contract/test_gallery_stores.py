"""What every gallery store must do: SQLite's here, and any that an installed package registers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.postgres import PASSWORD, NoServerError, Server, private_server, with_pgvector

import imagematch
from imagematch.errors import ConfigError, DataError, ModelError, StudyError
from imagematch.retrieval import GALLERY_STORES, Gallery, GalleryFacts, GalleryImage, GalleryStore, NewImage, distances

DIM = 8
NUMBERS = itertools.count()
OPENED: list[GalleryStore] = []
FACTS = GalleryFacts("0" * 32, "digits", DIM, 64)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        with private_server(with_pgvector()) as started:
            yield started
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "gallery")
    return f"{request.getfixturevalue('server').url}?gallery=test_{next(NUMBERS)}"


@pytest.fixture
def store(location: str) -> Iterator[GalleryStore]:
    made = GALLERY_STORES.of(location).create(location, FACTS)
    yield made
    for opened in (made, *OPENED):
        opened.close()
    OPENED.clear()


def reopened(location: str) -> GalleryStore:
    OPENED.append(GALLERY_STORES.of(location).open(location))
    return OPENED[-1]


def vector(number: int) -> np.ndarray:
    row = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


def image(number: int, label: str = "") -> NewImage:
    return NewImage(f"digest {number}", label, f"folder/{number}.png", vector(number), b"picture %d" % number)


def images(first: int, stop: int, label: str = "") -> list[NewImage]:
    return [image(number, label) for number in range(first, stop)]


def naive(numbers_by_id: dict[int, int], query: int, k: int) -> list[int]:
    ids = sorted(numbers_by_id)
    every = distances(vector(query)[None], np.stack([vector(numbers_by_id[one]) for one in ids]))[0]
    return [ids[row] for row in np.argsort(every, kind="stable")[:k]]


def test_what_is_added_is_found_by_the_next_search_and_what_is_removed_is_not(store: GalleryStore) -> None:
    held: dict[int, int] = {}
    for first in range(0, 60, 20):
        ids = store.add(images(first, first + 20))
        held |= dict(zip(ids, range(first, first + 20), strict=True))
        for query in (first, first + 7, 99):
            found, near = store.search(vector(query)[None], 5)
            assert found[0].tolist() == naive(held, query, 5)
            assert (np.diff(near[0]) >= 0).all()
            expected = distances(vector(query)[None], store.embeddings(found[0].tolist()))[0]
            np.testing.assert_allclose(near[0], expected, atol=1e-6)
        gone = ids[::3]
        assert store.remove([*gone, 10**9]) == len(gone)
        held = {one: number for one, number in held.items() if one not in gone}
        assert store.count() == len(held)
        assert store.search(vector(first)[None], 99)[0][0].tolist() == naive(held, first, 99)


def test_equal_distances_come_by_id(store: GalleryStore) -> None:
    ids = store.add([one._replace(embedding=vector(3)) for one in images(0, 40)])
    assert store.search(vector(3)[None], 7)[0][0].tolist() == ids[:7]


def test_an_empty_gallery_finds_nothing(store: GalleryStore) -> None:
    found, near = store.search(np.stack([vector(0), vector(1)]), 5)
    assert found.shape == near.shape == (2, 0)
    assert (store.count(), store.labels(), store.images(), store.find([1])) == (0, {}, [], {})
    assert store.add([]) == []


def test_an_id_is_never_given_to_another_image(store: GalleryStore, location: str) -> None:
    (first, last) = store.add(images(0, 2))
    store.remove([last])
    store.close()
    store = reopened(location)
    (again,) = store.add([image(1)])
    assert again > last
    store.remove([first, again])
    assert store.add([image(2)])[0] > again


def test_the_same_content_is_one_image_and_takes_a_new_label(store: GalleryStore) -> None:
    ids = store.add([image(0, "cat"), image(1, "dog"), image(0)])
    assert ids == [ids[0], ids[1], ids[0]]
    assert store.find(ids)[ids[0]].label == "cat"
    other = image(0, "tiger")._replace(embedding=vector(5))
    assert store.add([other]) == [ids[0]]
    assert store.labels() == {"dog": 1, "tiger": 1}
    np.testing.assert_array_equal(store.embeddings([ids[0]])[0], vector(0))


def test_labels_pages_and_pictures(store: GalleryStore) -> None:
    odd = "<script>alert(1)</script>\n'; drop table images; -- ü"
    ids = store.add([*images(0, 5, "b"), *images(5, 8, odd), *images(8, 10)])
    assert store.labels() == dict(sorted({"": 2, odd: 3, "b": 5}.items()))
    assert store.labels(start="b", limit=1) == {"b": 5}
    assert store.labels(start=odd, contains="TABLE") == {odd: 3}
    assert store.labels(start="b\x01") == {}
    assert store.labels(contains="Ü") == {odd: 3}
    assert [one.id for one in store.images(label="b", limit=2)] == ids[:2]
    assert [one.id for one in store.images(label="b", after=ids[1])] == ids[2:5]
    assert [one.id for one in store.images(label=odd)] == ids[5:8]
    assert [one.id for one in store.images(label="")] == ids[8:]
    assert [one.id for one in store.images(after=ids[3], limit=4)] == ids[4:8]
    assert [one.id for one in store.images(label="nobody")] == []
    assert store.image_file(ids[4]) == b"picture 4"
    assert store.image_file(10**9) is None
    (bare,) = store.add([image(20)._replace(data=b"")])
    assert store.image_file(bare) is None
    one = store.find([ids[6]])[ids[6]]
    assert (one.label, one.digest, one.source) == (odd, "digest 6", "folder/6.png")


def test_paths_of_any_bytes_come_back(store: GalleryStore) -> None:
    source = os.fsdecode(b"folder/\xff\n.png")
    (one,) = store.add([image(0)._replace(source=source)])
    assert store.find([one])[one].source == source


def test_it_is_the_same_after_it_was_closed(store: GalleryStore, location: str) -> None:
    ids = store.add(images(0, 30, "a"))
    store.remove(ids[:3])
    expected, listed = store.search(vector(5)[None], 9), store.images()
    store.close()
    again = reopened(location)
    assert again.facts == FACTS
    assert again.images() == listed
    np.testing.assert_array_equal(again.search(vector(5)[None], 9)[0], expected[0])


def test_two_that_are_open_see_each_others_changes(store: GalleryStore, location: str) -> None:
    other = reopened(location)
    assert other.search(vector(0)[None], 3)[0].shape == (1, 0)
    ids = store.add(images(0, 20))
    assert other.search(vector(4)[None], 1)[0].tolist() == [[ids[4]]]
    other.remove([ids[4]])
    assert store.search(vector(4)[None], 1)[0].tolist() != [[ids[4]]]
    assert store.add([image(4)]) == [other.search(vector(4)[None], 1)[0][0, 0]]
    assert store.generation() == other.generation() == 3


def test_threads_may_share_it(store: GalleryStore) -> None:
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 10):
                (one,) = store.add([image(number)])
                assert store.search(vector(number)[None], 1)[0].tolist() == [[one]]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(10 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert store.count() == 40


def test_embeddings_are_replaced_whole_or_not_at_all(store: GalleryStore, location: str) -> None:
    ids = store.add(images(0, 10))
    other = reopened(location)
    other.search(vector(0)[None], 1)
    anew = replace(FACTS, matcher="1" * 32, matcher_name="other", dim=3)
    rows = [(one, np.eye(3, dtype=np.float32)[number % 3]) for number, one in enumerate(ids)]
    seen = store.generation()
    with pytest.raises(StudyError, match="not every image has a new embedding"):
        store.replace(anew, rows[:-1], seen=seen)
    store.add([image(50)])
    with pytest.raises(StudyError, match="was changed meanwhile; run it again"):
        store.replace(anew, rows, seen=seen)
    assert (reopened(location).facts, store.facts) == (FACTS, FACTS)
    store.remove(store.add([image(50)]))
    store.replace(anew, rows, seen=store.generation())
    assert store.facts == reopened(location).facts == anew
    assert store.search(np.eye(3, dtype=np.float32)[1][None], 4)[0].tolist() == [[*ids[1::3], ids[0]]]
    for outdated in (lambda: other.add([image(60)]), lambda: other.search(vector(0)[None], 1)):
        with pytest.raises(ModelError, match="was rebuilt for another matcher meanwhile; open it again"):
            outdated()
    assert store.count() == 10


def test_one_that_is_there_is_not_made_again(store: GalleryStore, location: str) -> None:
    store.add([image(0)])
    with pytest.raises(DataError, match="is a gallery already; choose another name, or remove it"):
        GALLERY_STORES.of(location).create(location, FACTS)
    assert reopened(location).count() == 1


def test_none_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no gallery is there; create one: imagematch gallery create"):
        reopened(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="no gallery is stored at mongodb://"):
        GALLERY_STORES.of("mongodb+srv://somewhere/x")


WRITER = """
import os, signal, sys, time
from tests.contract.test_gallery_stores import images, reopened
reopened(sys.argv[1]).close()
for number, line in enumerate(sys.stdin):
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        store = reopened(sys.argv[1])
        os.write(tell, b"opened")
        for start in range(1000, 100_000, 50):
            store.add(images(start, start + 50))
            os.write(tell, b"added!")
            store.remove(store.add(images(start, start + 10)))
    for _ in range(1 + number % 2):
        os.read(ready, 6)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def settled(store: GalleryStore) -> tuple[list[GalleryImage], list[int]]:
    """All images as they are listed and as they are found, once no server is committing for a killed client."""
    while True:
        seen = store.generation()
        listed = store.images(limit=10**6)
        found, _ = store.search(vector(1030)[None], 10**6)
        if store.generation() == seen:
            return listed, found[0].tolist()


def test_killed_twenty_times_it_is_as_before_or_after(store: GalleryStore, location: str) -> None:
    """Each time 50 are added, and then 10 of them removed, so that of each 50 there are none, 50 or 40."""
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(Path(imagematch.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, location]
    chance, most = np.random.default_rng(0), 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=root) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdin.write(b"%f\n" % chance.uniform(0, 0.1))
            writer.stdin.flush()
            assert writer.stdout.readline() == b"killed\n"
            listed, found = settled(store)
            ids = [one.id for one in listed]
            most = max(most, len(ids))
            in_order = sorted(int(one.digest.removeprefix("digest ")) for one in listed)
            steps = Counter((number - 1000) // 50 for number in in_order)
            assert set(steps.values()) <= {40, 50}
            assert sorted(found) == ids
            assert all(store.image_file(one) is not None for one in ids)
    assert most


def test_beyond_the_exact_search_an_index_proposes_candidates(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.retrieval.postgresql_store.EXACT_UP_TO", 100)
    location = f"{server.url}?gallery=large"
    store = GALLERY_STORES.of(location).create(location, FACTS)
    ids = store.add(images(0, 2000))
    held = dict(zip(ids, range(2000), strict=True))
    shares = []
    for query in range(5000, 5020):
        found, near = store.search(vector(query)[None], 10)
        shares.append(len(set(found[0].tolist()) & set(naive(held, query, 10))) / 10)
        assert (np.diff(near[0]) >= 0).all()
        expected = distances(vector(query)[None], store.embeddings(found[0].tolist()))[0]
        np.testing.assert_allclose(near[0], expected, atol=1e-6)
    assert np.mean(shares) > 0.95
    store.close()


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("postgresql+psycopg://u:hush@127.0.0.1:1/x", "names no gallery; end it with [?]gallery=NAME"),
        ("postgresql+psycopg://u:hush@127.0.0.1:1/x?gallery=a;drop", "names no gallery"),
        ("postgresql+psycopg://u:hush@127.0.0.1:1/x?gallery=a", "127.0.0.1/x, gallery a: the gallery cannot be used"),
        ("postgresql+nothing://u:hush@127.0.0.1:1/x?gallery=a", "its driver is not installed"),
        ("postgresql+psycopg://u:hush@[::1/x?gallery=a", "is no URL"),
    ],
)
def test_a_server_that_is_not_there_is_told_in_one_line_without_its_password(location: str, told: str) -> None:
    with pytest.raises((ConfigError, StudyError), match=told) as error:
        reopened(location)
    assert "\n" not in str(error.value)
    assert "hush" not in str(error.value)


def test_a_gallery_on_a_server_has_a_matcher_and_its_password_is_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.retrieval.gallery._loaded", lambda matcher: matcher)
    location = f"{server.url}?gallery=matched"
    GALLERY_STORES.of(location).create(location, FACTS).close()
    card = SimpleNamespace(name="other", files={}, embedding=SimpleNamespace(model_dump=lambda **_: {}))
    with pytest.raises(
        ModelError, match=r"//127.0.0.1:.*: belongs to another matcher, which is called digits"
    ) as error:
        Gallery.open(location, SimpleNamespace(card=card))  # type: ignore[arg-type]
    assert PASSWORD not in str(error.value)


def test_a_server_that_goes_away_and_comes_back_is_used_again(server: Server) -> None:
    location = f"{server.url}?gallery=away"
    store = GALLERY_STORES.of(location).create(location, FACTS)
    ids = store.add(images(0, 3))
    server.stop()
    with pytest.raises(StudyError, match="the gallery cannot be used"):
        store.add([image(3)])
    server.start()
    assert store.count() == 3
    assert store.search(vector(1)[None], 1)[0].tolist() == [[ids[1]]]
    store.close()
