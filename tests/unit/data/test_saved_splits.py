"""Splits once made are saved: an image that is added or taken away moves none of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.data import Dataset
from imagematch.data.splits import SplitRules, split_images
from imagematch.sources import ImageRow

from .conftest import write_image

Open = Callable[..., Dataset]


def rows(sizes: Sequence[int], first: int = 0) -> list[ImageRow]:
    """Classes of these sizes; images are called by number, from `first`."""
    return [
        ImageRow(f"c{label:03d}/{number:04d}.png", f"c{label:03d}", digest=f"{label}-{number}")
        for label, size in enumerate(sizes)
        for number in range(first, first + size)
    ]


def split(of: list[ImageRow], by: str, placed: dict[str, str] | None = None) -> dict[str, str]:
    of = sorted(of)
    found = split_images(of, SplitRules((0.7, 0.2, 0.1), by, 0.25, 0), placed=placed)
    return dict(zip([row.digest for row in of], found.tolist(), strict=True))


@pytest.mark.parametrize("by", ["image", "class"])
def test_one_image_more_moves_none(by: str) -> None:
    """Without what was saved up to a tenth of the images were moved, some of them from test into training."""
    of = rows(np.random.default_rng(0).integers(2, 40, 150).tolist())
    before = split(of, by)
    for label in (0, 77, 149):
        more = [*of, ImageRow(f"c{label:03d}/new.png", f"c{label:03d}", digest="new")]
        after = split(more, by, before)
        assert after.pop("new")
        assert after == before


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(2, 25), min_size=20, max_size=40),
    st.lists(st.integers(0, 25), min_size=20, max_size=60),
    st.sampled_from(["image", "class"]),
)
def test_many_more_move_none_and_follow_the_ratios(sizes: list[int], more: list[int], by: str) -> None:
    before = split(rows(sizes), by)
    of = rows(sizes) + rows(more, first=100)
    after = split(of, by, before)
    assert {digest: after[digest] for digest in before} == before
    held_out = [name for name in after.values() if name != "train"]
    if by == "image":
        assert abs(len(held_out) - 0.3 * len(of)) <= 0.05 * len(of) + 6
        for label in {row.label for row in of}:
            alone = [after[row.digest] for row in of if row.label == label]
            assert alone.count("test") != 1
    else:
        for name in ("train", "test"):
            inside = {row.label for row in of if after[row.digest] == name}
            assert not inside & {row.label for row in of if after[row.digest] != name}


def placed(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.paths.tolist(), dataset.splits.tolist(), strict=True))


@pytest.mark.parametrize("by", ["image", "class"])
def test_a_folder_that_grows(make_folder: Any, opened: Open, by: str) -> None:
    root = make_folder({f"c{number}": 12 for number in range(12)})
    before = placed(opened(data_dir=root, split_by=by))
    write_image(root / "c3" / "new.png", seed=90_001)
    for number in range(5):
        write_image(root / "c99" / f"{number}.png", seed=90_010 + number)
    after = placed(opened(data_dir=root, split_by=by))
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 6
    (root / "c3" / "new.png").unlink()
    (root / "c5" / "0.png").unlink()
    third = placed(opened(data_dir=root, split_by=by))
    assert third == {path: after[path] for path in third}
    assert len(third) == len(after) - 2


def test_an_image_keeps_its_split_under_another_name(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30})
    before = placed(opened(data_dir=root))
    (root / "a" / "7.png").rename(root / "a" / "renamed.png")
    after = placed(opened(data_dir=root))
    assert after["a/renamed.png"] == before["a/7.png"]


def test_other_keys_have_splits_of_their_own(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30})
    first, second = placed(opened(data_dir=root)), placed(opened(data_dir=root, seed=1))
    assert first != second
    assert placed(opened(data_dir=root)) == first
    assert placed(opened(data_dir=root, seed=1)) == second


def test_where_too_few_are_left_all_are_split_anew_and_it_is_said(make_folder: Any, opened: Open, events: Any) -> None:
    root = make_folder({"a": 30, "b": 30})
    before = placed(opened(data_dir=root))
    for path, name in before.items():
        if name == "test":
            (root / path).unlink()
    after = opened(data_dir=root)
    assert after.summary()["splits"]["test"]["images"] >= 4
    assert [event["message"] for event in events("split_anew")] == [
        "too few images are left of the earlier split: all are split again"
    ]


@pytest.mark.parametrize("damage", [b"", b"null\nnull", b"\xff" * 50])
def test_damaged_splits_are_drawn_again(make_folder: Any, opened: Open, tmp_path: Path, damage: bytes) -> None:
    root = make_folder({"a": 30, "b": 30})
    before = placed(opened(data_dir=root))
    (saved,) = (tmp_path / "manifests").glob("*.splits")
    saved.write_bytes(damage)
    assert placed(opened(data_dir=root)) == before


def test_one_long_name_does_not_lengthen_all(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30})
    write_image(root / "a" / f"{'x' * 240}.png", seed=5)
    dataset = opened(data_dir=root)
    assert dataset.paths.nbytes == 8 * len(dataset)
    assert max(map(len, dataset.paths)) == 246
