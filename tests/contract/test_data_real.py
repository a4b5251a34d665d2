"""The real data packs, where they are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.config import parse_train
from imagematch.data import Dataset, open_dataset

DATA = Path(os.environ.get("IMAGEMATCH_DATA", "data"))

pytestmark = pytest.mark.realdata


def opened(dataset: str, folder: str, manifest_dir: Path, **keys: Any) -> Dataset:
    root = DATA / folder
    if not root.is_dir():
        pytest.skip(f"{root} is not there: set IMAGEMATCH_DATA to where the data packs are unpacked")
    settings = parse_train({"experiment_name": "real", "dataset": dataset, "data_dir": str(root), **keys})
    return open_dataset(settings, manifest_dir=manifest_dir)


def test_tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened("tiny_imagenet", "tiny-imagenet-200", tmp_path)
    assert len(dataset) >= 10_000
    assert not dataset.quarantined
    shares = np.array([len(dataset.rows(split)) for split in ("train", "validation", "calibration", "test")])
    assert np.allclose(shares / len(dataset), [0.7, 0.15, 0.05, 0.1], atol=0.002)
    assert 0.01 < np.mean(dataset.modes == "L") < 0.03
    monkeypatch.setattr("imagematch.data.manifest.inspect", lambda *_: pytest.fail("an image was decoded again"))
    assert opened("tiny_imagenet", "tiny-imagenet-200", tmp_path).digest == dataset.digest


def test_flowers_keep_their_own_split(tmp_path: Path) -> None:
    dataset = opened("flowers", "flowers5", tmp_path, split_by="predefined")
    assert len(dataset.class_names) == 5
    assert len(dataset.rows("test")) == 550


@pytest.mark.soak  # opens 32,000 images
def test_omniglot_by_alphabet(tmp_path: Path) -> None:
    dataset = opened("omniglot", "omniglot", tmp_path, split_by="class")
    alphabets = [
        {dataset.class_names[label].partition("/")[0] for label in dataset.labels[np.isin(dataset.splits, splits)]}
        for splits in (["train"], ["validation", "calibration"], ["test"])
    ]
    assert sum(map(len, alphabets)) == len(set.union(*alphabets)) >= 30
    assert set(dataset.modes.tolist()) == {"1"}


def test_celeba_identities_are_folders(tmp_path: Path) -> None:
    dataset = opened("folder", "celeba299_wild320", tmp_path, split_by="class")
    assert len(dataset.class_names) >= 100
