"""Groups and near duplicates stay on one side of every split, and a training says what stands on both."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagematch.data import Dataset, fold_datasets
from imagematch.data.splits import SplitRules, split_images
from imagematch.errors import DataError
from imagematch.sources import ImageRow

from .conftest import write_image

Open = Callable[..., Dataset]


def sides(dataset: Dataset, group_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Group -> the splits that it is in; calibration is one with validation as long as both hold it out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, split in zip(dataset.paths, dataset.splits, strict=True):
        found[group_of(path)].add(str(split))
    return found


def test_sessions_of_a_folder_stay_whole(make_folder: Any, opened: Open) -> None:
    root = make_folder({f"p{person}/session{number}": 5 for person in range(8) for number in range(4)})
    dataset = opened(data_dir=root)
    assert dataset.class_names == tuple(f"p{person}" for person in range(8))
    assert all(len(splits) == 1 for splits in sides(dataset, lambda path: path.rpartition("/")[0]).values())
    for split in ("train", "validation", "test"):
        assert len(dataset.rows(split)) >= 10
    for fold in fold_datasets(dataset, 3, seed=0):
        assert all(len(splits) == 1 for splits in sides(fold, lambda path: path.rpartition("/")[0]).values())


def test_four_people_of_two_sittings_are_enough(make_folder: Any, opened: Open) -> None:
    root = make_folder({f"p{person}/{day}": 8 for person in range(4) for day in ("monday", "tuesday")})
    dataset = opened(data_dir=root)
    counts = {name: part["images"] for name, part in dataset.summary()["splits"].items()}
    assert counts == {"train": 32, "validation": 16, "calibration": 0, "test": 16}


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=80, max_size=200),
    st.sampled_from(["image", "class"]),
)
def test_no_group_of_a_table_is_on_two_sides(images: list[tuple[int, int]], by: str) -> None:
    """Groups over several classes, as photographers are."""
    rows = [
        ImageRow(f"{number:04d}", f"c{label}", group=f"g{group}" if group < 25 else "", digest=str(number))
        for number, (label, group) in enumerate(images)
    ]
    try:
        splits = split_images(rows, SplitRules((0.6, 0.2, 0.2), by, 0.25, 0))
    except DataError:
        return
    found = defaultdict(set)
    for row, split in zip(rows, splits.tolist(), strict=True):
        if row.group:
            found[row.group].add(split)
    assert all(len(splits) == 1 for splits in found.values())


def burst(number: int, frame: int) -> Image.Image:
    """A frame of a scene; frames of one are alike."""
    scene = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(scene).resize((60 + frame, 60), Image.Resampling.BICUBIC)


@pytest.fixture
def bursts(tmp_path: Path) -> Path:
    """Five people, each with twelve bursts of three frames."""
    for person in range(5):
        folder = tmp_path / "bursts" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(12):
            for frame in range(3):
                burst(100 * person + number, frame).save(folder / f"{number:02d}_{frame}.png")
    return tmp_path / "bursts"


def scene_of(path: str) -> str:
    return path.rpartition("_")[0]


def test_near_duplicates_stay_together_or_are_told(bursts: Path, opened: Open, events: Any) -> None:
    dataset = opened(data_dir=bursts)
    assert all(len(splits) == 1 for splits in sides(dataset, scene_of).values())
    assert dataset.near_training == {"validation": 0, "calibration": 0, "test": 0}
    assert not events("near_duplicates")
    assert dataset.near_duplicates is not None
    assert len(dataset.near_duplicates.pairs) >= 5 * 12 * 3

    apart = opened(data_dir=bursts, near_duplicates="as_is")
    trained = {scene_of(apart.paths[row]) for row in apart.rows("train")}
    seen = sum(scene_of(apart.paths[row]) in trained for row in apart.rows("test"))
    assert apart.near_training["test"] == seen > 10
    (said,) = apart.remarks("test")
    assert said.startswith(
        f"{seen} test images ({seen / len(apart.rows('test')):.0%}) have a near duplicate in training"
    )
    assert events("near_duplicates")[0]["message"] == said


def test_where_all_images_of_a_class_hang_together_it_is_said(tmp_path: Path, opened: Open, events: Any) -> None:
    for person in range(4):
        folder = tmp_path / "webcam" / f"p{person}"
        folder.mkdir(parents=True)
        for frame in range(20):
            burst(person, frame).save(folder / f"{frame:02d}.png")
    dataset = opened(data_dir=tmp_path / "webcam")
    assert "near duplicates cannot stay in one split" in events("near_duplicates_apart")[0]["message"]
    assert dataset.near_training["test"] == len(dataset.rows("test")) > 0


def test_labels_are_composed_and_spellings_that_fold_together_are_told(
    make_folder: Any, opened: Open, events: Any
) -> None:
    root = make_folder({"007": 12, "7": 12, "Ann": 12, "ann": 12, "bob": 12})
    for number in range(6):
        for form in ("NFC", "NFD"):
            write_image(root / unicodedata.normalize(form, "café") / f"{form}{number}.png", seed=number + ord(form[2]))
    dataset = opened(data_dir=root)
    assert dataset.class_names == ("007", "7", "Ann", "ann", "bob", "café")
    notes = [event["message"] for event in events("data_note")]
    assert "classes of nearly one name: '007' (12) and '7' (12); are they one?" in notes
    assert "classes of nearly one name: 'Ann' (12) and 'ann' (12); are they one?" in notes
