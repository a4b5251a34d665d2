"""What a report shows of one split: embeddings, classes, files and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SplitView:
    """A split, as figures and reports need it.

    Attributes:
        embeddings: (n, dim) float32, L2-normalised.
        labels: (n,) int, index into `class_names`.
        class_names: every class's name; may hold any characters.
        paths: (n,) str, the images' ids; may hold any characters.
        picture: row -> (h, w, 3) uint8, small enough to be shown.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]
    paths: Sequence[str] | np.ndarray
    picture: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    def class_name(self, row: int) -> str:
        """Name of the class of image `row`."""
        return str(self.class_names[int(self.labels[row])])

    def path(self, row: int) -> str:
        """Id of image `row`."""
        return str(self.paths[row])
