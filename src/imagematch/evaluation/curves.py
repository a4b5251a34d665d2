"""ROC and DET curves and distance histograms, thinned for plotting without losing their shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.pairs import PairDistances


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Points of the ROC, from nothing accepted to all accepted.

    Attributes:
        far: (points,) float64, share of impostor pairs with distance < threshold (FPR, FMR); ascending.
        tar: (points,) float64, share of genuine pairs with distance < threshold (TPR); ascending.
        distance: (points,) float64, the thresholds, ascending.
    """

    far: np.ndarray
    tar: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, eq=False)
class DetCurve:
    """Points of the detection error tradeoff curve.

    Attributes:
        far: (points,) float64, false accept rate (FPR, FMR, false positive rate), ascending.
        frr: (points,) float64, false reject rate (FNR, FNMR, miss rate), descending.
        distance: (points,) float64, the thresholds, ascending.
    """

    far: np.ndarray
    frr: np.ndarray
    distance: np.ndarray


def roc_curve(pairs: PairDistances, points: int = 1000) -> RocCurve:
    """Computes about `points` points of the ROC, each of them exact.

    Where there are fewer distinct distances than `points`, the curve has them all. Otherwise a third of the points is
    spread evenly over the genuine distances, a third evenly over the impostor distances and a third logarithmically
    over the smallest impostor distances: neighbours differ by at most 3 / points in FAR and TAR (except at ties), and
    by a constant factor at small FAR.

    Raises:
        ValueError: fewer than 6 points.
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> curve = roc_curve(listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False])))
        >>> curve.far.tolist(), curve.tar.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    if points < 6:
        raise ValueError(f"a curve needs 6 points or more, not {points}")
    pairs.require()
    genuine, impostor = pairs.genuine, pairs.impostor
    thresholds = _every_threshold(pairs, points)
    if thresholds is None:
        even = np.linspace(0, 1, points // 3)
        few = np.unique(np.geomspace(1, impostor.count, points // 3).astype(np.int64)) - 1
        accepted = np.unique(
            np.concatenate(
                [
                    genuine.value_at((even * (genuine.count - 1)).astype(np.int64)),
                    impostor.value_at((even * (impostor.count - 1)).astype(np.int64)),
                    impostor.value_at(few),
                ]
            )
        )
        thresholds = _next_thresholds(accepted)
    thresholds = np.concatenate([np.zeros(1, dtype=np.float32), thresholds])
    far, tar = impostor.below(thresholds) / impostor.count, genuine.below(thresholds) / genuine.count
    return RocCurve(far, tar, thresholds.astype(np.float64))


def det_curve(pairs: PairDistances, points: int = 1000) -> DetCurve:
    """Computes the DET curve, thinned as in `roc_curve`; plot both axes on a normal deviate (probit) scale.

    Raises:
        DataError: there is no genuine or no impostor pair.

    Source: Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> curve = det_curve(listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False])))
        >>> curve.frr.tolist()
        [1.0, 0.5, 0.5, 0.0, 0.0]
    """
    roc = roc_curve(pairs, points)
    return DetCurve(roc.far, 1 - roc.tar, roc.distance)


def _every_threshold(pairs: PairDistances, points: int) -> np.ndarray | None:
    """A threshold above each distinct distance; None where there are more than `points`."""
    if max(len(pairs.genuine.values), len(pairs.impostor.values)) >= points:
        return None
    values = np.union1d(pairs.genuine.values, pairs.impostor.values)
    return _next_thresholds(values) if len(values) < points else None


def _next_thresholds(accepted: np.ndarray) -> np.ndarray:
    """The smallest thresholds that accept given distances: the next float32."""
    return np.nextafter(accepted, np.float32(np.inf))


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """Genuine and impostor pairs by distance, in bins of equal width.

    Attributes:
        edges: (bins + 1,) float64; a pair is in a bin if edge <= distance < next edge (the last bin is closed).
        genuine: (bins,) int64, pairs in each bin.
        impostor: (bins,) int64.
    """

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


def distance_histogram(pairs: PairDistances, bins: int = 100) -> DistanceHistogram:
    """Counts the pairs in bins of equal width from 0 to the largest distance.

    Raises:
        ValueError: fewer than one bin.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> distance_histogram(pairs, bins=2).genuine.tolist()
        [1, 1]
    """
    if bins < 1:
        raise ValueError(f"a histogram needs 1 bin or more, not {bins}")
    sides = (pairs.genuine, pairs.impostor)
    largest = max((float(side.value_at(side.count - 1)) for side in sides if side.count), default=0.0)
    edges = np.linspace(0, largest or 1.0, bins + 1).astype(np.float32)
    counts = []
    for side in sides:
        below = side.below(edges)
        below[-1] = side.count
        counts.append(np.diff(below))
    return DistanceHistogram(edges.astype(np.float64), *counts)
