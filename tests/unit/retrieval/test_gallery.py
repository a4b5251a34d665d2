"""A gallery with a matcher whose embedding of an image is its mean colour, turned to length 1."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.data import decode
from imagematch.errors import DataError, ModelError, StudyError
from imagematch.retrieval import Gallery
from imagematch.retrieval import gallery_index as module


class Colours:
    """A matcher: (red, green, blue) of length 1."""

    threshold = 0.2

    def __init__(self, name: str = "colours", order: tuple[int, ...] = (0, 1, 2)) -> None:
        embedding = SimpleNamespace(dim=3, decoding={}, model_dump=lambda **_: {"name": name})
        self.card = SimpleNamespace(name=name, files={}, embedding=embedding)
        self._order = list(order)

    def embed(self, images: Any, unreadable: Callable[[int, DataError], None] | None = None) -> np.ndarray:
        found = np.full((len(images), 3), np.nan, np.float32)
        for row, image in enumerate(images):
            try:
                colour = decode(image, 32).mean(axis=(0, 1))[self._order] + 1e-3
                found[row] = colour / np.linalg.norm(colour)
            except DataError as error:
                if unreadable is None:
                    raise
                unreadable(row, error)
        return found

    def probability(self, distance: float) -> float | None:
        return 1 - distance / 2


def colour(red: int, green: int = 0, blue: int = 0, size: int = 8) -> np.ndarray:
    return np.full((size, size, 3), (red, green, blue), np.uint8)


RED, ORANGE, GREEN, BLUE = colour(250), colour(250, 60), colour(0, 250), colour(0, 0, 250)
MATCHER: Any = Colours()


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gallery]:
    monkeypatch.setattr("imagematch.retrieval.gallery._loaded", lambda matcher: matcher)
    with Gallery.create(tmp_path / "gallery", MATCHER) as made:
        yield made


def test_a_search_says_what_matches_and_who_is_unknown(gallery: Gallery) -> None:
    red, green = gallery.add([RED, GREEN], ["warm", None])
    assert len(gallery) == 2
    found = gallery.search(ORANGE, 5)
    assert [(hit.id, hit.label, hit.is_match) for hit in found] == [(red, "warm", False), (green, None, False)]
    expected = float(np.linalg.norm(MATCHER.embed([ORANGE])[0] - MATCHER.embed([RED])[0]))
    assert found[0].distance == pytest.approx(expected, abs=1e-6)
    assert found[0].probability == pytest.approx(1 - expected / 2, abs=1e-6)
    assert found.unknown
    near = gallery.search(ORANGE, 1, threshold=0.3)
    assert [hit.is_match for hit in near] == [True]
    assert not near.unknown
    assert [hits.unknown for hits in gallery.search_many([RED, BLUE])] == [False, True]
    with pytest.raises(ValueError, match="k must be 1 or more"):
        gallery.search(RED, 0)


def test_an_empty_gallery_knows_nobody(gallery: Gallery) -> None:
    assert gallery.search(RED) == ()
    assert gallery.search(RED).unknown
    assert gallery.search(RED, by_label=True) == ()


def test_each_label_once_by_its_nearest_example(gallery: Gallery) -> None:
    many = [colour(250, number) for number in range(60)]
    ids = gallery.add([*many, GREEN, BLUE, colour(251)], [*["warm"] * 60, "green", "blue", None])
    found = gallery.search(colour(250, 30), 3, by_label=True)
    assert [(hit.label, hit.id) for hit in found] == [("warm", ids[30]), ("green", ids[60]), ("blue", ids[61])]
    assert len(gallery.search(RED, 9, by_label=True)) == 3


def test_an_image_is_itself_in_every_form_of_its_bytes(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    (one,) = gallery.add(path, "red")
    assert gallery.add([str(path), path.read_bytes()]) == [one, one]
    (other,) = gallery.add(RED)
    assert gallery.add([Image.fromarray(RED), RED.astype(np.float32)]) == [other, other]
    assert next(gallery.images("red")).source == str(path)
    assert gallery.labels() == {"": 1, "red": 1}


def test_pages_follow_each_other_and_a_label_is_replaced(gallery: Gallery) -> None:
    one, two, three = gallery.add([RED, GREEN, BLUE], ["a", "b", "a"])
    assert [image.id for image in gallery.page(limit=2)] == [one, two]
    assert [image.id for image in gallery.page("a", after=one)] == [three]
    before, file = gallery.embeddings([one]).tolist(), gallery.image_file(one)
    assert gallery.relabel(one, "e\u0301")
    assert gallery.labels() == {"a": 1, "b": 1, "\u00e9": 1}
    assert (len(gallery), gallery.embeddings([one]).tolist(), gallery.image_file(one)) == (3, before, file)
    assert not gallery.relabel(99, "a")
    with pytest.raises(DataError, match="a label cannot be removed"):
        gallery.relabel(one, "")


def test_all_or_none_are_added_unless_it_is_said_what_becomes_of_the_others(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    mixed = [RED, tmp_path / "broken.png", GREEN]
    with pytest.raises(DataError, match=r"broken\.png"):
        gallery.add(mixed)
    assert len(gallery) == 0
    told: list[int] = []
    assert len(gallery.add(mixed, "x", unusable=lambda row, _: told.append(row))) == 2
    assert (told, gallery.labels()) == ([1], {"x": 2})
    with pytest.raises(ValueError, match="3 images cannot have 1 labels"):
        gallery.add(mixed, ["x"])


def test_labels_are_text_of_bounded_length_in_composed_form(gallery: Gallery) -> None:
    gallery.add([RED], ["u\u0308<script>"])
    assert gallery.labels() == {"ü<script>": 1}
    with pytest.raises(DataError, match=r"a label has at most 1,000 letters, not 10,000"):
        gallery.add([BLUE], "x" * 10_000)
    with pytest.raises(DataError, match="a label must be Unicode text"):
        gallery.add([BLUE], "\udcff")
    with pytest.raises(DataError, match="without null characters"):
        gallery.add([BLUE], "a\0b")
    assert len(gallery) == 1


def test_stored_images_are_small_upright_and_without_exif(gallery: Gallery, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret"
    pixels = np.zeros((100, 600, 3), np.uint8)
    pixels[:, :300] = 250
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    small, large = gallery.add([RED, tmp_path / "a.jpg"])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(gallery.image_file(small) or b""))), RED)
    stored = Image.open(io.BytesIO(gallery.image_file(large) or b""))
    assert (stored.size, stored.format) == ((43, 256), "JPEG")
    assert not stored.getexif()
    assert np.asarray(stored)[20].mean() > 200 > 50 > np.asarray(stored)[-20].mean()
    assert gallery.image_file(10**9) is None


def test_removed_by_id_or_label(gallery: Gallery) -> None:
    ids = gallery.add([colour(number) for number in range(9)], [*"aabbccddd"])
    assert gallery.remove(ids[0]) == 1
    assert gallery.remove([*ids[:2], -1, 10**30]) == 1
    assert gallery.remove_label("d") == 3
    assert gallery.remove_label("d") == 0
    assert [image.id for image in gallery.images()] == ids[2:6]


def test_another_matcher_is_refused_until_the_gallery_is_rebuilt(gallery: Gallery, tmp_path: Path) -> None:
    (red, green) = gallery.add([RED, GREEN])
    other: Any = Colours("other", (1, 0, 2))
    with pytest.raises(ModelError, match="belongs to another matcher, which is called colours; use that one, or"):
        Gallery.open(tmp_path / "gallery", other)
    assert gallery.rebuild(other) == 2
    with Gallery.open(tmp_path / "gallery", other) as opened:
        np.testing.assert_allclose(opened.embeddings([red, green]), [[0, 1, 0], [1, 0, 0]], atol=1e-3)
        assert opened.search(RED, 1)[0].id == red
    with pytest.raises(ModelError, match="belongs to another matcher, which is called other"):
        Gallery.open(tmp_path / "gallery", MATCHER)
    with Gallery.open(tmp_path / "gallery") as opened, pytest.raises(ModelError, match="opened without its matcher"):
        opened.search(RED)


def test_without_stored_images_it_is_not_rebuilt(tmp_path: Path, gallery: Gallery) -> None:
    with Gallery.create(tmp_path / "bare", MATCHER, image_side=0) as bare:
        (one,) = bare.add([RED])
        assert bare.image_file(one) is None
        with pytest.raises(DataError, match=f"image {one} is stored without its file; add it again"):
            bare.rebuild(Colours("other"))  # type: ignore[arg-type]
        assert bare.facts.matcher_name == "colours"


@pytest.fixture
def index_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "SAVED_AFTER", 4)
    return tmp_path / "gallery" / "index"


def nearest_ids(gallery: Gallery, tmp_path: Path) -> list[int]:
    with Gallery.open(tmp_path / "gallery", MATCHER) as opened:
        return [hit.id for hit in opened.search(RED, 99)]


def test_the_index_is_cached_after_many_changes_and_followed_up(
    gallery: Gallery, index_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = gallery.add([colour(250, 3 * number) for number in range(3)])
    gallery.search(RED)
    assert not index_dir.exists()
    ids += gallery.add([colour(250, 9), colour(250, 12)])
    gallery.search(RED)
    assert sorted(path.name for path in index_dir.iterdir()) == ["faiss.index", "index.json"]
    gallery.remove(ids[0])
    ids += gallery.add([colour(250, 15)])
    taken: list[tuple[bool, int]] = []
    update = module.GalleryIndex.update

    def watched(index: module.GalleryIndex, changes: module.Changes) -> None:
        update(index, changes)
        taken.append((changes.whole, index._unsaved))

    monkeypatch.setattr(module.GalleryIndex, "update", watched)
    assert nearest_ids(gallery, tmp_path) == ids[1:]
    assert taken == [(False, 2)]


@pytest.mark.parametrize("harm", ["facts", "vectors", "other dim", "unordered", "gone"])
def test_a_damaged_index_is_made_anew(gallery: Gallery, index_dir: Path, tmp_path: Path, harm: str) -> None:
    import faiss

    from imagematch.files import digest_file

    ids = gallery.add([colour(250, 3 * number) for number in range(6)])
    gallery.search(RED)
    path, facts = index_dir / "faiss.index", json.loads((index_dir / "index.json").read_text())
    if harm == "facts":
        (index_dir / "index.json").write_text("[" * 10_000)
    elif harm == "vectors":
        path.write_bytes(path.read_bytes()[:-8])
    elif harm == "gone":
        path.unlink()
    else:
        dim = 4 if harm == "other dim" else 3
        made = faiss.IndexIDMap2(faiss.IndexFlatL2(dim))
        made.add_with_ids(np.zeros((6, dim), np.float32), np.array(ids[::-1]))
        faiss.write_index(made, str(path))
        (index_dir / "index.json").write_text(json.dumps({**facts, "digest": digest_file(path)}))
    assert nearest_ids(gallery, tmp_path) == ids


def test_a_gallery_that_was_restored_from_a_backup_has_an_index_of_its_own(
    gallery: Gallery, index_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gallery" / "gallery.sqlite"
    first = gallery.add([colour(250, 3 * number) for number in range(4)])
    backup = path.read_bytes()
    gallery.add([GREEN])
    gallery.search(RED)
    gallery.close()
    path.write_bytes(backup)
    with Gallery.open(tmp_path / "gallery", MATCHER) as restored:
        (blue,) = restored.add([BLUE])  # as many changes as the index knows of, but others
        assert [hit.id for hit in restored.search(RED, 99)] == [*first, blue]
        assert restored.search(BLUE, 1)[0].distance == 0


def test_a_full_disk_while_adding_leaves_it_as_it_was(gallery: Gallery) -> None:
    (red,) = gallery.add([RED])
    base = gallery._store._base  # type: ignore[attr-defined]
    (pages,) = base.execute("pragma page_count").fetchone()
    base.execute(f"pragma max_page_count = {pages + 2}")
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    with pytest.raises(StudyError, match=r"database or disk is full \(.*free some space"):
        gallery.add([GREEN, noise])
    base.execute("pragma max_page_count = 1000000")
    assert [image.id for image in gallery.images()] == [red]
    assert gallery.add([GREEN]) == [red + 1]


def test_a_writer_that_waits_too_long_is_told(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.retrieval.sqlite_store.BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(tmp_path / "gallery" / "gallery.sqlite", isolation_level=None)
    other.execute("begin immediate")
    with Gallery.open(tmp_path / "gallery", MATCHER) as opened:
        assert opened.search(RED) == ()  # who reads does not wait
        with pytest.raises(StudyError, match="another process is writing to it; try again later"):
            opened.add([RED])
        other.execute("rollback")
        assert len(opened.add([RED])) == 1
    other.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("create view v as select 1", "holds a view"),
        ("create trigger t after insert on images begin delete from images; end", "holds a trigger"),
        ("alter table images add column x integer as (id + 1)", "holds computed columns"),
        ("create index i on images (id + 1)", "holds a computed index"),
        ("delete from facts where key = 'dim'", "is not a gallery"),
        ("update facts set value = 99 where key = 'format'", "was written by a newer imagematch; update imagematch"),
        ("update facts set value = -1 where key = 'dim'", "is not a gallery"),
    ],
)
def test_a_gallery_that_somebody_sent_is_checked(gallery: Gallery, tmp_path: Path, statement: str, told: str) -> None:
    gallery.close()
    with sqlite3.connect(tmp_path / "gallery" / "gallery.sqlite") as base:
        base.execute(statement)
    base.close()
    with pytest.raises((DataError, StudyError), match=told):
        Gallery.open(tmp_path / "gallery")


LONG = "cast(zeroblob(70000) as text)"


@pytest.mark.parametrize(
    "statement",
    [
        "delete from generations",
        "delete from generations; insert into generations values (9223372036854775807, 'x')",
        "update generations set token = 5",
        "delete from facts",
        "update facts set value = x'00' where key = 'matcher'",
        f"update images set label = {LONG}",
        f"update images set digest = {LONG}",
        f"update images set added = {LONG}",
        "update images set source = zeroblob(70000)",
        "update images set embedding = zeroblob(10000000)",
        "update images set embedding = 5",
        "drop table removals",
        "drop table image_files",
        "drop table generations; create table generations (generation, token)",
        "drop table removals; create table removals (id, generation); insert into removals values ('x', 9)",
        "update facts set value = -5 where key = 'image_side'",
        "insert into facts select hex(randomblob(50)), zeroblob(1000000) from images",
    ],
)
def test_what_is_damaged_in_an_open_gallery_is_one_line(gallery: Gallery, tmp_path: Path, statement: str) -> None:
    """Whatever the next call meets, it answers, or says so in one line of ours."""
    (one,) = gallery.add([RED], "red")
    gallery.search(RED)
    with sqlite3.connect(tmp_path / "gallery" / "gallery.sqlite") as base:
        base.executescript(statement)
    base.close()
    calls = (
        lambda: gallery.search(RED),
        lambda: gallery.add([GREEN], "green"),
        lambda: gallery.labels(),
        lambda: list(gallery.images()),
        lambda: gallery.embeddings([one]),
        lambda: gallery.neighbours([one]),
        lambda: gallery.image_file(one),
        lambda: gallery.remove([one]),
        lambda: Gallery.open(tmp_path / "gallery", MATCHER).close(),
    )
    told = []
    for call in calls:
        try:
            call()
        except (DataError, ModelError, StudyError) as error:
            told.append(str(error))
    assert all(len(line.splitlines()) == 1 and "full" not in line for line in told)


def test_an_embedding_that_is_none_is_told(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add([RED])
    for wrong in (b"", np.full(3, np.nan, np.float32).tobytes()):
        with sqlite3.connect(tmp_path / "gallery" / "gallery.sqlite") as base:
            base.execute("update images set embedding = ?", (wrong,))
        base.close()
        with (
            Gallery.open(tmp_path / "gallery", MATCHER) as opened,
            pytest.raises(StudyError, match="holds a damaged embedding; restore it from a backup"),
        ):
            opened.search(RED)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, None])
def test_what_is_no_gallery_is_told(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "g").mkdir()
    if content is not None:
        (tmp_path / "g" / "gallery.sqlite").write_bytes(content)
    with pytest.raises(DataError, match=r"no gallery|not a gallery"):
        Gallery.open(tmp_path / "g")


def test_help_of_the_command_needs_no_faiss() -> None:
    code = "import sys, imagematch.cli.main; sys.exit(any(n in sys.modules for n in ('faiss', 'tensorflow', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "change",
    [
        *(
            "images set source = 5",
            "images set source = 'text'",
            "images set label = x'ff'",
            "images set digest = x'00'",
        ),
        *("images set added = x'00'", "images set embedding = 7", "images set embedding = x'010203'"),
        "image_files set data = 10000000000",
    ],
)
def test_a_value_of_another_kind_is_told(gallery: Gallery, tmp_path: Path, change: str) -> None:
    """A gallery that somebody sent: SQLite takes any value anywhere, and `bytes(10000000000)` is 10 GB of zeros."""
    (one,) = gallery.add([RED], "red")
    gallery.close()
    with sqlite3.connect(tmp_path / "gallery" / "gallery.sqlite") as base:
        base.execute(f"update {change}")
    base.close()

    def look(at: Gallery) -> None:
        at.labels()
        list(at.images())
        at.image_file(one)
        at.search(RED)

    with Gallery.open(tmp_path / "gallery", MATCHER) as opened, pytest.raises(StudyError, match="holds a damaged"):
        look(opened)
