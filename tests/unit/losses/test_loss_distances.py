"""Distances and similarities against loops, also where points coincide or crowd together."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity, euclidean, squared_euclidean

RNG = np.random.default_rng(0)
ANCHORS, MEMORY = RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3))


def batch_of(x: np.ndarray, memory: np.ndarray | None = None) -> Batch:
    labels = np.arange(len(x)) // 2
    if memory is None:
        return Batch(tf.constant(x), tf.constant(labels))
    return Batch(tf.constant(x), tf.constant(labels), tf.constant(memory), tf.constant(np.arange(len(memory)) % 2))


@pytest.mark.parametrize("memory", [None, MEMORY])
def test_distances_equal_loops(memory: np.ndarray | None) -> None:
    references = ANCHORS if memory is None else np.concatenate([ANCHORS, memory])
    batch = batch_of(ANCHORS, memory)
    expected = np.array([[np.linalg.norm(a - r) for r in references] for a in ANCHORS])
    cosines = [[a @ r / np.linalg.norm(a) / np.linalg.norm(r) for r in references] for a in ANCHORS]
    np.testing.assert_allclose(euclidean(batch), expected, atol=1e-12)
    np.testing.assert_allclose(squared_euclidean(batch), expected**2, atol=1e-12)
    np.testing.assert_allclose(cosine_similarity(batch), cosines, atol=1e-12)


@pytest.mark.parametrize("memory", [None, MEMORY])
@pytest.mark.parametrize("function", [euclidean, squared_euclidean, cosine_similarity])
def test_gradients_equal_finite_differences(function, memory: np.ndarray | None) -> None:
    weights = RNG.standard_normal((5, 5 if memory is None else 9))

    def total(x: tf.Tensor) -> tf.Tensor:
        labels = tf.zeros(5, tf.int32)
        batch = Batch(x, labels) if memory is None else Batch(x, labels, tf.constant(memory), tf.zeros(4, tf.int32))
        return tf.reduce_sum(function(batch) * weights)

    points = tf.constant(ANCHORS)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = total(points)
    gradient = tape.gradient(value, points).numpy()
    for place in np.ndindex(*ANCHORS.shape):
        step = np.zeros_like(ANCHORS)
        step[place] = 1e-6
        expected = float(total(points + step) - total(points - step)) / 2e-6
        assert gradient[place] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dim", [3, 128, 1000])
def test_equal_embeddings_are_exactly_0_apart_with_gradient_0(dim: int) -> None:
    x = RNG.standard_normal((64, dim)).astype(np.float32)
    x[32:] = x[5]
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        apart = euclidean(Batch(points, tf.zeros(64, tf.int32)))[32:, 32:]
    assert not apart.numpy().any()
    assert not tape.gradient(apart, points).numpy().any()


def test_embeddings_that_crowd_together_keep_their_digits() -> None:
    x = (1 + 1e-4 * RNG.standard_normal((20, 64))).astype(np.float32)
    exact = np.linalg.norm(x[:, None].astype(float) - x[None], axis=2)
    np.testing.assert_allclose(euclidean(batch_of(x)), exact, rtol=1e-3, atol=1e-9)


def test_whole_numbers_tie_exactly() -> None:
    x = RNG.integers(-3, 4, (30, 3)).astype(np.float32)
    exact = ((x[:, None] - x[None]) ** 2).sum(2)
    np.testing.assert_array_equal(squared_euclidean(batch_of(x)), exact)


def test_who_is_a_positive_of_whom() -> None:
    labels = tf.constant([7, 8, 7])
    alone = Batch(tf.zeros((3, 2)), labels)
    assert alone.positive.numpy().tolist() == [[False, False, True], [False] * 3, [True, False, False]]
    assert alone.negative.numpy().tolist() == [[False, True, False], [True, False, True], [False, True, False]]
    assert alone.positive_pairs().numpy().tolist() == [[0, 2], [2, 0]]
    remembered = Batch(tf.zeros((3, 2)), labels, tf.zeros((1, 2)), tf.constant([8]))
    assert remembered.positive.numpy()[:, 3].tolist() == [False, True, False]
    assert remembered.negative.numpy()[:, 3].tolist() == [True, False, True]
