"""Thresholds whose error rate on new classes stays under a target with a given confidence."""

from __future__ import annotations

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import in_class_order
from imagematch.evaluation.class_counts import class_counts
from imagematch.evaluation.jackknife import effective_classes, jackknife_error, logit_upper_bound
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.thresholds import Threshold

_FIRST = 0.2
"""The first threshold that is tested makes this share of the errors that the target allows."""


def guaranteed_threshold(
    embeddings: np.ndarray,
    labels: np.ndarray,
    rate: str,
    target: float,
    *,
    confidence: float = 0.95,
    pairs: PairDistances | None = None,
    chosen_on: str = "calibration",
) -> Threshold:
    """Chooses the threshold that keeps the FAR, or the FRR, of new classes under a target with a given confidence.

    It is the largest threshold whose upper confidence bound on the FAR is at most the target, or the smallest one for
    the FRR. Candidates are tested in a fixed order, from strict to loose for the FAR and from loose to strict for the
    FRR, up to the first that fails, so that testing many costs no confidence. An FRR also takes so many classes that
    none of them failing would show it: (1 - target)^n <= 1 - confidence. The bound is `logit_upper_bound`
    with the jackknife over classes, which are the exchangeable units. Its variance is too large on average, never too
    small (Efron and Stein). benchmarks/interval_coverage.py measures how often the target is exceeded.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        rate: "far" or "frr".
        target: 0..1, exclusive.
        confidence: of the bound, one-sided, 0.5..1, exclusive.
        pairs: `pair_distances` of the same embeddings, if already computed.
        chosen_on: the split of the embeddings.

    Raises:
        ValueError: another rate, or a target or confidence out of range.
        DataError: the classes are too few or too hard for the target, or there is no genuine or no impostor pair.

    Source: fixed-sequence testing, Angelopoulos et al., Learn then test, arXiv:2110.01052, 2021; Efron and Stein, The
        jackknife estimate of variance, Annals of Statistics 9, 1981.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.repeat(rng.standard_normal((40, 32)), 4, axis=0) + 0.3 * rng.standard_normal((160, 32))
        >>> rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        >>> labels = np.repeat(np.arange(40), 4)
        >>> strict = guaranteed_threshold(rows, labels, "far", 0.01).distance
        >>> strict < guaranteed_threshold(rows, labels, "far", 0.1).distance
        True
    """
    if rate not in ("far", "frr") or not 0 < target < 1 or not 0.5 < confidence < 1:
        raise ValueError(f"no guarantee for {rate} {target} with confidence {confidence}")
    order = in_class_order(embeddings, labels)
    pairs = pair_distances(embeddings, labels) if pairs is None else pairs
    pairs.require()
    counts, sizes, classes = class_counts(order, pairs, None), order.sizes, len(order.names)
    if rate == "far":
        own, distances, per_class = counts.impostor, counts.edges, sizes * (sizes.sum() - sizes)
        total, all_pairs, shares = own.sum(axis=0) / 2, float(per_class.sum()) / 2, sizes
        units = classes * (classes - 1) / 2
    else:
        own, distances, per_class = counts.genuine[:, ::-1], counts.edges[::-1], sizes * (sizes - 1) // 2
        total, all_pairs, shares = own.sum(axis=0), float(per_class.sum()), per_class
        units = float(np.count_nonzero(per_class))
    own, total = np.cumsum(own, axis=1)[:, :-1], np.cumsum(total)[:-1]
    left = all_pairs - per_class
    chosen = None
    for candidate in np.flatnonzero((total >= _FIRST * target * all_pairs) & (total <= target * all_pairs)).tolist():
        rates = np.divide(total[candidate] - own[:, candidate], left, out=np.full(classes, np.nan), where=left > 0)
        error = jackknife_error(rates, shares)
        if error is None:
            break
        bound = logit_upper_bound(float(total[candidate]) / all_pairs, error, confidence, units)
        if bound > target:
            break
        chosen = float(distances[candidate])
    if chosen is None or (rate == "frr" and (1 - target) ** effective_classes(shares) > 1 - confidence):
        raise DataError(
            f"{classes} classes are too few to keep {rate.upper()} under {target:g} with confidence {confidence:g}",
            where="threshold",
            do="use calibration images of more classes, or a higher rate",
        )
    return Threshold(chosen, {rate: target, "confidence": confidence}, chosen_on)
