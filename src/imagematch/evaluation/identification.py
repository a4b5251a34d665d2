"""Open-set searches (1:N): how often an unenrolled class is found, and an enrolled one is not.

Every image is a search in a gallery of all other images. In a search for an enrolled class the gallery holds its
class; in one for an unenrolled class, it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import class_segments, cosine_distance_blocks, in_class_order, to_euclidean


@dataclass(frozen=True, eq=False)
class OpenSetSearches:
    """The searches of a split, sorted by class.

    Attributes:
        classes: (n,) label of each search.
        others: (n,) int64, images of other classes: the gallery of a search for an unenrolled class.
        nearest_other: (n,) float32, distance of the nearest of them; infinity where there are none.
        nearest_own: (n,) float32, distance of the nearest other image of the class; infinity where there is none.
        nearer: (n,) int64, images of other classes that are as near as that, or nearer.
        matching: (n,) int64, images of other classes under the threshold.
        threshold: the distance under which two images match.
    """

    classes: np.ndarray
    others: np.ndarray
    nearest_other: np.ndarray
    nearest_own: np.ndarray
    nearer: np.ndarray
    matching: np.ndarray
    threshold: float

    @property
    def enrolled(self) -> np.ndarray:
        """(n,) bool: the class has another image, which the gallery then holds."""
        return np.isfinite(self.nearest_own)

    def false_positive(self, threshold: float | None = None) -> np.ndarray:
        """(n,) bool: searched as if its class were not enrolled, it returns an image. The mean is the FPIR."""
        return self.nearest_other < np.float32(self.threshold if threshold is None else threshold)

    def false_negative(self, rank: int = 1, threshold: float | None = None) -> np.ndarray:
        """(enrolled,) bool: none of the `rank` nearest images is of the class and under the threshold.

        Its mean is the FNIR.
        """
        found = self.nearest_own < np.float32(self.threshold if threshold is None else threshold)
        return ~(found & (self.nearer < rank))[self.enrolled]

    def false_positive_chance(self, gallery_images: int) -> np.ndarray:
        """(searches,) chance that a random gallery of so many images of other classes returns one of them.

        Searches with fewer images of other classes are left out. Exact: the hypergeometric chance of no match is
        C(others - matching, size) / C(others, size).
        """
        from scipy.special import gammaln

        large = self.others >= gallery_images
        others, matching = self.others[large], self.matching[large]
        refused = others - matching
        possible = refused >= gallery_images
        log_none = (
            gammaln(refused + 1)
            - gammaln(np.where(possible, refused - gallery_images, 0) + 1)
            - gammaln(others + 1)
            + gammaln(others - gallery_images + 1)
        )
        return np.where(possible, -np.expm1(np.minimum(log_none, 0)), 1.0)


def open_set_searches(embeddings: np.ndarray, labels: np.ndarray, threshold: float) -> OpenSetSearches:
    """Searches with every image in a gallery of all others, blockwise.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        threshold: two images match below this distance.

    Raises:
        DataError: there is no image, or embeddings are unusable as in `pair_distances`.

    Source: FPIR and FNIR, ISO/IEC 19795-1; Grother, Ngan and Hanaoka, Face recognition vendor test part 2:
        Identification, NISTIR 8271, 2019.

    Examples:
        >>> angles = np.array([0.0, 0.1, 0.15, 2.0])
        >>> rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> found = open_set_searches(rows, np.array(["ann", "ann", "bob", "cem"]), threshold=0.2)
        >>> found.false_positive().tolist(), found.false_negative().tolist()
        ([True, True, True, False], [False, True])
    """
    order = in_class_order(embeddings, labels)
    n = len(order.rows)
    if not n:
        raise DataError("there is no image to search with")
    nearest_other = np.full(n, np.inf, dtype=np.float32)
    nearest_own = np.full(n, np.inf, dtype=np.float32)
    nearer, matching = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for block in cosine_distance_blocks(order.rows, upper_triangle=False):
        distances = to_euclidean(block.cosine_distances)
        for part in class_segments(order, block.first, block.stop):
            rows = slice(part.first, part.stop)
            of_rows = distances[part.first - block.first : part.stop - block.first]
            own = of_rows[:, part.start : part.end].copy()
            own[np.arange(len(own)), np.arange(part.first, part.stop) - part.start] = np.inf  # itself
            nearest_own[rows] = own.min(axis=1)
            of_rows[:, part.start : part.end] = np.inf
            nearest_other[rows] = of_rows.min(axis=1)
            nearer[rows] = np.count_nonzero(of_rows <= nearest_own[rows, None], axis=1)
            matching[rows] = np.count_nonzero(of_rows < np.float32(threshold), axis=1)
    nearer[~np.isfinite(nearest_own)] = 0
    classes = order.classes_of_rows
    others = n - order.sizes[classes]
    return OpenSetSearches(order.names[classes], others, nearest_other, nearest_own, nearer, matching, float(threshold))
