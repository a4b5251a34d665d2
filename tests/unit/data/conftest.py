"""Small images and data sets made on the spot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.config import TrainSettings, parse_train
from imagematch.data import Dataset, open_dataset
from imagematch.events import RunLog


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path: Path, seed: int, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, **size)).save(path)
    return path


def break_unseen(path: Path) -> None:
    """Damages a file that keeps its size and time, as a bad sector does."""
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder per class: `make_folder({"a": 3, "b/c": 4})`."""

    def make(classes: dict[str, int], root: str = "images") -> Path:
        for number, (label, count) in enumerate(sorted(classes.items())):
            for index in range(count):
                write_image(tmp_path / root / label / f"{index}.png", seed=1000 * number + index)
        return tmp_path / root

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Dataset]:
    """Opens a data set with manifests and `run.jsonl` in the test's folder."""

    def open_it(**keys: Any) -> Dataset:
        log = RunLog(tmp_path / "run.jsonl")
        return open_dataset(settings(**keys), manifest_dir=tmp_path / "manifests", log=log)

    return open_it


@pytest.fixture
def events(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """The events of a kind that `opened` logged so far."""

    def read(kind: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "run.jsonl").read_text().splitlines() if (tmp_path / "run.jsonl").exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    return read


def settings(**keys: Any) -> TrainSettings:
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    return parse_train({"experiment_name": "test", "dataset": "folder", **keys})
