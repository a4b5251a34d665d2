"""An index that somebody sent: only what this program writes is read, whatever digests stand beside it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fault.hostile import NO_FILES, put

from imagematch.errors import ModelError
from imagematch.files import digest_file
from imagematch.retrieval import IndexedImage, SavedIndex

DIM, COUNT = 8, 300
KINDS = ("flat", "hnsw", "ivfpq")


def vectors(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).random((count, DIM), np.float32)


def empty(kind: str) -> SavedIndex:
    return SavedIndex.create(kind, "euclidean", model="m", space="embedding", dim=DIM)


@pytest.fixture(name="saved")
def saved_fixture(tmp_path: Path) -> Callable[[str], Path]:
    def save(kind: str) -> Path:
        index = empty(kind)
        index.add([IndexedImage(f"{number}.png", "0" * 32) for number in range(COUNT)], vectors())
        index.save(tmp_path / kind)
        return tmp_path / kind

    return save


def reseal(folder: Path) -> None:
    """Digests that fit, as anybody can write them."""
    facts = json.loads((folder / "index.json").read_text())
    facts["files"] = {name: digest_file(folder / name) for name in facts["files"]}
    (folder / "index.json").write_text(json.dumps(facts))


def refused(kind: str, folder: Path) -> None:
    with pytest.raises(ModelError, match="is damaged; remove it: it will be built again") as caught:
        empty(kind).reopened(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_is_read(saved: Callable[[str], Path], kind: str) -> None:
    kept = empty(kind).reopened(saved(kind))
    assert kept is not None
    expected = empty("flat")
    expected.add([IndexedImage("x", "")] * COUNT, vectors())
    assert np.array_equal(kept.search(vectors()[:5], 1).rows, expected.search(vectors()[:5], 1).rows)
    kept.add([IndexedImage("new.png", "1" * 32)], vectors(COUNT + 1)[-1:])
    assert len(kept) == COUNT + 1


MADE: list[Any] = []
"""Parts of indexes, which FAISS does not hold."""


def others() -> dict[str, Any]:
    import faiss

    quantizer, rows = faiss.IndexFlatL2(DIM), vectors()
    inverted = faiss.IndexIVFFlat(quantizer, DIM, 4)
    inverted.train(rows)
    inverted.add(rows)
    mapped = faiss.IndexIDMap(faiss.IndexFlatL2(DIM))
    mapped.add_with_ids(rows, np.full(COUNT, 10**15, np.int64))
    inner, short, flat = faiss.IndexFlatIP(DIM), faiss.IndexFlatL2(DIM - 1), faiss.IndexFlatL2(DIM)
    inner.add(rows)
    short.add(np.ascontiguousarray(rows[:, 1:]))
    flat.add(rows)
    before = faiss.IndexPreTransform(faiss.LinearTransform(DIM, DIM), faiss.IndexFlatL2(DIM))
    cells = faiss.IndexIVFPQ(faiss.IndexFlatL2(DIM), DIM, 200, 2, 8)  # its table of distances grows with its cells
    cells.cp.min_points_per_centroid = cells.pq.cp.min_points_per_centroid = 1
    cells.train(rows)
    cells.add(rows)
    few_cells = faiss.IndexIVFPQ(faiss.IndexFlatL2(DIM), DIM, 4, 2, 8)
    few_cells.train(rows)
    few_cells.add(rows)
    fewer = faiss.IndexFlatL2(DIM)
    fewer.add(rows[1:])

    def refined_by(vectors: Any) -> Any:
        index = faiss.IndexRefine(few_cells, flat)
        index.refine_index = vectors
        return index

    MADE.extend([cells, flat, few_cells, short, fewer])
    return {
        "inverted lists": inverted,
        "another's numbers": mapped,
        "inner products": inner,
        "shorter vectors": short,
        "a flat one": flat,
        "a transformation": before,
        "too many cells": faiss.IndexRefine(cells, flat),
        "cells alone": few_cells,
        "refined by others": refined_by(inner),
        "refined by shorter ones": refined_by(short),
        "refined by fewer": refined_by(fewer),
    }


@pytest.mark.parametrize("name", others())
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_another_type_is_refused(saved: Callable[[str], Path], kind: str, name: str) -> None:
    import faiss

    if (kind, name) == ("flat", "a flat one"):
        return
    folder = saved(kind)
    faiss.write_index(others()[name], str(folder / "faiss.index"))
    reseal(folder)
    refused(kind, folder)


def test_lists_in_another_file_are_not_opened(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """FAISS opens the file that such an index names; of a pipe it would wait for ever."""
    import faiss

    folder = saved("ivfpq")
    index = faiss.read_index(str(folder / "faiss.index"))
    cells = faiss.downcast_index(index.base_index)
    lists = faiss.OnDiskInvertedLists(cells.nlist, cells.code_size, str(tmp_path / "lists.bin"))
    lists.merge_from_1(cells.invlists)
    cells.replace_invlists(lists)
    faiss.write_index(index, str(folder / "faiss.index"))
    (tmp_path / "lists.bin").unlink()
    os.mkfifo(tmp_path / "lists.bin")
    reseal(folder)
    refused("ivfpq", folder)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
@pytest.mark.parametrize("size", [1 << 33, 1 << 60, (1 << 64) - 1])
def test_sizes_that_the_file_does_not_hold(saved: Callable[[str], Path], kind: str, size: int) -> None:
    folder = saved(kind)
    content = (folder / "faiss.index").read_bytes()
    for offset in (8, 37):  # the count of vectors; the first table, or the count of cells
        patched = content[:offset] + struct.pack("<Q", size) + content[offset + 8 :]
        (folder / "faiss.index").write_bytes(patched)
        reseal(folder)
        refused(kind, folder)


@pytest.mark.parametrize("cut", [0, 3, 40, 1000, -1])
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_a_file_that_is_cut_off_or_goes_on(saved: Callable[[str], Path], kind: str, cut: int) -> None:
    folder = saved(kind)
    content = (folder / "faiss.index").read_bytes()
    for changed in (content[:cut], content + b"more"):
        (folder / "faiss.index").write_bytes(changed)
        reseal(folder)
        refused(kind, folder)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_crash_and_never_lead_outside(saved: Callable[[str], Path], kind: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    folder = saved(kind)
    content = bytearray((folder / "faiss.index").read_bytes())
    for place in chance.integers(0, len(content), 3):
        content[place] ^= int(chance.integers(1, 256))
    (folder / "faiss.index").write_bytes(content)
    reseal(folder)
    try:
        kept = empty(kind).reopened(folder)
    except ModelError:
        return
    assert kept is not None
    found = kept.search(vectors()[:20], 5)
    assert found.rows.max() < COUNT


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_vectors_that_have_no_distance(tmp_path: Path, kind: str, value: float) -> None:
    """Found by fuzzing: a search warned of an overflow, and NaN is no JSON."""
    index, rows = empty(kind), vectors()
    index.add([IndexedImage(f"{number}.png", "0" * 32) for number in range(COUNT)], rows)
    index.save(tmp_path / kind)
    path = tmp_path / kind / "faiss.index"
    content = path.read_bytes()
    path.write_bytes(content.replace(rows[7].tobytes(), np.full(DIM, value, np.float32).tobytes()))
    reseal(tmp_path / kind)
    refused(kind, tmp_path / kind)


def test_links_that_lead_outside(saved: Callable[[str], Path]) -> None:
    import faiss

    folder = saved("hnsw")

    def edited(edit: Callable[[Any], None]) -> None:
        index = faiss.read_index(str(saved("hnsw") / "faiss.index"))
        edit(index.hnsw)
        faiss.write_index(index, str(folder / "faiss.index"))
        reseal(folder)
        refused("hnsw", folder)

    def astray(graph: Any) -> None:
        links = faiss.vector_to_array(graph.neighbors)
        links[5] = COUNT
        faiss.copy_array_to_vector(links, graph.neighbors)

    edited(astray)
    edited(lambda graph: setattr(graph, "entry_point", COUNT))
    edited(lambda graph: setattr(graph, "max_level", 9))


@pytest.mark.parametrize("name", ["index.json", "images.json", "faiss.index"])
@pytest.mark.parametrize("kind", [*NO_FILES, "nothing"])
def test_what_is_no_file(saved: Callable[[str], Path], name: str, kind: str) -> None:
    folder = saved("ivfpq")
    if kind == "nothing":
        (folder / name).unlink()
    else:
        put(kind, folder / name)
    refused("ivfpq", folder)


@pytest.mark.parametrize(
    "text",
    ["[", "[]", "null", '{"format": "1"}', '{"format": 1e999}', "[" * 5000 + "]" * 5000, '{"format": 2, "files": 3}'],
)
def test_facts_of_another_kind(saved: Callable[[str], Path], text: str) -> None:
    folder = saved("flat")
    (folder / "index.json").write_text(text)
    with pytest.raises(ModelError):
        empty("flat").reopened(folder)


def test_names_outside_of_the_folder(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = saved("flat")
    (tmp_path / "secret").write_text("x")
    facts = json.loads((folder / "index.json").read_text())
    facts["files"]["../secret"] = digest_file(tmp_path / "secret")
    (folder / "index.json").write_text(json.dumps(facts))
    refused("flat", folder)
