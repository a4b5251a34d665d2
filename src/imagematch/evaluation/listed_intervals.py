"""The interval of a figure of listed pairs, by resampling the groups of images that are known to show the same."""

from __future__ import annotations

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.bootstrap import Interval, class_weights, interval_of


def groups_of(first: np.ndarray, second: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Numbers the groups of images that genuine pairs join, directly or through others.

    Args:
        first, second: (pairs,) the images of each pair, numbered from 0.
        same: (pairs,) bool.

    Returns:
        (images,) int64, the group of each image; one that is in no genuine pair is a group of its own.
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


def listed_auc_interval(
    distances: np.ndarray,
    same: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
    *,
    resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The interval of the ROC AUC of listed pairs, as `bootstrap_intervals` has it for all pairs.

    With multiplicities w of the groups, a genuine pair of group a counts w_a times, an impostor pair of groups a and b
    w_a w_b times (w_a where both are of one group, which a list may say of images that other pairs join).

    Args:
        distances: (pairs,).
        same: (pairs,) bool.
        groups: (pairs,) int each, the groups of the first and of the second image.
        resamples: how many.
        seed: of the draw.
        confidence: 0..1.

    Raises:
        DataError: there is no genuine or no impostor pair, in the list or in every resample.
    """
    count = int(max(side.max() for side in groups)) + 1
    values, steps = np.unique(distances, return_inverse=True)
    areas = []
    for weights in class_weights(count, resamples, seed):
        first, second = (weights[side] for side in groups)
        weight = np.where(groups[0] == groups[1], first, first * second).astype(np.float64)
        genuine, impostor = (np.bincount(steps[kind], weight[kind], len(values)) for kind in (same, ~same))
        if genuine.any() and impostor.any():
            behind = impostor.sum() - np.cumsum(impostor) + impostor / 2
            areas.append(float((genuine * behind).sum() / genuine.sum() / impostor.sum()))
    if not areas:
        raise DataError("no resample has genuine and impostor pairs", do="list pairs of more people or things")
    return interval_of(np.array(areas), confidence, count)
