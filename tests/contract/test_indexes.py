"""What every index must do."""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imagematch.errors import ConfigError, DataError, ModelError, StudyError
from imagematch.retrieval import (
    INDEXES,
    IndexedImage,
    LeftOut,
    NeighbourIndex,
    Neighbours,
    SavedIndex,
    choose_index,
    distances,
    nearest,
)

RANDOM = np.random.default_rng(5)
DIM = 16
EXACT = ("flat",)
KIND_AND_METRIC = [(kind, metric) for kind in INDEXES for metric in ("euclidean", "cosine")] + [("flat", "jaccard")]

every_index = pytest.mark.parametrize(("kind", "metric"), KIND_AND_METRIC)


def clustered(count: int, seed: int) -> np.ndarray:
    """Vectors about 40 centres, as embeddings lie; none is negative."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, DIM)) + 3
    return np.maximum(centres[random.integers(0, 40, count)] + 0.3 * random.standard_normal((count, DIM)), 0).astype(
        np.float32
    )


GALLERY, QUERIES = clustered(1500, 1), clustered(60, 2)


def agreement(found: Neighbours, expected: Neighbours) -> float:
    pairs = zip(found.rows.tolist(), expected.rows.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


@functools.cache
def built(kind: str, metric: str) -> NeighbourIndex:
    """The whole gallery in an index: to be searched, not added to."""
    index = NeighbourIndex(kind, metric, DIM)
    index.add(GALLERY)
    return index


@every_index
def test_it_finds_the_nearest(kind: str, metric: str) -> None:
    index = built(kind, metric)
    assert len(index) == 1500
    expected, found = nearest(QUERIES, GALLERY, 10, metric), index.search(QUERIES, 10)
    if kind in EXACT:
        np.testing.assert_array_equal(found.rows, expected.rows)
    assert agreement(found, expected) > 0.9
    assert (index.search(GALLERY[:50], 1).rows[:, 0] == np.arange(50)).mean() > 0.95


@every_index
def test_distances_are_exact_and_ascending(kind: str, metric: str) -> None:
    index = built(kind, metric)
    found = index.search(QUERIES, 10)
    every = distances(QUERIES, GALLERY, metric)
    np.testing.assert_allclose(found.distances, np.take_along_axis(every, found.rows, 1), rtol=1e-5, atol=1e-6)
    assert (np.diff(found.distances, axis=1) >= 0).all()


@every_index
def test_what_is_left_out_is_not_found_and_others_take_its_place(kind: str, metric: str) -> None:
    index = built(kind, metric)
    own = np.array([[query, row] for query in range(20) for row in (query, query + 700)])
    found = index.search(GALLERY[:20], 5, LeftOut(np.arange(20), np.arange(1500) % 700))
    assert found.rows.shape == (20, 5)
    for query, row in own.tolist():
        assert row not in found.rows[query]
    if kind in EXACT:
        assert (found.rows >= 0).all()


@every_index
def test_many_copies_of_few_queries_are_left_out_however_few_are_asked_for_at_once(
    kind: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagematch.retrieval.search._CANDIDATES", 700)
    numbers = np.where(np.arange(1500) < 400, 0, np.arange(1500))
    left_out = LeftOut(np.where(np.arange(60) % 7, -1, 0), numbers)
    found = built(kind, metric).search(QUERIES, 5, left_out)
    expected = nearest(QUERIES, GALLERY, 5, metric, left_out=left_out)
    assert (found.rows[::7] >= 400).all()
    assert agreement(found, expected) > 0.9
    if kind in EXACT:
        np.testing.assert_array_equal(found.rows, expected.rows)


@every_index
def test_more_than_there_are_gives_all(kind: str, metric: str) -> None:
    index = NeighbourIndex(kind, metric, DIM)
    index.add(GALLERY[:300])
    found = index.search(QUERIES[:3], 5000)
    expected = nearest(QUERIES[:3], GALLERY[:300], 5000, metric)
    np.testing.assert_array_equal(np.sort(found.rows), np.tile(np.arange(300), (3, 1)))
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5, atol=1e-6)


@every_index
def test_appending_is_as_good_as_building_at_once(kind: str, metric: str) -> None:
    parts = NeighbourIndex(kind, metric, DIM)
    for part in (GALLERY[:900], GALLERY[900:900], GALLERY[900:1400], GALLERY[1400:]):
        parts.add(part)
    assert len(parts) == 1500
    assert agreement(parts.search(QUERIES, 10), nearest(QUERIES, GALLERY, 10, metric)) > 0.9


@every_index
def test_it_is_the_same_after_it_was_kept(kind: str, metric: str, tmp_path: Path) -> None:
    made = kept_index(kind, metric, tmp_path / "index", 1000)
    opened = empty(kind, metric).reopened(tmp_path / "index")
    assert opened is not None
    assert opened.kind == kind
    assert opened.ids == made.ids
    for index in (made, opened):
        index.add(names(1000, 1500), GALLERY[1000:])
    a, b = made.search(QUERIES, 10), opened.search(QUERIES, 10)
    if kind in EXACT:
        np.testing.assert_array_equal(a.rows, b.rows)
    assert agreement(b, nearest(QUERIES, GALLERY, 10, metric)) > 0.9
    opened.save(tmp_path / "index")
    again = empty(kind, metric).reopened(tmp_path / "index")
    assert again is not None
    assert len(again) == 1500
    assert again.ids == names(0, 1500)


def names(first: int, stop: int) -> list[IndexedImage]:
    return [IndexedImage(f"{'ü' * 80}/\udcff {row}\n.jpg", f"{row:032x}") for row in range(first, stop)]


def empty(kind: str, metric: str, model: str = "model") -> SavedIndex:
    return SavedIndex.create(kind, metric, model=model, space="embedding", dim=DIM)


def kept_index(kind: str, metric: str, folder: Path, count: int) -> SavedIndex:
    made = empty(kind, metric)
    made.add(names(0, count), GALLERY[:count])
    made.save(folder)
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, Path], Path]:
    """Copies of indexes that were built and kept once."""

    @functools.cache
    def original(kind: str, metric: str) -> Path:
        folder = tmp_path_factory.mktemp("kept") / "index"
        kept_index(kind, metric, folder, 300)
        return folder

    return lambda kind, metric, folder: Path(shutil.copytree(original(kind, metric), folder))


@every_index
def test_another_models_index_is_refused(
    kind: str, metric: str, tmp_path: Path, kept: Callable[[str, str, Path], Path]
) -> None:
    kept(kind, metric, tmp_path / "index")
    with pytest.raises(ModelError, match="index: was built by another model; remove it"):
        empty(kind, metric, model="other").reopened(tmp_path / "index")


@every_index
@pytest.mark.parametrize("harm", ["cut", "swap", "missing", "garbage", "newer"])
def test_a_damaged_index_is_refused(
    kind: str, metric: str, harm: str, tmp_path: Path, kept: Callable[[str, str, Path], Path]
) -> None:
    folder = kept(kind, metric, tmp_path / "index")
    data = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    description = folder / "index.json"
    if harm == "cut":
        os.truncate(data, data.stat().st_size // 2)
    elif harm == "swap":
        raw = bytearray(data.read_bytes())
        raw[len(raw) // 2] ^= 1
        data.write_bytes(raw)
    elif harm == "missing":
        data.unlink()
    elif harm == "garbage":
        description.write_text("[1, 2")
    else:
        description.write_text(json.dumps({**json.loads(description.read_text()), "format": 99}))
    with pytest.raises(ModelError, match="newer imagematch" if harm == "newer" else "is damaged; remove it"):
        empty(kind, metric).reopened(folder)


@every_index
def test_a_failed_save_leaves_the_old_one(
    kind: str,
    metric: str,
    tmp_path: Path,
    kept: Callable[[str, str, Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = kept(kind, metric, tmp_path / "index")
    opened = empty(kind, metric).reopened(folder)
    assert opened is not None
    opened.add(names(300, 350), GALLERY[300:350])

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imagematch.retrieval.saved_index.write_json", full)
    with pytest.raises(StudyError, match="No space left on device"):
        opened.save(folder)
    monkeypatch.undo()
    old = empty(kind, metric).reopened(folder)
    assert old is not None
    assert len(old) == 300


def test_an_index_of_another_question_is_refused(tmp_path: Path) -> None:
    kept_index("flat", "euclidean", tmp_path / "index", 10)
    for other, told in (
        (SavedIndex.create("flat", "cosine", model="model", space="embedding", dim=DIM), "another metric"),
        (SavedIndex.create("hnsw", "euclidean", model="model", space="embedding", dim=DIM), "another kind"),
        (SavedIndex.create("flat", "euclidean", model="model", space="features", dim=DIM), "another space"),
        (SavedIndex.create("flat", "euclidean", model="model", space="embedding", dim=4), "another dim"),
    ):
        with pytest.raises(ModelError, match=f"is an index of {told}"):
            other.reopened(tmp_path / "index")


def test_nothing_kept_is_nothing_opened(tmp_path: Path) -> None:
    assert empty("flat", "euclidean").reopened(tmp_path / "index") is None


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    kept_index("flat", "euclidean", tmp_path / "index", 10)
    shutil.move(tmp_path / "index", tmp_path / ".index.old")
    opened = empty("flat", "euclidean").reopened(tmp_path / "index")
    assert opened is not None
    assert len(opened) == 10


def test_images_and_vectors_must_fit() -> None:
    with pytest.raises(ValueError, match="2 images of 16 values have vectors of shape"):
        empty("flat", "euclidean").add(names(0, 2), GALLERY[:3])


@pytest.mark.parametrize(
    ("count", "kind"), [(0, "flat"), (1_000_000, "flat"), (1_000_001, "hnsw"), (4_000_001, "ivfpq"), (10**8, "ivfpq")]
)
def test_the_size_chooses(count: int, kind: str) -> None:
    assert choose_index(count) == kind
    assert choose_index(count, "jaccard") == "flat"
    assert choose_index(count, "cosine", "hnsw") == "hnsw"


def test_wrong_questions_are_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match="'annoy' is not one of flat, hnsw, ivfpq"):
        choose_index(1, "euclidean", "annoy")
    with pytest.raises(ConfigError, match="hnsw does not know the metric jaccard; use flat"):
        NeighbourIndex("hnsw", "jaccard", 4)
    with pytest.raises(DataError, match="begins with 256 images or more, not 9"):
        NeighbourIndex("ivfpq", "euclidean", DIM).add(GALLERY[:9])


def test_an_index_of_an_older_version_is_built_again(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    kept_index("hnsw", "euclidean", folder, 10)
    facts = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**facts, "format": 1}))
    assert empty("hnsw", "euclidean").reopened(folder) is None


def test_a_compressed_index_maps_its_vectors_until_it_grows(tmp_path: Path) -> None:
    kept_index("ivfpq", "cosine", tmp_path / "index", 600)
    opened = NeighbourIndex("ivfpq", "cosine", DIM)
    opened.read(tmp_path / "index" / "faiss.index")
    before = opened.search(QUERIES, 5)
    opened.add(GALLERY[600:700])
    assert len(opened) == len(opened.vectors) == 700
    assert agreement(opened.search(QUERIES, 5).first(3), before.first(3)) > 0.5
