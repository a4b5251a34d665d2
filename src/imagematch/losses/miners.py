"""Which references of an anchor count: the hardest, or every negative of every positive pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from imagematch.losses.batch import Batch
from imagematch.losses.lazy import tf

BLOCK_ELEMENTS = 2**21
"""Distances (positive pairs x references) looked at in one go: it bounds the memory, whatever the batch."""


def masked_max(distances: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """(A,) the largest distance of each row where `mask` holds; 0 where it holds nowhere. Ties share the gradient."""
    return _extreme(tf.reduce_max, distances, mask, "-inf")


def masked_min(distances: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """(A,) the smallest distance of each row where `mask` holds; 0 where it holds nowhere. Ties share the gradient."""
    return _extreme(tf.reduce_min, distances, mask, "inf")


def _extreme(reduce: Callable[..., tf.Tensor], distances: tf.Tensor, mask: tf.Tensor, nowhere: str) -> tf.Tensor:
    extreme = reduce(tf.where(mask, distances, distances.dtype.as_numpy_dtype(nowhere)), 1)
    return tf.where(tf.reduce_any(mask, 1), extreme, 0)


class PairBlock(NamedTuple):
    """What some positive pairs (a, p) add to a loss, and its slopes.

    Attributes:
        cost: scalar, sum of the terms' costs.
        active: scalar, number of the active terms.
        positive_slope: (pairs,) derivative of `cost` by D_ap.
        negative_slopes: (pairs, R) derivative of `cost` by the distances of a.
    """

    cost: tf.Tensor
    active: tf.Tensor
    positive_slope: tf.Tensor
    negative_slopes: tf.Tensor


def sum_over_positive_pairs(
    distances: tf.Tensor, batch: Batch, block: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], PairBlock]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sums `block` over all positive pairs, each against its anchor's negatives: O(pairs x R) time, bounded memory.

    The slopes are added up on the way, so that the gradient needs neither a second pass nor what lay between.

    Args:
        distances: (A, R).
        batch: whose positives and negatives are meant.
        block: from a (b,) int64 the anchors of some positive pairs, D_ap (b,), and the distances of a to the references
            (b, R) with infinity where they are no negatives, to what these pairs add.

    Returns:
        The sum of the costs, differentiable by `distances`, the number of active terms, and of positive pairs; scalars.
    """
    pairs = batch.positive_pairs()
    n_pairs = tf.shape(pairs)[0]
    pairs_per_block = tf.maximum(1, BLOCK_ELEMENTS // tf.maximum(1, tf.shape(distances)[1]))

    @tf.custom_gradient
    def summed(distances: tf.Tensor) -> Any:
        n_anchors = tf.shape(distances)[0]
        negatives = tf.where(batch.negative, distances, distances.dtype.as_numpy_dtype("inf"))

        def add(start: tf.Tensor, cost: tf.Tensor, active: tf.Tensor, slopes: tf.Tensor) -> tuple[tf.Tensor, ...]:
            chosen = pairs[start : start + pairs_per_block]
            anchors = chosen[:, 0]
            part = block(anchors, tf.gather_nd(distances, chosen), tf.gather(negatives, anchors))
            # Pairs are sorted by anchor: a segment sum is quicker, but ends with the last anchor that has a pair.
            by_anchor = tf.math.segment_sum(part.negative_slopes, anchors)
            slopes += tf.pad(by_anchor, [[0, n_anchors - tf.shape(by_anchor)[0]], [0, 0]])
            slopes = tf.tensor_scatter_nd_add(slopes, chosen, part.positive_slope)
            return start + pairs_per_block, cost + part.cost, active + part.active, slopes

        zero = tf.zeros((), distances.dtype)
        start = (tf.constant(0), zero, zero, tf.zeros_like(distances))
        _, cost, active, slopes = tf.while_loop(lambda first, *_: first < n_pairs, add, start)
        return (cost, active), lambda upstream, _: upstream * slopes

    return *summed(distances), n_pairs
