"""Confidence intervals by resampling classes, since pairs that share images or classes are not independent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import (
    ClassOrder,
    genuine_values,
    half_square_blocks,
    impostor_values,
    in_class_order,
    segments,
)
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.ranking import QueryFigures
from imagematch.evaluation.verification import FARS, distance_at_far

TRUSTED_CLASSES = 30
"""With fewer classes an interval over classes is not to be trusted."""

_GRID = 1 << 20
_GRID_SCALE = np.float32(_GRID / 2)
_MOST_BINS, _FEWEST_BINS, _BUDGET = 2048, 256, 10**9


@dataclass(frozen=True)
class Interval:
    """A percentile interval over resamples of the classes.

    Attributes:
        low, high: its ends.
        confidence: the share of resamples inside, 0.95.
        resamples: resamples that counted (one without a genuine or an impostor pair does not).
        classes: distinct classes that were resampled.
        trustworthy: there are 30 classes or more.
        error_bound: how far a resample's value may be off because distances are counted in bins (see
            `bootstrap_intervals`); 0 where it is not.
    """

    low: float
    high: float
    confidence: float
    resamples: int
    classes: int
    trustworthy: bool
    error_bound: float = 0.0


def bootstrap_interval(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
    pairs: PairDistances | None = None,
) -> Interval:
    """The interval of the ROC AUC over all pairs: `bootstrap_intervals(...)["roc_auc"]`.

    Raises:
        DataError: there is no genuine or no impostor pair, or there are only two classes.
    """
    found = bootstrap_intervals(
        embeddings, labels, resamples=resamples, seed=seed, confidence=confidence, pairs=pairs, fars=()
    )
    if not found:
        raise DataError("two classes give no interval: every resample is the same", do="use more classes")
    return found["roc_auc"]


def bootstrap_intervals(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
    pairs: PairDistances | None = None,
    fars: Iterable[float] = FARS,
    threshold: float | None = None,
) -> dict[str, Interval]:
    """Intervals of `roc_auc`, `eer`, `average_precision` and `tar_at_far_X`, from resamples of the classes.

    With a threshold also of `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`, `tar` and `far` at it; a
    resample in which one is undefined does not count for it, and where none counts it is left out. Of two classes every
    resample that has both kinds of pairs is the images themselves: there is no interval at all.

    With multiplicities w a genuine pair of class a counts w_a times, an impostor pair of classes a and b w_a w_b
    times: copies of a class are neither genuine nor impostor to each other. All resamples share one pass over the
    pairs: for each class its distances to the others are counted in bins (256 to 2048, at quantiles of the genuine
    and impostor distances) and weighted by one matrix product, so the time is little more than that of one AUC.
    Inside a bin couples count half: the AUC of a resample, and so an end of the interval, is off by `error_bound` at
    most. EER and TAR are read off straight lines between bin edges (the TAR at the last edge that keeps to the FAR,
    where that comes closer to the figure itself: among ties); for the average precision a bin is one step. The
    threshold is an edge, rounded to 2^-19 of the half squared distance.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        resamples: how many.
        seed: of the draw; the same seed gives the same intervals.
        confidence: 0..1.
        pairs: what `pair_distances` gave for the same embeddings, if it is at hand.
        fars: false accept rates of the TAR.
        threshold: under it two images match.

    Raises:
        DataError: there is no genuine or no impostor pair, or embeddings are unusable as in `pair_distances`.

    Source: Bolle et al., Error analysis of pattern recognition systems: the subsets bootstrap, CVIU 93, 2004.
    """
    order = in_class_order(embeddings, labels)
    pairs = pair_distances(embeddings, labels) if pairs is None else pairs
    pairs.require()
    drawn = class_weights(len(order.names), resamples, seed)
    weights = np.vstack([drawn, np.ones_like(drawn[:1])])  # the last row is the figures' own
    edges = _bin_edges(pairs, _bins_for(len(order.names)), threshold)
    genuine, impostor = _weighted_counts(order, weights, np.searchsorted(edges, np.arange(_GRID + 1), side="right"))
    usable = (genuine.sum(axis=1) > 0) & (impostor.sum(axis=1) > 0)
    if not usable[:-1].any():
        raise DataError("no resample of the classes has genuine and impostor pairs", do="use more classes")
    if len(np.unique(weights[usable], axis=0)) == 1:
        return {}
    accepted = [_accepted(counts[usable]) for counts in (genuine, impostor)]
    tar, far = (counts / counts[:, -1:] for counts in accepted)
    bound = float((np.diff(tar) * np.diff(far)).sum(axis=1).max() / 2)
    values = {
        "roc_auc": 1 - np.trapezoid(far, tar, axis=1),
        "eer": _equal_error_rates(far, tar),
        "average_precision": _average_precisions(tar, *accepted),
    }
    for rate in fars:
        figure = int(pairs.genuine.below(distance_at_far(pairs, rate))) / pairs.genuine.count
        stepped, straight = _tar_at_far(rate, far, tar)
        tied = abs(stepped[-1] - figure) <= abs(straight[-1] - figure)
        values[f"tar_at_far_{rate_name(rate)}"] = stepped if tied else straight
    if threshold is not None:
        at = int(np.searchsorted(edges, _grid_step(threshold))) + 1
        values |= _rates_at(*(counts[:, at] for counts in accepted), *(counts[:, -1] for counts in accepted))
    return {
        name: interval_of(sample[:-1][defined], confidence, len(order.names), bound if name == "roc_auc" else 0.0)
        for name, sample in values.items()
        if (defined := np.isfinite(sample[:-1])).any()
    }


def retrieval_intervals(
    per_query: QueryFigures, *, resamples: int = 200, seed: int = 0, confidence: float = 0.95
) -> dict[str, Interval]:
    """Intervals of `map_at_r`, `r_precision`, `recall_at_K` and, of a whole ranking, the mAP, by resampling classes.

    An approximation: each query's figure is taken as it is, the gallery is not resampled with the queries.

    Raises:
        DataError: there is no query.
    """
    if not len(per_query.rows):
        raise DataError(
            "no query has a relevant image: no class has two images", do="use classes with two images or more"
        )
    names, classes = np.unique(per_query.classes, return_inverse=True)
    weights = class_weights(len(names), resamples, seed)
    drawn = weights @ np.bincount(classes)
    per_name: dict[str, np.ndarray] = {
        "map_at_r": per_query.map_at_r,
        "r_precision": per_query.r_precision,
        **{f"recall_at_{k}": hit.astype(np.float64) for k, hit in per_query.recall_at_k.items()},
    }
    if per_query.average_precision is not None:
        per_name["mean_average_precision"] = per_query.average_precision
    return {
        name: interval_of(weights @ np.bincount(classes, weights=values) / drawn, confidence, len(names))
        for name, values in per_name.items()
    }


def class_weights(classes: int, resamples: int, seed: int) -> np.ndarray:
    """How often each class is drawn when as many as there are are drawn with replacement: (resamples, classes)."""
    return np.random.default_rng(seed).multinomial(classes, np.full(classes, 1 / classes), size=resamples)


def rate_name(rate: float) -> str:
    """A rate as a key: 0.00001, never 1e-05."""
    return np.format_float_positional(rate, trim="-")


def interval_of(sample: np.ndarray, confidence: float, classes: int, bound: float = 0.0) -> Interval:
    """The interval of a figure from its values in resamples of so many classes."""
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(sample, [tail, 100 - tail])
    return Interval(float(low), float(high), confidence, len(sample), classes, classes >= TRUSTED_CLASSES, bound)


def _bins_for(classes: int) -> int:
    return int(np.clip(_BUDGET // classes**2, _FEWEST_BINS, _MOST_BINS))


def _grid_step(distance: float) -> float:
    """Where a distance lies among the 2^20 equal steps of the half squared distance."""
    return float(np.clip(np.rint(distance * abs(distance) / 2 * float(_GRID_SCALE)), 0, _GRID))


def _bin_edges(pairs: PairDistances, bins: int, threshold: float | None) -> np.ndarray:
    """The first step of every bin but the first one, ascending: about `bins` of them, the threshold's among them."""
    third = bins // 3
    even = np.linspace(0, 1, third)
    accepted = [side.value_at((even * (side.count - 1)).astype(np.int64)) for side in (pairs.genuine, pairs.impostor)]
    few = np.geomspace(1, pairs.impostor.count, third).astype(np.int64) - 1
    accepted.append(pairs.impostor.value_at(few))
    half_squares = np.concatenate(accepted).astype(np.float64) ** 2 / 2
    steps = np.ceil(half_squares * float(_GRID_SCALE))
    return np.unique(steps if threshold is None else np.append(steps, _grid_step(threshold)))


def _weighted_counts(order: ClassOrder, weights: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs in each bin under each row of class weights: genuine and impostor, (rows of weights, bins) float64.

    `table` holds the bin of each step of the half squared distance, (2^20 + 1,) int64.
    """
    bins = int(table[-1]) + 1
    classes = order.classes_of_rows
    weights = weights.astype(np.float32)
    genuine, impostor = (np.zeros((len(weights), bins)) for _ in range(2))
    for block in half_square_blocks(order.rows, upper_triangle=True):
        for part in segments(order, block.first, block.stop):
            own = weights[:, part.class_index, None]
            inside = np.bincount(_bins_of(genuine_values(block, part), table), minlength=bins)
            genuine += own * inside
            later = len(order.names) - part.class_index - 1
            if not later:
                continue
            cells = _bins_of(impostor_values(block, part), table)
            cells += (classes[part.end :] - part.class_index - 1) * bins
            counts = np.bincount(cells.ravel(), minlength=later * bins).reshape(later, bins)
            impostor += own * (weights[:, part.class_index + 1 :] @ counts.astype(np.float32))
    return genuine, impostor


def _bins_of(half_squares: np.ndarray, table: np.ndarray) -> np.ndarray:
    steps = (half_squares * _GRID_SCALE).astype(np.int64)
    return table.take(steps, mode="clip")


def _accepted(counts: np.ndarray) -> np.ndarray:
    """Pairs accepted at the bins' edges, from none to all: (rows, bins + 1)."""
    return np.hstack([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)])


def _average_precisions(tar: np.ndarray, genuine: np.ndarray, impostor: np.ndarray) -> np.ndarray:
    """One a row, from the shares and numbers accepted at the bins' edges, (rows, bins + 1) each."""
    precision = genuine / np.maximum(genuine + impostor, 1)
    return (np.diff(tar) * precision[:, 1:]).sum(axis=1)


def _rates_at(tp: np.ndarray, fp: np.ndarray, genuine: np.ndarray, impostor: np.ndarray) -> dict[str, np.ndarray]:
    """The figures at a threshold, as `AtThreshold` has them, of many resamples: (rows,) each, NaN where undefined."""
    tar, far = tp / genuine, fp / impostor
    return {
        "accuracy": (tp + impostor - fp) / (genuine + impostor),
        "balanced_accuracy": (tar + 1 - far) / 2,
        "precision": np.divide(tp, tp + fp, out=np.full(len(tp), np.nan), where=tp + fp > 0),
        "recall": tar,
        "tar": tar,
        "far": far,
        "f1": 2 * tp / (tp + fp + genuine),
    }


def _tar_at_far(rate: float, far: np.ndarray, tar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The TAR at a FAR, (rows,): at the last edge that keeps to it, and on the straight line from there to the next."""
    row, last = np.arange(len(far)), np.count_nonzero(far <= rate, axis=1) - 1
    after = np.minimum(last + 1, far.shape[1] - 1)
    stepped, rise = tar[row, last], far[row, after] - far[row, last]
    share = np.divide(rate - far[row, last], rise, out=np.zeros(len(far)), where=rise > 0)
    return stepped, stepped + share * (tar[row, after] - stepped)


def _equal_error_rates(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    gap = far + tar - 1
    after = np.argmax(gap >= 0, axis=1)
    row = np.arange(len(gap))
    rise = gap[row, after] - gap[row, after - 1]
    share = -gap[row, after - 1] / np.where(rise > 0, rise, 1)
    return far[row, after - 1] + share * (far[row, after] - far[row, after - 1])
