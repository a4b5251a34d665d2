"""Near duplicates: the search against a naive one, and what counts as alike."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagematch.data import Dataset, near_duplicates
from imagematch.data.near_duplicates import close_pairs, find_near_duplicates
from imagematch.data.table_cache import save_table

from .drawings import scene

Open = Callable[..., Dataset]


def naive_pairs(hashes: np.ndarray, most: int) -> list[tuple[int, int]]:
    values = hashes.tolist()
    return [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (values[i] ^ values[j]).bit_count() <= most
    ]


@pytest.mark.parametrize("most", [0, 1, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_search_finds_what_comparing_all_finds(most: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**63, 12, dtype=np.uint64)
    hashes = centres[random.integers(0, 12, 150)]
    for _ in range(3 + most):
        hashes ^= np.where(random.random(150) < 0.5, np.uint64(1) << random.integers(0, 64, 150, dtype=np.uint64), 0)
    pairs, complete = close_pairs(hashes, most)
    assert complete
    assert list(map(tuple, pairs.tolist())) == naive_pairs(hashes, most)


def test_search_of_nothing_and_of_all_alike() -> None:
    assert close_pairs(np.empty(0, np.uint64), 4)[0].shape == (0, 2)
    pairs, complete = close_pairs(np.zeros(30, np.uint64), 4)
    assert (len(pairs), complete) == (30 * 29 // 2, True)
    pairs, complete = close_pairs(np.zeros(1000, np.uint64), 4, budget=10_000)
    assert not complete
    assert len(pairs) <= 10_000


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    root = tmp_path / "scenes"
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(20):
            scene(100 * ord(label) + number).save(root / label / f"{number:02d}.png")
    return root


def test_altered_copies_are_found_and_others_are_not(scenes: Path, opened: Open) -> None:
    original = scene(100 * ord("a") + 3)
    copies = {
        "a/small.png": original.resize((40, 40)),
        "a/wide.png": original.resize((150, 70)),
        "b/compressed.png": jpeg(original, 30),
        "b/brighter.png": original.point(lambda value: min(255, int(value * 1.1))),
    }
    others = {"a/mirrored.png": original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)}
    for path, image in {**copies, **others}.items():
        image.convert("RGB").save(scenes / path)
    (scenes / "a" / "twin.png").write_bytes((scenes / "a" / "04.png").read_bytes())
    dataset = opened(data_dir=scenes)
    found = find_near_duplicates(dataset)
    names = {frozenset(str(dataset.paths[row]) for row in pair) for pair in found.pairs}
    group = ["a/03.png", *copies]
    assert names == {frozenset({one, other}) for one in group for other in group if one < other}
    assert (found.not_compared, found.complete) == (0, True)


def test_plain_pictures_are_not_compared(scenes: Path, opened: Open) -> None:
    for number in range(5):
        Image.new("RGB", (50 + number, 50), (250, 250, 250)).save(scenes / "a" / f"blank{number}.png")
    found = find_near_duplicates(opened(data_dir=scenes))
    assert found.not_compared == 5
    assert len(found.pairs) == 0


def test_many_of_one_look_are_left_out(scenes: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        scene(9, 60 + 20 * number).save(scenes / "b" / f"again{number}.png")
    dataset = opened(data_dir=scenes)
    assert len(find_near_duplicates(dataset).pairs) == 10
    monkeypatch.setattr("imagematch.data.near_duplicates._CROWD", 1)
    assert find_near_duplicates(dataset).not_compared >= 2


def test_they_are_searched_for_once(
    scenes: Path, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene(100 * ord("a") + 3).resize((40, 40)).save(scenes / "a" / "small.png")
    dataset, path = opened(data_dir=scenes), tmp_path / "looks.npz"
    found = find_near_duplicates(dataset, path)
    assert len(found.pairs) == 1
    searches = []
    monkeypatch.setattr(
        near_duplicates, "close_pairs", lambda *given, **more: searches.append(given) or close_pairs(*given, **more)
    )
    again = find_near_duplicates(dataset, path)
    assert (again.pairs.tolist(), again.not_compared, again.complete) == (found.pairs.tolist(), 0, True)
    assert not searches
    scene(100 * ord("a") + 3).resize((50, 50)).save(scenes / "b" / "another.png")
    more = opened(data_dir=scenes)
    searches.clear()
    assert len(find_near_duplicates(more, path).pairs) == 3
    assert len(searches) == 1


@pytest.mark.parametrize(
    "columns",
    [{"one": [0]}, {"one": [0], "other": [99]}, {"one": [1], "other": [0]}, {"one": ["x"], "other": [1]}, {}],
)
def test_pairs_that_are_not_of_these_images_are_searched_for_again(
    columns: dict[str, list[object]], scenes: Path, opened: Open, tmp_path: Path
) -> None:
    dataset, path = opened(data_dir=scenes), tmp_path / "looks.npz"
    found = find_near_duplicates(dataset, path)
    kept = path.with_suffix(".pairs")
    header = json.loads(kept.read_bytes().split(b"\n", 1)[0])
    save_table(kept, header, {"not_compared": [0], "complete": [True], **columns})
    assert find_near_duplicates(dataset, path).pairs.tolist() == found.pairs.tolist()
