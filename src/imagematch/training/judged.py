"""Which images an epoch is judged on, and by which figures; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def sample_rows(rows: np.ndarray, labels: np.ndarray, at_most: int, seed: int) -> np.ndarray:
    """At most `at_most` of `rows`, stratified by label, the same for the same seed; sorted.

    Every class keeps its share (rounded), and no class that has two images is left with fewer than two as long as
    that fits: an image without a genuine partner would tell nothing. Where it does not, the seed chooses the classes.
    """
    if len(rows) <= at_most:
        return rows
    random = np.random.default_rng(seed)
    shuffled = random.permutation(rows)
    classes, number = np.unique(labels[shuffled], return_inverse=True)
    place = random.permutation(len(classes))[number]
    order = np.argsort(place, kind="stable")
    by_class = shuffled[order]
    _, starts, counts = np.unique(place[order], return_index=True, return_counts=True)
    rank = np.arange(len(by_class)) - np.repeat(starts, counts)
    pairs_first = np.maximum(rank - 1, 0) / np.repeat(counts, counts)
    kept = np.argsort(pairs_first, kind="stable")[:at_most]
    return np.sort(by_class[kept])


def figure_names(objectives: Iterable[str]) -> list[str]:
    """The figures of embeddings alone that objectives are; val_loss and the model's cost are none."""
    return [name.removeprefix("val_") for name in objectives if name.startswith("val_") and name != "val_loss"]
