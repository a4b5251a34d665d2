"""Confidence intervals of every verification and retrieval metric, over classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.at_threshold import at_threshold
from imagematch.evaluation.blocks import in_class_order
from imagematch.evaluation.class_counts import ClassCounts, MatchCounts, class_counts
from imagematch.evaluation.jackknife import (
    Interval,
    StandardError,
    interval_of_mean,
    interval_over,
    jackknife_error,
    logit_half_width,
    logit_interval,
)
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.ranking import PerQueryMetrics
from imagematch.evaluation.verification import FARS, average_precision, eer, roc_auc, tar_at_far

_CHUNK = 1 << 20


def verification_intervals(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    pairs: PairDistances | None = None,
    fars: Iterable[float] = FARS,
    threshold: float | None = None,
) -> dict[str, Interval]:
    """Intervals of `roc_auc`, `eer`, `average_precision` and `tar_at_far_X` over the choice of classes.

    With a threshold also of `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`, `tar` and `far` at it. A
    metric is left out where it is undefined, or becomes so when a class is left out; a TAR also below the resolution
    of its FAR. Fewer than three classes give no interval.

    Pairs that share a class are not independent, but classes are. So standard errors are the jackknife's: every metric
    is computed again without each class (`jackknife_error`). One pass over all pairs gives all of them, because leaving
    out a class removes exactly its own pairs. The pairs are counted in bins for this (`class_counts`), so a standard
    error is off by about a hundredth. The metrics themselves and the counts at the threshold are exact. The ends are
    symmetric on the logit scale (`logit_interval`). Those of the EER are where the ROC, moved by the half width of the
    interval of its FRR, meets FAR = FRR. benchmarks/interval_coverage.py measures how often intervals hold the truth.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        confidence: 0..1.
        pairs: `pair_distances` of the same embeddings, if already computed.
        fars: false accept rates of the TAR.
        threshold: images match below this distance.

    Raises:
        DataError: there is no genuine or no impostor pair, or embeddings are unusable as in `pair_distances`.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8], [-1, 0], [-0.6, 0.8]])
        >>> found = verification_intervals(rows, np.array([0, 0, 1, 1, 2, 2]), threshold=0.7)["far"]
        >>> found.low < 1 / 12 < found.high, found.classes, found.trustworthy
        (True, 3, False)
    """
    order = in_class_order(embeddings, labels)
    pairs = pair_distances(embeddings, labels) if pairs is None else pairs
    pairs.require()
    if len(order.names) < 3:
        return {}
    resolved = [found for found in tar_at_far(pairs, fars) if found.tar is not None]
    values = {"roc_auc": roc_auc(pairs), "eer": eer(pairs), "average_precision": average_precision(pairs)}
    values |= {f"tar_at_far_{rate_name(found.far)}": float(found.tar or 0) for found in resolved}
    counts = class_counts(order, pairs, threshold)
    left_out = _left_out(counts, [found.far for found in resolved], values["eer"])
    genuine_pairs = order.sizes * (order.sizes - 1) // 2
    genuine_classes = int(np.count_nonzero(genuine_pairs))
    intervals = {}
    for name, value in values.items():
        error = jackknife_error(left_out[name], genuine_pairs)
        if error is None:
            continue
        ends = logit_interval(value, error, confidence, genuine_classes)
        if name == "eer" and 0 < value < 1:
            ends = _eer_interval(counts, value, logit_half_width(value, error, confidence))
        intervals[name] = interval_over(len(order.names), ends, confidence)
    if counts.matches is not None and threshold is not None:
        decided = at_threshold(pairs, threshold)
        for name, error in _errors_at_threshold(counts.matches, order.sizes).items():
            value = getattr(decided, name)
            if error is not None and value is not None:
                units = len(order.names) * (len(order.names) - 1) / 2 if name == "far" else genuine_classes
                ends = logit_interval(value, error, confidence, units)
                intervals[name] = interval_over(len(order.names), ends, confidence)
    return intervals


def retrieval_intervals(per_query: PerQueryMetrics, *, confidence: float = 0.95) -> dict[str, Interval]:
    """Intervals of `map_at_r`, `r_precision`, `recall_at_K` and, of a whole ranking, `mean_average_precision`.

    Standard errors are the jackknife's over the queries' classes, as in `verification_intervals`. Each query's ranking
    is taken as it is: how the choice of the other classes in the gallery changes it is not in the interval. Queries of
    fewer than three classes give none.

    Args:
        per_query: the metrics of each query.
        confidence: 0..1.

    Raises:
        DataError: there is no query.

    Examples:
        >>> from imagematch.evaluation import retrieval_metrics
        >>> angles = np.array([0.0, 0.1, 1.0, 1.1, 2.0, 2.6, 3.0, 2.5])
        >>> rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> found = retrieval_metrics(rows, np.array([0, 0, 1, 1, 2, 2, 3, 3]))
        >>> interval = retrieval_intervals(found.per_query)["map_at_r"]
        >>> interval.low < found.map_at_r < interval.high
        True
    """
    if not len(per_query.rows):
        raise DataError(
            "no query has a relevant image: no class has two images", do="use classes with two images or more"
        )
    metrics: dict[str, np.ndarray] = {
        "map_at_r": per_query.map_at_r,
        "r_precision": per_query.r_precision,
        **{f"recall_at_{k}": hit.astype(np.float64) for k, hit in per_query.recall_at_k.items()},
    }
    if per_query.average_precision is not None:
        metrics["mean_average_precision"] = per_query.average_precision
    found = {name: interval_of_mean(values, per_query.classes, confidence) for name, values in metrics.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def rate_name(rate: float) -> str:
    """A rate as a key: 0.00001, never 1e-05."""
    return np.format_float_positional(rate, trim="-")


def _left_out(counts: ClassCounts, fars: list[float], eer_value: float) -> dict[str, np.ndarray]:
    """The metrics without each class, (classes,) each; NaN where undefined. `eer`: the FRR at a FAR of `eer_value`."""
    genuine, impostor = counts.genuine.sum(axis=0), counts.impostor.sum(axis=0) // 2
    step = max(1, _CHUNK // counts.genuine.shape[1])
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(counts.genuine), step):
        chunk = slice(start, start + step)
        tp, fp = _accepted(genuine - counts.genuine[chunk]), _accepted(impostor - counts.impostor[chunk])
        with np.errstate(invalid="ignore"):
            tar, far = tp / tp[:, -1:], fp / fp[:, -1:]
        precision = tp / np.maximum(tp + fp, 1)
        part = {
            "roc_auc": 1 - np.trapezoid(far, tar, axis=1),
            "eer": 1 - _tar_at_far(eer_value, far, tar),
            "average_precision": (np.diff(tar) * precision[:, 1:]).sum(axis=1),
        }
        part |= {f"tar_at_far_{rate_name(rate)}": _tar_at_far(rate, far, tar) for rate in fars}
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _accepted(counts: np.ndarray) -> np.ndarray:
    """Pairs accepted at the edges of the bins, from none to all: (rows, bins + 1)."""
    accepted = np.zeros((len(counts), counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=accepted[:, 1:])
    return accepted


def _tar_at_far(rate: float, far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    """The TAR at a FAR on straight lines between the edges of the bins: (rows, bins + 1) each -> (rows,)."""
    row, last = np.arange(len(far)), np.maximum(np.count_nonzero(far <= rate, axis=1) - 1, 0)
    after = np.minimum(last + 1, far.shape[1] - 1)
    rise = far[row, after] - far[row, last]
    share = np.divide(rate - far[row, last], rise, out=np.zeros(len(far)), where=rise > 0)
    return tar[row, last] + share * (tar[row, after] - tar[row, last])


def _eer_interval(counts: ClassCounts, value: float, half_width: float) -> tuple[float, float]:
    """Where the ROC crosses FAR = FRR when its FRR is moved by the half width on the logit scale, both ways.

    The EER is e where the FRR at a FAR of e is e, so the interval holds e exactly where the FRR's interval at e does.
    """
    from scipy.special import logit

    tp, fp = (_accepted(side.sum(axis=0)[None])[0] for side in (counts.genuine, counts.impostor))
    frr, far = 1 - tp / tp[-1], fp / fp[-1]
    with np.errstate(invalid="ignore"):
        gap = logit(frr) - logit(far)
    gap[np.isnan(gap)] = 0.0
    low, high = (_first_below(bound, gap, far) for bound in (half_width, -half_width))
    return min(low, value), max(high, value)


def _first_below(bound: float, gap: np.ndarray, far: np.ndarray) -> float:
    """The FAR at which a falling gap reaches a bound, on a straight line between two edges."""
    after = max(1, int(np.argmax(gap <= bound)))
    before, now = gap[after - 1], gap[after]
    if not np.isfinite(before):
        return float(far[after - 1] if bound > 0 else far[after])
    share = (before - bound) / (before - now) if np.isfinite(now) and before > now else 1.0
    return float(far[after - 1] + np.clip(share, 0, 1) * (far[after] - far[after - 1]))


def _errors_at_threshold(matches: MatchCounts, sizes: np.ndarray) -> dict[str, StandardError | None]:
    """The standard errors of the metrics at the threshold.

    A metric changes by g = df/d(fp) for each match and by h = df/d(impostors) for each impostor pair, so a pair of
    classes contributes (g m_ab + h n_a n_b)^2 to the variance. The jackknife counts that twice.
    """
    genuine_pairs = sizes * (sizes - 1) // 2
    impostor_pairs = sizes * (sizes.sum() - sizes)
    totals = [
        matches.genuine.sum(),
        matches.impostor.sum() // 2,
        genuine_pairs.sum(),
        impostor_pairs.sum() // 2,
    ]
    own = [matches.genuine, matches.impostor, genuine_pairs, impostor_pairs]
    left_out = _rates(*(np.asarray(whole - part, np.float64) for whole, part in zip(totals, own, strict=True)))
    tp, fp, genuine, impostor = (np.full(1, total, np.float64) for total in totals)
    squared_sizes = np.square(sizes, dtype=np.float64)
    size_squares = (squared_sizes.sum() ** 2 - np.square(squared_sizes).sum()) / 2
    by_match = _slopes(_rates(tp, fp - 0.5, genuine, impostor), _rates(tp, fp + 0.5, genuine, impostor))
    by_pair = _slopes(_rates(tp, fp, genuine, impostor - 0.5), _rates(tp, fp, genuine, impostor + 0.5))
    errors = {}
    for name, values in left_out.items():
        g, h = by_match[name], by_pair[name]
        twice = g * g * matches.squares + 2 * g * h * matches.products + h * h * size_squares
        shares = sizes if name == "far" else genuine_pairs
        errors[name] = jackknife_error(values, shares, max(twice, 0.0) if np.isfinite(twice) else 0.0)
    return errors


def _slopes(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(after[name][0] - before[name][0]) for name in before}


def _rates(tp: np.ndarray, fp: np.ndarray, genuine: np.ndarray, impostor: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of `AtThreshold` from (k,) counts of pairs each: (k,) each, NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        tar, far = tp / genuine, fp / impostor
        return {
            "accuracy": (tp + impostor - fp) / (genuine + impostor),
            "balanced_accuracy": (tar + 1 - far) / 2,
            "precision": tp / (tp + fp),
            "recall": tar,
            "tar": tar,
            "far": far,
            "f1": 2 * tp / (tp + fp + genuine),
        }
