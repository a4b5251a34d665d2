"""What `--dry-run` of a training and of a study have in common: weights that are there, and how images are split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.errors import ModelError
from imagematch.registry import ONNX_PREFIX

if TYPE_CHECKING:
    from imagematch.data import Dataset

_BY_NAME = ("imagenet", "random")


def check_files(weights: Iterable[str | tuple[str, ...]], extractors: Iterable[str | tuple[str, ...]]) -> None:
    """Raises ModelError naming the first weights or network file that is not there."""
    from imagematch.extractors import network_file_parts

    for name in _names(weights):
        if name not in _BY_NAME and not Path(name).is_file():
            raise ModelError("there is no such file", where=f"weights: {name}", do="check the path")
    for name in _names(extractors):
        if name.startswith(ONNX_PREFIX):
            network_file_parts(Path(name.removeprefix(ONNX_PREFIX)).expanduser())


def _names(given: Iterable[str | tuple[str, ...]]) -> Iterator[str]:
    for one in given:
        yield from (one,) if isinstance(one, str) else one


def print_images(dataset: Dataset) -> None:
    """Prints how many images and classes there are, and how many of the images each split has."""
    print(f"images: {len(dataset.paths):,}")
    print(f"classes: {len(dataset.class_names):,}")
    for split in ("train", "validation", "calibration", "test"):
        print(f"{split}: {len(dataset.rows(split)):,}")
