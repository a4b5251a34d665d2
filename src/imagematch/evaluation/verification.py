"""Verification metrics over all pairs: ROC AUC, EER, TAR at FAR, average precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.distance_multiset import DistanceMultiset
from imagematch.evaluation.pairs import PairDistances

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false accept rates at which the true accept rate is reported."""

RULE_OF_30 = 30
"""A rate is measured where at least so many errors are expected at it."""


def roc_auc(pairs: PairDistances) -> float:
    """Area under the ROC curve: P(genuine < impostor) + P(genuine = impostor) / 2, over all pairs.

    Exact: sums are 64-bit integers, or long doubles beyond 4 x 10^18 couples. Ties count half, as in scikit-learn's
    `roc_auc_score`.

    Raises:
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> roc_auc(listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False])))
        0.75
    """
    pairs.require()
    genuine, impostor = pairs.genuine, pairs.impostor
    total = genuine.count * impostor.count
    dtype = np.int64 if 2 * total < 2**63 else np.longdouble
    mirrored = impostor.count < genuine.count
    few, many = (impostor, genuine) if mirrored else (genuine, impostor)
    twice_behind = 0
    for values, weights in few.chunks():
        twice_behind += int(((many.below(values) + many.up_to(values)).astype(dtype) * weights).sum())
    return (twice_behind if mirrored else 2 * total - twice_behind) / (2 * total)


@dataclass(frozen=True)
class Crossing:
    """The two neighbouring points of the ROC between which FAR and FRR cross.

    Attributes:
        accepted: for both points the (genuine, impostor) pairs accepted.
        distances: for both points the largest distance accepted; None where no pair is.
    """

    accepted: tuple[tuple[int, int], tuple[int, int]]
    distances: tuple[float | None, float]


def crossing(pairs: PairDistances) -> Crossing:
    """Finds where the false accept rate overtakes the false reject rate.

    Raises:
        DataError: there is no genuine or no impostor pair.
    """
    pairs.require()
    genuine, impostor = pairs.genuine, pairs.impostor

    def crossed(accepted: tuple[int, int]) -> bool:
        return (genuine.count - accepted[0]) * impostor.count <= accepted[1] * genuine.count

    value = min(_first_crossed(pairs, side, crossed) for side in _sides(pairs))
    before = (int(genuine.below(value)), int(impostor.below(value)))
    smaller = [float(side.value_at(k - 1)) for side, k in zip(_sides(pairs), before, strict=True) if k]
    return Crossing((before, _upto(pairs, value)), (max(smaller, default=None), value))


def eer(pairs: PairDistances) -> float:
    """Equal error rate: where FAR = FRR on the ROC, straight lines between its points (as the AUC's trapezoids).

    The same as where FMR = FNMR, or FPR = FNR.

    Raises:
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> eer(listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False])))
        0.5
    """
    (far0, frr0), (far1, frr1) = _rates(pairs, crossing(pairs))
    gap0, gap1 = frr0 - far0, far1 - frr1
    share = gap0 / (gap0 + gap1) if gap0 + gap1 else 0.0
    return far0 + share * (far1 - far0)


def _rates(pairs: PairDistances, at: Crossing) -> list[tuple[float, float]]:
    return [
        (impostors / pairs.impostor.count, (pairs.genuine.count - genuine) / pairs.genuine.count)
        for genuine, impostors in at.accepted
    ]


@dataclass(frozen=True)
class TarAtFar:
    """True accept rate at a false accept rate.

    Attributes:
        far: the requested false accept rate.
        tar: the true accept rate at the largest threshold whose FAR is at most `far`; None below the resolution.
        distance: that threshold.
        attained_far: the FAR at it.
        below_resolution: fewer than 30 false accepts are expected at `far` (rule of 30), so `tar` would be noise.
    """

    far: float
    tar: float | None
    distance: float
    attained_far: float
    below_resolution: bool


def tar_at_far(pairs: PairDistances, fars: Iterable[float] = FARS) -> list[TarAtFar]:
    """True accept rate (TPR, 1 - FRR) at given false accept rates (FPR, FMR), ties handled: FAR never exceeds `far`.

    Raises:
        ValueError: a rate outside 0..1.
        DataError: there is no genuine or no impostor pair.

    Source: rule of 30, Doddington et al., The NIST speaker recognition evaluation, Speech Communication 31, 2000.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> distances = np.concatenate([[0.05, 0.2, 0.9], np.linspace(0.1, 2, 300)])
        >>> found = tar_at_far(listed_pairs(distances, np.arange(303) < 3), [0.1, 0.001])
        >>> [(one.tar, one.below_resolution) for one in found]
        [(0.6666666666666666, False), (None, True)]
    """
    pairs.require()
    results = []
    for far in fars:
        distance = distance_at_far(pairs, far)
        resolved = pairs.impostor.count * far >= RULE_OF_30 * (1 - 1e-9)
        tar = int(pairs.genuine.below(distance)) / pairs.genuine.count
        attained = int(pairs.impostor.below(distance)) / pairs.impostor.count
        results.append(TarAtFar(float(far), tar if resolved else None, distance, attained, not resolved))
    return results


def allowed_errors(rate: float, count: int) -> int:
    """The largest number of errors k with k / count <= rate.

    Raises:
        ValueError: a rate outside 0..1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate must be between 0 and 1, not {rate}")
    errors = min(int(rate * count) + 1, count)
    while errors / count > rate:
        errors -= 1
    return errors


def distance_at_far(pairs: PairDistances, far: float) -> float:
    """The largest threshold t with share(impostor distance < t) <= far; infinity where all may be accepted."""
    errors = allowed_errors(far, pairs.impostor.count)
    return float("inf") if errors == pairs.impostor.count else float(pairs.impostor.value_at(errors))


def average_precision(pairs: PairDistances) -> float:
    """Average precision of the ranking of all pairs by distance: sum over n of (R_n - R_{n-1}) P_n, ties as one step.

    The same as scikit-learn's `average_precision_score`. It depends on the share of genuine pairs.

    Raises:
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> round(average_precision(pairs), 4)
        0.8333
    """
    pairs.require()
    total = 0.0
    for values, weights in pairs.genuine.chunks():
        accepted = pairs.genuine.up_to(values)
        total += float((accepted / (accepted + pairs.impostor.up_to(values)) * weights).sum())
    return total / pairs.genuine.count


def _sides(pairs: PairDistances) -> tuple[DistanceMultiset, DistanceMultiset]:
    return pairs.genuine, pairs.impostor


def _upto(pairs: PairDistances, distance: float) -> tuple[int, int]:
    return int(pairs.genuine.up_to(distance)), int(pairs.impostor.up_to(distance))


def _first_crossed(pairs: PairDistances, side: DistanceMultiset, crossed: Callable[[tuple[int, int]], bool]) -> float:
    """The smallest distance of one kind at which FAR and FRR have crossed; infinity where they never do."""
    at = _first(side.count, lambda rank: crossed(_upto(pairs, float(side.value_at(rank)))))
    return float(side.value_at(at)) if at < side.count else float("inf")


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first k in 0..count-1 for which `holds(k)`, which stays true once true; count where none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
