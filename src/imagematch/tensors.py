"""Weights on disk as safetensors: a header of names, types and shapes, then the numbers, never executed.

A file is read only if its header is, byte for byte, the one that the reader expects, so nothing in it is parsed.

Source: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.errors import ModelError
from imagematch.files import os_reason
from imagematch.reading import GB, open_file, read_exactly

_DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64"}
_ALIGNMENT = 8
_MAX_BYTES = 8 * GB
_EXTRA_BYTES = 64
"""That single numbers of eight bytes may take above four bytes a number."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of one tensor.

    Attributes:
        shape: sizes of its axes.
        dtype: `float32`, `int32` or `int64`.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors to a new file, in their order.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    specs = {name: TensorSpec(array.shape, str(array.dtype)) for name, array in arrays.items()}
    with path.open("wb") as file:
        file.write(_header(specs))
        for array in arrays.values():
            file.write(array.data)


def read_tensors(path: Path, specs: Mapping[str, TensorSpec], *, inside: Path | None = None) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `write_tensors` wrote into memory, so that later changes of the file do no harm.

    Args:
        path: the file.
        specs: names, shapes and types that it must have, in their order.
        inside: the folder that the file must lie in, once all links are followed.

    Returns:
        Read-only arrays.

    Raises:
        ModelError: the file is missing, or holds anything but these tensors; that is known before a number is read.
    """
    header = _header(specs)
    size = len(header) + sum(spec.nbytes for spec in specs.values())
    try:
        with open_file(path, max_bytes=_MAX_BYTES, inside=inside, dense=True) as file:
            if file.seek(0, 2) != size or file.seek(0) != 0 or file.read(len(header)) != header:
                raise ModelError("does not hold the weights that matcher.json describes", where=str(path))
            numbers = np.frombuffer(read_exactly(file, size - len(header)), np.uint8)
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="restore the file") from error
    found, start = {}, 0
    for name, spec in specs.items():
        found[name] = numbers[start : start + spec.nbytes].view(spec.dtype).reshape(spec.shape)
        start += spec.nbytes
    return found


def check_number_count(path: Path, count: int | None, *, inside: Path) -> None:
    """Checks that a file may hold so many numbers, before anything of their size is made.

    Args:
        path: the file.
        count: of numbers, of four bytes mostly; None accepts any.
        inside: the folder that the file must lie in, once all links are followed.

    Raises:
        ModelError: the file is missing, or of another size.
    """
    try:
        with open_file(path, max_bytes=_MAX_BYTES, inside=inside, dense=True) as file:
            header = int.from_bytes(file.read(8), "little") + 8
            extra = file.seek(0, 2) - header - 4 * (count or 0)
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="restore the file") from error
    if count is not None and not 0 <= extra <= _EXTRA_BYTES:
        raise ModelError("does not hold the weights that matcher.json describes", where=str(path))


def _header(specs: Mapping[str, TensorSpec]) -> bytes:
    """Length (8 bytes, little-endian) and JSON, padded with spaces to the alignment of the numbers."""
    described, start = {}, 0
    for name, spec in specs.items():
        stop = start + spec.nbytes
        described[name] = {"dtype": _DTYPES[spec.dtype], "shape": list(spec.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
