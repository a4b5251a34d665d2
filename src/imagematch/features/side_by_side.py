"""Several arrays of kept features read as one: rows are gathered and put side by side when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from imagematch.extractors import side_by_side


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


class SideBySide:
    """The features of several networks for the same pictures; nothing is copied but what is asked for.

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
        return side_by_side([array[rows] for array in self._arrays])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)
