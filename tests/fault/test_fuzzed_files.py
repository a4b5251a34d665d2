"""YAML, tables, indexes, stores and bodies of requests changed at random. Seconds here, minutes in a soak.

What comes of each is its content, or one line of an error of ours; whatever else is raised fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.fault.fuzzing import JSON

from imagematch.config import load_study, load_train
from imagematch.data import read_corrections
from imagematch.data.table_cache import load_table, save_table
from imagematch.errors import ImagematchError
from imagematch.events import SILENT
from imagematch.files import digest_file
from imagematch.pipeline.pair_lists import read_pairs
from imagematch.retrieval import IndexedImage, SavedIndex
from imagematch.sources import open_source

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SOAK_S = 150
DIM, COUNT = 8, 300

STUDY = (
    "study_name: a\ndataset: digits\nfeature_extractor: [pixels, mobilenet_v2]\nembedding_dim_grid: [8, 16]\n"
    "learning_rate_range: {low: 1.0e-4, high: 1.0e-2, log: true}\nthreshold: {far: 0.01}\nn_trials: 3\n"
    "stages:\n- trainable: 2\n  epochs: 2\nsplit: [0.7, 0.2, 0.1]\n"
)
PIECES = st.sampled_from(
    [
        *("\n", ": ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!python/object:os.system ", "? ", "|\n", "'", '"', "#"),
        *("\t", "<<: ", "1e999", ".nan", "0x10", "2026-01-01", "null", "~", "\0", "\ufeff", "\u202e", "split", ","),
        *(";", "learning_rate"),
    ]
)
"""What a table's or a configuration's grammar is made of."""
TEXTS = PIECES | st.text(max_size=8) | st.integers().map(str)


def edited(sound: str, data: st.DataObject) -> bytes:
    """The text with some pieces put in, taken out or exchanged; now and then no text."""
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(sound)))
        end = data.draw(st.integers(start, min(len(sound), start + 30)))
        sound = sound[:start] + data.draw(TEXTS) * data.draw(st.sampled_from([1, 1, 1, 3, 200])) + sound[end:]
    content = sound.encode("utf-8", "surrogatepass")
    return content + data.draw(st.sampled_from([b"", b"", b"\xff", b"\0"]))


def one_line(read: Callable[[], object]) -> None:
    """Its content, or an error of one line."""
    try:
        read()
    except ImagematchError as error:
        for each in (error, *getattr(error, "more", ())):
            assert "\n" not in str(each), str(each)


def check_yaml(folder: Path, data: st.DataObject) -> None:
    path = folder / "fuzzed.yaml"
    path.write_bytes(edited(STUDY, data))
    one_line(lambda: load_study(path))
    one_line(lambda: load_train(path))


TABLES: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "images": (
        "t.csv",
        "path,label,split,x,y,w,h,query,gallery\na.png,1,train,1,2,3,4,1,\nb.png,'2',test,,,,,,x\n",
        lambda path: open_source("csv", path).listing(),
    ),
    "pairs": ("pairs.txt", "10\t300\nann\t1\t2\nann\t3\tben\t4\n", read_pairs),
    "pairs by path": ("pairs.csv", "first,second,same\na.png,b.png,1\nc.png,d.png,0\n", read_pairs),
    "corrections": (
        "corrections.csv",
        "digest,label,other_digest,other_label,distance,answer,new_label\n0a,x,0b,y,0.1,same,\n0c,x,,,,wrong label,z\n",
        read_corrections,
    ),
}


def check_table(folder: Path, data: st.DataObject) -> None:
    name, sound, read = TABLES[data.draw(st.sampled_from(sorted(TABLES)))]
    path = folder / name
    path.write_bytes(edited(sound, data))
    one_line(lambda: read(path))


def check_stored_table(folder: Path, data: st.DataObject) -> None:
    """A manifest or the splits of a data set: what is damaged is made anew."""
    path = folder / "stored.jsonl"
    save_table(path, {"version": 1}, {"path": ["a.png", "b.png"], "size": [1, 2]})
    path.write_bytes(edited(path.read_text(encoding="utf-8"), data))
    found = load_table(path, {"version": 1}, lambda columns: dict(columns), SILENT)
    assert found is None or set(found) <= {"path", "size"} or isinstance(found, dict)


def empty(kind: str) -> SavedIndex:
    return SavedIndex.create(kind, "euclidean", model="m", space="embedding", dim=DIM)


@pytest.fixture(name="index", scope="module")
def index_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with an index of each kind."""
    root = tmp_path_factory.mktemp("indexes")
    for kind in ("flat", "hnsw", "ivfpq"):
        saved, vectors = empty(kind), np.random.default_rng(0).random((COUNT, DIM), np.float32)
        saved.add([IndexedImage(f"{number}.png", "0" * 32) for number in range(COUNT)], vectors)
        saved.save(root / kind)
    return {kind: root / kind for kind in ("flat", "hnsw", "ivfpq")}


def check_index(folders: dict[str, Path], data: st.DataObject) -> None:
    """Its vectors with other bytes, and its facts, with digests that fit."""
    kind = data.draw(st.sampled_from(sorted(folders)))
    folder = folders[kind]
    sound = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        content = bytearray(sound[folder / "faiss.index"])
        for _ in range(data.draw(st.integers(1, 4))):
            size = data.draw(st.sampled_from([1, 4, 8]))
            # most of a file is vectors: its head, and what follows them, are where it says something
            place = data.draw(st.integers(0, 200) | st.integers(0, len(content) - 9))
            one = data.draw(st.sampled_from([b"\xff", b"\0", b"\x80", b"\x7f"]) | st.binary(min_size=1, max_size=1))
            content[place : place + size] = one * size
        (folder / "faiss.index").write_bytes(content)
        facts = json.loads(sound[folder / "index.json"])
        if data.draw(st.booleans()):
            facts[data.draw(st.sampled_from(sorted(facts)))] = data.draw(JSON)
        if isinstance(facts.get("files"), dict):
            facts["files"] = {name: digest_file(folder / name) for name in ("faiss.index", "images.json")}
        (folder / "index.json").write_text(json.dumps(facts))
        found: list[Any] = []
        one_line(lambda: found.append(empty(kind).reopened(folder)))
        for index in found:
            if index is not None and len(index):
                rows = index.search(np.ones((2, DIM), np.float32), 5).rows
                assert rows.min() >= -1
                assert rows.max() < COUNT
    finally:
        for path, before in sound.items():
            path.write_bytes(before)


@pytest.fixture(name="client", scope="module")
def client_fixture(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from starlette.testclient import TestClient
    from tests.unit.serving.conftest import write_matcher

    from imagematch.retrieval import Gallery
    from imagematch.serving import ServerSettings, create_app

    folder = tmp_path_factory.mktemp("served")
    model = write_matcher(folder / "small")
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(folder / "a.png")
    with Gallery.create(folder / "gallery", model) as gallery:
        gallery.add([folder / "a.png"], "a")
    given = {"model": model, "gallery": str(folder / "gallery"), "corrections": folder / "corrections.csv"}
    app = create_app(ServerSettings(**given))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


NAMES = st.sampled_from(
    ["image", "first", "second", "label", "k", "threshold", "far", "by_label", "distance", "answer", "new_label", "x"]
)
PATHS = st.sampled_from(
    [("POST", path) for path in ("/match", "/embed", "/search", "/gallery", "/corrections")] + [("PATCH", "/gallery/1")]
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def check_request(client: Any, data: st.DataObject) -> None:
    method, path = data.draw(PATHS)
    values = JSON | st.just(PNG) | st.lists(st.just(PNG), max_size=3)
    body = json.dumps(data.draw(st.dictionaries(NAMES, values, max_size=4) | JSON)).encode()
    if data.draw(st.integers(0, 3)) == 0:
        body = edited(body.decode(), data)
    kinds = ["application/json"] * 6 + ["image/png", "multipart/form-data; boundary=a", "text/plain", "\u00ff"]
    kind = data.draw(st.sampled_from(kinds))
    answer = client.request(method, path, content=body, headers={"Content-Type": kind.encode("latin-1")})
    assert answer.status_code < 500, (method, path, kind, body)
    if answer.status_code >= 400:
        assert "\n" not in answer.json()["error"]


@QUICK
@given(data=st.data())
def test_yaml(tmp_path: Path, data: st.DataObject) -> None:
    check_yaml(tmp_path, data)


@QUICK
@given(data=st.data())
def test_tables(tmp_path: Path, data: st.DataObject) -> None:
    check_table(tmp_path, data)


@QUICK
@given(data=st.data())
def test_stored_tables(tmp_path: Path, data: st.DataObject) -> None:
    check_stored_table(tmp_path, data)


@QUICK
@given(data=st.data())
def test_indexes(index: dict[str, Path], data: st.DataObject) -> None:
    check_index(index, data)


@QUICK
@given(data=st.data())
def test_requests(client: Any, data: st.DataObject) -> None:
    check_request(client, data)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["yaml", "tables", "stored tables", "indexes", "requests"])
def test_for_minutes(what: str, tmp_path: Path, index: dict[str, Path], client: Any) -> None:
    checks: dict[str, tuple[Callable[[Any, st.DataObject], None], Any]] = {
        "yaml": (check_yaml, tmp_path),
        "tables": (check_table, tmp_path),
        "stored tables": (check_stored_table, tmp_path),
        "indexes": (check_index, index),
        "requests": (check_request, client),
    }
    check, given_to = checks[what]
    end, count = time.monotonic() + SOAK_S, 0

    @settings(QUICK, max_examples=200)
    @given(data=st.data())
    def part(data: st.DataObject) -> None:
        nonlocal count
        count += 1
        check(given_to, data)

    while time.monotonic() < end:
        part()
    print(f"\n{what}: {count:,} in {SOAK_S} s")
