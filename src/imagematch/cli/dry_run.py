"""What `--dry-run` of a training and of a study have in common: weights that are there, and how images are split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.errors import ModelError

if TYPE_CHECKING:
    from imagematch.data import Dataset

_BY_NAME = ("imagenet", "random")


def check_weights(weights: Iterable[str | tuple[str, ...]]) -> None:
    """Raises ModelError naming the first weights file that is not there."""
    for given in weights:
        for name in (given,) if isinstance(given, str) else given:
            if name not in _BY_NAME and not Path(name).is_file():
                raise ModelError("there is no such file", where=f"weights: {name}", do="check the path")


def print_images(dataset: Dataset) -> None:
    """Prints how many images and classes there are, and how many of the images each split has."""
    print(f"images: {len(dataset.paths):,}")
    print(f"classes: {len(dataset.class_names):,}")
    for split in ("train", "validation", "calibration", "test"):
        print(f"{split}: {len(dataset.rows(split)):,}")
