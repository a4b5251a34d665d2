"""Triplets of a whole training set, drawn by its embeddings: the offline miner (numpy)."""

from __future__ import annotations

from imagematch.losses.lazy import np

CANDIDATES = 4096
"""Images among which the negatives of a block of anchors are looked for: all of them where there are no more."""
_BLOCK = 1024


def draw_triplets(
    labels: np.ndarray, count: int, random: np.random.Generator, embeddings: np.ndarray | None = None
) -> np.ndarray:
    """Triplets (count, 3) int64: rows of an anchor, a positive and a negative in `labels`.

    Every image whose class has another is an anchor before any is again, in random order. The positive is any other
    image of its class. The negative is, of the candidates, the nearest that is further from the anchor than the
    positive is, and where there is none, the furthest: the rule of the semi-hard loss, over the training set instead
    of a batch. Without embeddings it is any image of another class.

    Args:
        labels: (n,) of at least two classes, one of them with two images or more.
        count: how many triplets.
        random: what draws.
        embeddings: (n, dim) float32, one row an image.

    Source: Schroff et al., FaceNet, 2015, which describes triplets drawn every n steps from a subset of the data, and
    the semi-hard negative.
    """
    members = np.argsort(labels, kind="stable")
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    size_of, start_of = sizes[class_of], starts[class_of]
    position_in_class = np.empty_like(members)
    position_in_class[members] = np.arange(len(members)) - start_of[members]
    paired = np.flatnonzero(size_of > 1)
    rounds = -(-count // len(paired))
    anchors = np.concatenate([random.permutation(paired) for _ in range(rounds)])[:count]
    size, start = size_of[anchors], start_of[anchors]
    positives = members[start + (position_in_class[anchors] + random.integers(1, size)) % size]
    others = random.integers(0, len(labels) - size)
    negatives = members[others + np.where(others >= start, size, 0)]
    if embeddings is not None:
        for first in range(0, count, _BLOCK):
            block = slice(first, first + _BLOCK)
            candidates = random.permutation(len(labels))[:CANDIDATES]
            chosen = _semi_hard(embeddings, labels, anchors[block], positives[block], candidates)
            negatives[block] = np.where(chosen < 0, negatives[block], chosen)
    return np.stack([anchors, positives, negatives], axis=1)


def _semi_hard(
    embeddings: np.ndarray, labels: np.ndarray, anchors: np.ndarray, positives: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """(anchors,) each one's negative; -1 where no candidate is of another class."""
    points, others = embeddings[anchors], embeddings[candidates]
    to_positive = np.sum((points - embeddings[positives]) ** 2, axis=1)
    squared = np.sum(points**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2 * points @ others.T
    negative = labels[anchors][:, None] != labels[candidates]
    further = np.where(negative & (squared > to_positive[:, None]), squared, np.inf)
    nearest, furthest = further.argmin(axis=1), np.where(negative, squared, -np.inf).argmax(axis=1)
    chosen = candidates[np.where(np.isfinite(further.min(axis=1)), nearest, furthest)]
    return np.where(negative.any(axis=1), chosen, -1)
