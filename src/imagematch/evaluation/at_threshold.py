"""What happens at one threshold: the confusion of all pairs, each class's rates, and galleries of any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.blocks import half_square_blocks, in_class_order, segments, to_distances
from imagematch.evaluation.pairs import PairDistances

GALLERY_SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
"""The galleries of the operating-point table, in images."""


@dataclass(frozen=True)
class AtThreshold:
    """All pairs, decided at one threshold: a match iff distance < threshold, strictly.

    Attributes:
        distance: the threshold.
        tp: genuine pairs matched. fp: impostor pairs matched. tn: impostor pairs told apart. fn: genuine pairs missed.

    Figures are None where they are undefined: precision where nothing matches, a rate where its pairs do not exist.
    """

    distance: float
    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def confusion(self) -> dict[str, int]:
        """The four counts by name."""
        return {"tp": self.tp, "fp": self.fp, "tn": self.tn, "fn": self.fn}

    @property
    def accuracy(self) -> float | None:
        """(tp + tn) / pairs. With few genuine pairs "never match" scores high: see `balanced_accuracy`."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    @property
    def tar(self) -> float | None:
        """True accept rate, tp / (tp + fn); also recall, TPR, sensitivity."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def far(self) -> float | None:
        """False accept rate, fp / (fp + tn); also FMR, FPR."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def frr(self) -> float | None:
        """False reject rate, fn / (tp + fn); also FNMR, FNR."""
        return _ratio(self.fn, self.tp + self.fn)

    @property
    def balanced_accuracy(self) -> float | None:
        """(TAR + 1 - FAR) / 2."""
        return None if self.tar is None or self.far is None else (self.tar + 1 - self.far) / 2

    @property
    def precision(self) -> float | None:
        """tp / (tp + fp)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """The same as `tar`."""
        return self.tar

    @property
    def f1(self) -> float | None:
        """2 tp / (2 tp + fp + fn)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def at_threshold(pairs: PairDistances, distance: float) -> AtThreshold:
    """Counts the decisions of all pairs at a threshold (compared as float32)."""
    tp, fp = int(pairs.genuine.below(distance)), int(pairs.impostor.below(distance))
    return AtThreshold(float(distance), tp, fp, pairs.impostor.count - fp, pairs.genuine.count - tp)


@dataclass(frozen=True, eq=False)
class ClassRates:
    """How each class fares at a threshold.

    Attributes:
        names: (classes,) labels, sorted.
        images: (classes,) int64.
        genuine_pairs: (classes,) int64, pairs within the class.
        tar: (classes,) float64, share of them matched; NaN where there are none.
        impostor_pairs: (classes,) int64, pairs of one image of the class and one of another class.
        far: (classes,) float64, share of those matched; NaN where there are none.
    """

    names: np.ndarray
    images: np.ndarray
    genuine_pairs: np.ndarray
    tar: np.ndarray
    impostor_pairs: np.ndarray
    far: np.ndarray


def class_rates(embeddings: np.ndarray, labels: np.ndarray, distance: float) -> ClassRates:
    """Computes each class's true and false accept rates at a threshold, blockwise.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        distance: the threshold.

    Raises:
        DataError: as `pair_distances`.
    """
    order = in_class_order(embeddings, labels)
    sizes, n = order.sizes, len(order.rows)
    genuine, impostor = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    for block in half_square_blocks(order.rows, upper_triangle=False):
        matched = to_distances(block.half_squares) < np.float32(distance)
        for part in segments(order, block.first, block.stop):
            rows = matched[part.first - block.first : part.stop - block.first]
            own = rows[:, part.start : part.end]
            inside = int(np.count_nonzero(own))
            itself = int(np.count_nonzero(own[np.arange(len(own)), np.arange(part.first, part.stop) - part.start]))
            genuine[part.class_index] += inside - itself
            impostor[part.class_index] += int(np.count_nonzero(rows)) - inside
    within, across = sizes * (sizes - 1) // 2, sizes * (n - sizes)
    return ClassRates(order.names, sizes, within, _shares(genuine, 2 * within), across, _shares(impostor, across))


def _shares(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.divide(counts, totals, out=np.full(len(counts), np.nan), where=totals > 0)


@dataclass(frozen=True)
class OperatingPoint:
    """What one query meets in a gallery without its like.

    Attributes:
        gallery_images: size of the gallery.
        expected_false_matches: gallery_images x FAR.
        any_false_match: probability of at least one, were the comparisons independent.
        upper_false_matches: the expectation's 95 % bound where no false match was seen at all (rule of three, were the
            pairs independent), else the same as expected.
        below_resolution: the FAR rests on fewer than 30 false matches, so it is no more than an order of magnitude.
    """

    gallery_images: int
    expected_false_matches: float
    any_false_match: float
    upper_false_matches: float
    below_resolution: bool


def operating_points(at: AtThreshold, gallery_sizes: Iterable[int] = GALLERY_SIZES) -> list[OperatingPoint]:
    """Says how many false matches a query has to expect at a threshold in galleries of given sizes.

    Returns:
        One point a size; empty where there is no impostor pair.
    """
    far = at.far
    if far is None:
        return []
    upper = far if at.fp else min(1.0, 3 / at.tn)
    return [
        OperatingPoint(
            size, size * far, float(-np.expm1(size * np.log1p(-far))) if far < 1 else 1.0, size * upper, at.fp < 30
        )
        for size in gallery_sizes
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
