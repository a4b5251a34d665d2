"""Arrays of cached features that are read where they lie: in an order of their own, or several networks' as one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imagematch.extractors import concatenate_features
from imagematch.files import write_error

_IN_MEMORY_BYTES = 1 << 28
_MOST_IN_MEMORY_BYTES = 1 << 30
_COPY_ROWS = 8192


class FeatureArray(Protocol):
    """What is read of features: an array mapped from disk, or several of them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, feature_dim)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what indexing gives."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Features of rows: an array of row numbers of any shape, or a slice -> (..., feature_dim)."""


class ReorderedRows:
    """Rows of an array in another order; nothing is copied but what is asked for.

    Args:
        stored: (m, feature_dim), mapped from disk.
        rows: (n,) its rows, in the order they are wanted.
        folder: where a copy of all of them goes that is too large for memory.
    """

    def __init__(self, stored: np.ndarray, rows: np.ndarray, folder: Path) -> None:
        self._stored, self._rows, self._folder = stored, rows, folder
        self.shape = (len(rows), stored.shape[1])
        self.dtype = stored.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """(..., feature_dim) of the rows asked for."""
        return np.asarray(self._stored[self._rows[rows]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A copy of all rows: of more than 256 MB on disk, in a file without a name that ends with the array.

        Where that cannot be had, up to 1 GB is copied in memory.

        Raises:
            StudyError: there is no room for it.
        """
        whole = self._room()
        for first in range(0, len(self), _COPY_ROWS):
            np.take(self._stored, self._rows[first : first + _COPY_ROWS], axis=0, out=whole[first : first + _COPY_ROWS])
        return whole.astype(dtype or self.dtype, copy=False)

    def _room(self) -> np.ndarray:
        size = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if size > _IN_MEMORY_BYTES:
            try:
                with tempfile.TemporaryFile(dir=self._folder) as file:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:  # macOS
                        os.ftruncate(file.fileno(), size)
                    return np.asarray(np.memmap(file, self.dtype, "r+", shape=self.shape))
            except OSError as error:
                if size > _MOST_IN_MEMORY_BYTES:
                    raise write_error(self._folder, error, needed=size) from error
        return np.empty(self.shape, self.dtype)


class ConcatenatedFeatures:
    """The features of several networks for the same images; nothing is copied but what is asked for.

    Args:
        arrays: (n, feature_dim) each, of any float type; usually mapped from disk.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, arrays: Sequence[FeatureArray]) -> None:
        self._arrays = arrays
        self.shape = (len(arrays[0]), sum(array.shape[1] for array in arrays))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """(..., feature_dim) float32, as the networks' `Concatenation` gives them."""
        return concatenate_features([array[rows] for array in self._arrays])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)
