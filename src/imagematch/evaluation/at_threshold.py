"""Decisions at one threshold: the confusion of all pairs, and the rates of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.blocks import class_segments, cosine_distance_blocks, in_class_order, to_euclidean
from imagematch.evaluation.pairs import PairDistances


@dataclass(frozen=True)
class AtThreshold:
    """The decisions on all pairs at one threshold: a match iff distance < threshold, strictly.

    A metric is None where it is undefined: precision without any match, a rate without pairs of its kind.

    Attributes:
        distance: the threshold.
        tp: genuine pairs that match.
        fp: impostor pairs that match.
        tn: impostor pairs that do not match.
        fn: genuine pairs that do not match.
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
        """(tp + tn) / pairs. Where genuine pairs are rare, "never match" scores high: see `balanced_accuracy`."""
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
    """Counts the decisions on all pairs at a threshold, which is rounded to float32.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> at = at_threshold(pairs, 0.8)
        >>> at.confusion, at.tar, at.far
        ({'tp': 1, 'fp': 1, 'tn': 1, 'fn': 1}, 0.5, 0.5)
    """
    tp, fp = int(pairs.genuine.below(distance)), int(pairs.impostor.below(distance))
    return AtThreshold(float(distance), tp, fp, pairs.impostor.count - fp, pairs.genuine.count - tp)


@dataclass(frozen=True, eq=False)
class ClassRates:
    """The rates of each class at a threshold.

    Attributes:
        names: (classes,) labels, sorted.
        images: (classes,) int64.
        genuine_pairs: (classes,) int64, pairs within the class.
        tar: (classes,) float64, share of them that match; NaN where there are none.
        impostor_pairs: (classes,) int64, pairs of one image of the class and one of another class.
        far: (classes,) float64, share of them that match; NaN where there are none.
    """

    names: np.ndarray
    images: np.ndarray
    genuine_pairs: np.ndarray
    tar: np.ndarray
    impostor_pairs: np.ndarray
    far: np.ndarray


def class_rates(embeddings: np.ndarray, labels: np.ndarray, distance: float) -> ClassRates:
    """Computes the true and false accept rate of each class at a threshold, blockwise.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        distance: the threshold.

    Raises:
        DataError: as in `pair_distances`.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> rates = class_rates(rows, np.array(["a", "a", "b", "b"]), 0.5)
        >>> rates.names.tolist(), rates.tar.tolist(), rates.far.tolist()
        (['a', 'b'], [0.0, 0.0], [0.25, 0.25])
    """
    order = in_class_order(embeddings, labels)
    sizes, n = order.sizes, len(order.rows)
    genuine, impostor = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    for block in cosine_distance_blocks(order.rows, upper_triangle=False):
        matched = to_euclidean(block.cosine_distances) < np.float32(distance)
        for part in class_segments(order, block.first, block.stop):
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


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
