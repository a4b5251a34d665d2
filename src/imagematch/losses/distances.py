"""Distances and similarities of a batch's anchors to its references, with gradients that are finite everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imagematch.losses.batch import Batch
from imagematch.losses.lazy import tf


def squared_euclidean(batch: Batch) -> tf.Tensor:
    """||a - r||^2, (A, R), never negative.

    Computed as |a|^2 + |r|^2 - 2 a.r, with the first anchor as the origin: embeddings that crowd together keep their
    digits, and whole numbers stay whole. The squared lengths are read off the diagonal of the product: what rounding
    does to them it does to the product of equal embeddings too, which come out 0 apart, even where the hardware rounds
    the factors (TF32, bfloat16). Without that they would be some 1e-4 apart in float32.
    """
    origin = tf.stop_gradient(batch.anchors[:1])
    anchors = batch.anchors - origin
    if batch.memory is None:
        return _squared_to_itself(anchors)
    memory = batch.memory - origin
    to_memory = tf.reduce_sum(anchors**2, 1)[:, None] + tf.reduce_sum(memory**2, 1) - 2 * _products(anchors, memory)
    return tf.concat([_squared_to_itself(anchors), tf.nn.relu(to_memory)], 1)


def euclidean(batch: Batch) -> tf.Tensor:
    """||a - r||, (A, R); its gradient where a = r is taken as 0."""
    return root(squared_euclidean(batch))


def cosine_similarity(batch: Batch) -> tf.Tensor:
    """cos(a, r), (A, R), -1 to 1 up to rounding; 0 for an embedding of length 0."""
    anchors = tf.math.l2_normalize(batch.anchors, 1)
    if batch.memory is None:
        return _products_with_itself(anchors)
    to_memory = _products(anchors, tf.math.l2_normalize(batch.memory, 1))
    return tf.concat([_products_with_itself(anchors), to_memory], 1)


DISTANCES: Mapping[str, Callable[[Batch], tf.Tensor]] = {
    "euclidean": euclidean,
    "squared_euclidean": squared_euclidean,
}


def root(values: tf.Tensor) -> tf.Tensor:
    """The square root of values >= 0, with slope 0 instead of infinity at 0."""

    @tf.custom_gradient
    def rooted(values: tf.Tensor) -> Any:
        roots = tf.sqrt(values)
        return roots, lambda upstream: tf.math.divide_no_nan(upstream, 2 * roots)

    return rooted(values)


def _products(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.einsum("id,jd->ij", a, b)  # its kernel takes little more than half the time of matmul's at 256 x 1024


# By hand, the gradients of products of points with themselves take one matrix product each instead of two.


def _products_with_itself(points: tf.Tensor) -> tf.Tensor:
    """Products (n, n) of points (n, dim)."""

    @tf.custom_gradient
    def products(points: tf.Tensor) -> Any:
        return _products(points, points), lambda upstream: tf.matmul(upstream + tf.transpose(upstream), points)

    return products(points)


def _squared_to_itself(points: tf.Tensor) -> tf.Tensor:
    """Squared distances (n, n) of points (n, dim)."""

    @tf.custom_gradient
    def squared_distances(points: tf.Tensor) -> Any:
        products = _products(points, points)
        lengths = tf.linalg.diag_part(products)
        squared = tf.nn.relu(lengths[:, None] + lengths - 2 * products)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            """Sum over j of w_ij (x_i - x_j), by the graph Laplacian of the weights w."""
            weights = -2 * (upstream + tf.transpose(upstream))
            laplacian = tf.linalg.set_diag(weights, tf.linalg.diag_part(weights) - tf.reduce_sum(weights, 1))
            return tf.matmul(laplacian, points)

        return squared, gradient

    return squared_distances(points)
