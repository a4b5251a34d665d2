"""Rows of a mapped file in an order of their own: read where they lie, and copied only for who wants an array."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.files import write_error

_IN_MEMORY_BYTES = 1 << 28
_MOST_IN_MEMORY_BYTES = 1 << 30
_COPY_ROWS = 8192


class Gathered:
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
                    os.posix_fallocate(file.fileno(), 0, size)
                    return np.asarray(np.memmap(file, self.dtype, "r+", shape=self.shape))
            except OSError as error:
                if size > _MOST_IN_MEMORY_BYTES:
                    raise write_error(self._folder, error) from error
        return np.empty(self.shape, self.dtype)
