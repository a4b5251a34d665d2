"""The interval of the ROC AUC of listed pairs, over groups of images that are known to show the same."""

from __future__ import annotations

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.distance_multiset import DistanceMultiset
from imagematch.evaluation.jackknife import Interval, interval_over, jackknife_error, logit_interval
from imagematch.evaluation.pairs import PairDistances, listed_pairs
from imagematch.evaluation.verification import roc_auc


def connected_groups(first: np.ndarray, second: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Numbers the groups of images that genuine pairs connect, directly or through other images.

    Args:
        first, second: (pairs,) the images of each pair, numbered from 0.
        same: (pairs,) bool.

    Returns:
        (images,) int64, the group of each image; an image without a genuine pair is a group of its own.

    Examples:
        >>> groups = connected_groups(np.array([0, 1, 0]), np.array([1, 2, 3]), np.array([True, True, False]))
        >>> bool(groups[0] == groups[1] == groups[2] != groups[3])
        True
    """
    parents = list(range(int(max(first.max(), second.max())) + 1))

    def root(image: int) -> int:
        while parents[image] != image:
            parents[image] = parents[parents[image]]
            image = parents[image]
        return image

    for one, other in zip(first[same].tolist(), second[same].tolist(), strict=True):
        parents[root(one)] = root(other)
    return np.unique([root(image) for image in range(len(parents))], return_inverse=True)[1]


def pair_list_auc_interval(
    distances: np.ndarray,
    same: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
    *,
    confidence: float = 0.95,
) -> Interval:
    """The interval of the ROC AUC of listed pairs, as `verification_intervals` gives it for all pairs.

    Leaving out a group leaves out every pair with an image of it.

    Args:
        distances: (pairs,).
        same: (pairs,) bool.
        groups: (pairs,) int each, the groups of the first and of the second image, numbered from 0.
        confidence: 0..1.

    Raises:
        DataError: there is no genuine or no impostor pair, in the list or without some group.

    Examples:
        >>> people = np.arange(40)
        >>> first, second = np.tile(people, 2), np.concatenate([people, (people + 1) % 40])
        >>> noise = np.random.default_rng(0).normal(0, 0.2, 80)
        >>> distances = np.where(first == second, 0.6, 1.0) + noise
        >>> interval = pair_list_auc_interval(distances, first == second, (first, second))
        >>> round(interval.low, 2), round(interval.high, 2), interval.classes
        (0.87, 0.99, 40)
    """
    pairs = listed_pairs(distances, same)
    pairs.require()
    left_out, genuine = _aucs_without_each_group(pairs, np.asarray(distances, np.float32), np.asarray(same), groups)
    error = jackknife_error(left_out, genuine)
    if error is None:
        raise DataError(
            "too few identities for an interval: without one of them no genuine or no impostor pair is left",
            do="list pairs of more identities",
        )
    ends = logit_interval(roc_auc(pairs), error, confidence, int(np.count_nonzero(genuine)))
    return interval_over(len(left_out), ends, confidence)


def _aucs_without_each_group(
    pairs: PairDistances, distances: np.ndarray, same: np.ndarray, groups: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The AUC without each group, (groups,), NaN where undefined; and the genuine pairs of each group, (groups,).

    The AUC counts couples (genuine, impostor) in order, here twice, ties once; those of the group are subtracted.
    """
    count = int(max(side.max() for side in groups)) + 1
    impostor_couples = 2 * pairs.impostor.count - pairs.impostor.below(distances) - pairs.impostor.up_to(distances)
    genuine_couples = pairs.genuine.below(distances) + pairs.genuine.up_to(distances)
    couples = np.where(same, impostor_couples, genuine_couples)
    total = int(couples[same].sum())
    lost, genuine, impostor = (np.zeros(count, dtype=np.int64) for _ in range(3))
    pair, group = _members(groups)
    np.add.at(lost, group, couples[pair])
    np.add.at(genuine, group, same[pair].astype(np.int64))
    np.add.at(impostor, group, (~same[pair]).astype(np.int64))
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(count + 1))
    for index in np.flatnonzero((genuine > 0) & (impostor > 0)).tolist():
        own = pair[order[starts[index] : starts[index + 1]]]
        others = DistanceMultiset.of(distances[own[~same[own]]])
        near = distances[own[same[own]]]
        lost[index] -= int((2 * others.count - others.below(near) - others.up_to(near)).sum())
    left = 2.0 * (pairs.genuine.count - genuine) * (pairs.impostor.count - impostor)
    return np.divide(total - lost, left, out=np.full(count, np.nan), where=left > 0), genuine


def _members(groups: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each pair with each of its groups, once where both are the same: (members,) pairs and (members,) groups."""
    first, second = (np.asarray(side, dtype=np.int64) for side in groups)
    other = np.flatnonzero(first != second)
    return np.concatenate([np.arange(len(first)), other]), np.concatenate([first, second[other]])
