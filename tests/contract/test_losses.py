"""What every registered loss keeps to, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import LOSSES, OFFLINE_LOSSES, PAIR_LOSSES, PROXY_LOSSES
from imagematch.losses import CrossBatchMemory, Loss, loss_class

N_CLASSES, DIM = 12, 16


def make(name: str) -> Loss:
    return loss_class(name)(**({"n_classes": N_CLASSES, "embedding_dim": DIM} if name in PROXY_LOSSES else {}))


def remembering(name: str) -> Callable[[], Loss]:
    return lambda: CrossBatchMemory(make(name), 10, DIM)


MAKERS: dict[str, Callable[[], Loss]] = {name: (lambda n=name: make(n)) for name in LOSSES} | {
    f"{name}+memory": remembering(name) for name in ("triplet_semihard", "nt_xent")
}


def on_sphere(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def random(size: int) -> np.ndarray:
    return on_sphere(np.random.default_rng(size).standard_normal((size, DIM)))


BATCHES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "random": (random(24), np.arange(24) % 6),
    "collapsed": (np.tile(random(1), (24, 1)), np.arange(24) % 6),
    "nearly collapsed": (on_sphere(random(1) + 1e-6 * random(24)), np.arange(24) % 6),
    "one class": (random(8), np.zeros(8, int)),
    "one class, collapsed": (np.tile(random(1), (8, 1)), np.zeros(8, int)),
    "every image its own class": (random(12), np.arange(12)),
    "duplicates": (random(6)[np.arange(24) % 6], np.arange(24) // 4),
    "opposite": (np.concatenate([random(6), -random(6)]), np.arange(12) // 2),
    "perfect": (np.eye(DIM, dtype=np.float32)[np.arange(24) // 4], np.arange(24) // 4),
    "one image": (random(1), np.zeros(1, int)),
    "two of a class": (random(2), np.zeros(2, int)),
    "two of two classes": (random(2), np.arange(2)),
    "not normalised": (100 * random(24), np.arange(24) % 6),
    "triplets": (random(24), np.array([[i % 2, i % 2, 1 - i % 2] for i in range(8)]).ravel()),
}


def usual_batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    return BATCHES["triplets" if name in OFFLINE_LOSSES else "random"]


def shuffled(name: str, size: int) -> np.ndarray:
    """Places in another order; triplets stay together."""
    unit = 3 if name in OFFLINE_LOSSES else 1
    return np.random.default_rng(0).permutation(np.arange(size).reshape(-1, unit)).ravel()


def value_and_gradients(loss: Loss, x: np.ndarray, y: np.ndarray) -> tuple:
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(points, tf.constant(y, tf.int32))
    return value, tape.gradient(value.loss, [points, *loss.trainable_variables])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", MAKERS)
def test_value_and_gradient_are_finite(name: str, batch: str) -> None:
    loss = MAKERS[name]()
    for _ in range(2):  # the second time, a memory has something in it
        value, gradients = value_and_gradients(loss, *BATCHES[batch])
        assert np.isfinite(value.loss)
        assert all(g is not None and np.isfinite(g).all() for g in gradients)
        assert 0 <= float(value.active) <= 1
        assert float(value.terms) >= 0
        assert float(value.terms) or float(value.active) == 0
        assert [part.shape.rank for part in value] == [0, 0, 0]
        assert [part.dtype for part in value] == [tf.float32] * 3


@pytest.mark.parametrize("name", MAKERS)
def test_the_order_of_images_does_not_matter(name: str) -> None:
    x, y = usual_batch(name)
    order = shuffled(name, len(y))
    value, (gradient, *_) = value_and_gradients(MAKERS[name](), x, y)
    moved, (moved_gradient, *_) = value_and_gradients(MAKERS[name](), x[order], y[order])
    np.testing.assert_allclose(value, moved, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(gradient)[order], moved_gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [*PAIR_LOSSES, *OFFLINE_LOSSES])
def test_the_names_of_classes_do_not_matter_without_proxies(name: str) -> None:
    x, y = usual_batch(name)
    renamed = np.array([900, -3, 17, 0, 5, 2**30])[y]
    for one, other in zip(make(name)(x, y), make(name)(x, renamed), strict=True):
        assert float(one) == float(other)


@pytest.mark.parametrize("name", MAKERS)
def test_one_graph_serves_every_batch_size_and_equals_eager_calls(name: str) -> None:
    loss, eager = MAKERS[name](), MAKERS[name]()
    traces = 0

    @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)])
    def compute(x: tf.Tensor, y: tf.Tensor) -> tuple:
        nonlocal traces
        traces += 1
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x, y)
        return value, tape.gradient(value.loss, x)

    for size in (24, 1, 8, 2):
        x, y = random(size), np.arange(size, dtype=np.int32) % 6
        value, gradient = compute(x, y)
        expected, (slopes, *_) = value_and_gradients(eager, x, y)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-5)
    assert traces == 1


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_batch_gives_the_same_result(name: str) -> None:
    first, second = (value_and_gradients(MAKERS[name](), *usual_batch(name)) for _ in range(2))
    assert [float(part) for part in first[0]] == [float(part) for part in second[0]]
    for one, other in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("name", MAKERS)
def test_half_precision_is_computed_in_float32(name: str, dtype: tf.DType) -> None:
    x, y = usual_batch(name)
    halved = tf.cast(x, dtype)
    value = MAKERS[name]()(halved, y)
    assert value.loss.dtype == tf.float32
    assert float(value.loss) == float(MAKERS[name]()(tf.cast(halved, tf.float32), y).loss)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("name", MAKERS)
def test_labels_may_be_of_either_width(name: str, dtype: type) -> None:
    x, y = usual_batch(name)
    assert float(MAKERS[name]()(x, y.astype(dtype)).loss) == float(MAKERS[name]()(x, y.astype(np.int32)).loss)


@pytest.mark.parametrize("name", MAKERS)
def test_descent_brings_classes_apart(name: str) -> None:
    loss, (start, y) = MAKERS[name](), usual_batch(name)
    x = tf.Variable(start)
    step = 0.1
    same = y[:, None] == y[None]
    triplet = np.arange(len(y)) // 3
    compared = triplet[:, None] == triplet if name in OFFLINE_LOSSES else np.full_like(same, True)

    def gap() -> float:
        d = np.linalg.norm(x.numpy()[:, None] - x.numpy()[None], axis=2)
        return float(d[~same & compared].mean() - d[same & compared].mean())

    before = gap()
    for _ in range(60):
        with tf.GradientTape() as tape:
            value = loss(tf.math.l2_normalize(x, 1), y).loss
        variables = [x, *loss.trainable_variables]
        for variable, slope in zip(variables, tape.gradient(value, variables), strict=True):
            variable.assign_sub(step * slope / (tf.norm(slope) + 1e-12))
    assert gap() > before + 0.1
