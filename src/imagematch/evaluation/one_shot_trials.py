"""N-way one-shot trials, as on Omniglot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import checked_embeddings, to_cosine_distances, to_euclidean


@dataclass(frozen=True)
class OneShot:
    """N-way one-shot classification.

    Attributes:
        error_rate: share of queries whose nearest support image is of another class; a tie is an error.
        standard_error: over the runs; None with one run.
        ways: number of classes in a run.
        trials: number of queries in all runs.
        runs: number of draws of classes and images.
    """

    error_rate: float
    standard_error: float | None
    ways: int
    trials: int
    runs: int


def one_shot(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    ways: int = 20,
    runs: int = 20,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> OneShot:
    """N-way one-shot trials: a run draws `ways` classes with two images each, a support image and a query.

    Each of the `ways` queries is classified by its nearest support image. 20 runs of 20 ways are the 400 trials of
    Omniglot. With `groups` (alphabets there) the classes of a run come from one group.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row.
        ways: classes in a run, 2 or more.
        runs: draws, 1 or more.
        seed: of the draws.
        groups: (n,) group of each row; a class lies in one group.

    Raises:
        ValueError: the shapes do not fit, or ways or runs are out of range.
        DataError: no group has `ways` classes with two images; or as in `pair_distances`.

    Source: Lake et al., Human-level concept learning through probabilistic program induction, Science 350, 2015.

    Examples:
        >>> one_shot(np.eye(4), np.array([0, 0, 1, 1]), ways=2, runs=3).error_rate
        1.0
        >>> one_shot(np.eye(4)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), ways=2, runs=3).error_rate
        0.0
    """
    rows, labels = checked_embeddings(embeddings), np.asarray(labels)
    groups = np.zeros(len(rows), dtype=np.int64) if groups is None else np.asarray(groups)
    if labels.shape != (len(rows),) or groups.shape != (len(rows),):
        raise ValueError(f"labels and groups must be ({len(rows)},)")
    if ways < 2 or runs < 1:
        raise ValueError(f"one-shot trials need 2 ways and 1 run or more, not {ways} and {runs}")
    eligible = _eligible_classes(labels, groups, ways)
    rng = np.random.default_rng(seed)
    errors = np.array([_one_run(rows, eligible[rng.integers(len(eligible))], ways, rng) for _ in range(runs)])
    spread = float(errors.std(ddof=1) / np.sqrt(runs)) if runs > 1 else None
    return OneShot(float(errors.mean()), spread, ways, runs * ways, runs)


def _eligible_classes(labels: np.ndarray, groups: np.ndarray, ways: int) -> list[list[np.ndarray]]:
    """For each group with at least `ways` classes of two images or more, the rows of each such class."""
    eligible = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        by_class = [members[labels[members] == name] for name in np.unique(labels[members])]
        usable = [found for found in by_class if len(found) > 1]
        if len(usable) >= ways:
            eligible.append(usable)
    if not eligible:
        raise DataError(f"{ways}-way trials need {ways} classes with two images or more", do="use fewer ways")
    return eligible


def _one_run(rows: np.ndarray, classes: list[np.ndarray], ways: int, rng: np.random.Generator) -> float:
    drawn = [rng.choice(classes[c], 2, replace=False) for c in rng.choice(len(classes), ways, replace=False)]
    support, query = np.array(drawn).T
    distances = to_euclidean(to_cosine_distances(rows[query] @ rows[support].T))
    right = distances.diagonal().copy()
    np.fill_diagonal(distances, np.inf)
    return float((distances.min(axis=1) <= right).mean())
