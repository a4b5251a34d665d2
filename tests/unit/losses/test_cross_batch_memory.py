"""Cross-batch memory: what is remembered, for how long, and what it is compared with."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import PAIR_LOSSES
from imagematch.losses import CrossBatchMemory, loss_class

RNG = np.random.default_rng(0)


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    x = RNG.standard_normal((size, 3)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True), RNG.integers(0, 3, size)


def naive_n_pairs(x: np.ndarray, y: np.ndarray, references: np.ndarray, others: np.ndarray) -> float:
    """N-pairs of anchors against references that begin with the anchors, by loops."""
    costs = []
    for a in range(len(y)):
        similarity = references @ x[a]
        for p in range(len(others)):
            if others[p] == y[a] and p != a:
                further = [n for n in range(len(others)) if others[n] != y[a]]
                costs.append(math.log(1 + sum(math.exp(4 * (similarity[n] - similarity[p])) for n in further)))
    return sum(costs) / len(costs) if costs else 0.0


@pytest.mark.parametrize("sizes", [[4, 4, 4, 4], [3, 7, 1, 12, 2], [5, 6]])
@pytest.mark.parametrize("graph", [False, True])
def test_a_batch_meets_itself_and_the_last_embeddings_before_it(sizes: list[int], graph: bool) -> None:
    loss = CrossBatchMemory(loss_class("n_pairs")(scale=4.0), 6, 3)
    signature = (tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int64))
    call = tf.function(loss, input_signature=signature) if graph else loss
    seen, labels = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    for size in sizes:
        x, y = batch(size)
        expected = naive_n_pairs(x, y, np.concatenate([x, seen[-6:]]), np.concatenate([y, labels[-6:]]))
        assert float(call(tf.constant(x), tf.constant(y)).loss) == pytest.approx(expected, rel=1e-5)
        seen, labels = np.concatenate([seen, x]), np.concatenate([labels, y])


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_every_pair_loss_takes_a_memory(name: str) -> None:
    loss, alone = CrossBatchMemory(loss_class(name)(), 8, 3), loss_class(name)()
    for step in range(3):
        x, y = batch(6)
        points = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(points)
            value = loss(points, y)
        assert np.isfinite(value.loss)
        assert np.isfinite(tape.gradient(value.loss, points)).all()
        assert 0 <= float(value.active) <= 1
        if step == 0:
            assert value == alone(points, y)
    assert not loss.trainable_variables


def test_a_memory_of_the_batch_itself_leaves_the_hardest_pairs_as_they_are() -> None:
    x, y = batch(10)[0], np.arange(10) % 3  # no class is alone: its image would find itself in the memory
    loss, alone = (
        CrossBatchMemory(loss_class("triplet_hard")(margin=1.0), 10, 3),
        loss_class("triplet_hard")(margin=1.0),
    )
    first, again = loss(x, y), loss(x, y)
    assert float(first.loss) == float(alone(x, y).loss)
    assert float(again.loss) == pytest.approx(float(first.loss), rel=1e-4)


def test_validation_neither_reads_nor_writes_the_memory() -> None:
    loss, alone = CrossBatchMemory(loss_class("n_pairs")(), 8, 3), loss_class("n_pairs")()
    loss(*batch(5))
    before = [variable.numpy() for variable in loss.variables]
    held_out = batch(4)
    assert loss(*held_out, training=False) == alone(*held_out)
    for variable, value in zip(loss.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_variables_are_all_that_it_remembers() -> None:
    loss, other = (CrossBatchMemory(loss_class("n_pairs")(), 8, 3) for _ in range(2))
    loss(*batch(5))
    assert loss.trainable_variables == ()
    for mine, theirs in zip(loss.variables, other.variables, strict=True):
        theirs.assign(mine)
    held = batch(4)
    assert loss(*held) == other(*held)
