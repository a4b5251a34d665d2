"""Losses with class proxies against loops: values, and gradients for the embeddings and the proxies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.losses import loss_class

N_CLASSES, DIM = 4, 3
Naive = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def softmax_cost(logits: list[float], own: int) -> float:
    return -math.log(math.exp(logits[own]) / sum(math.exp(v) for v in logits))


def by_logits(logit: Callable[[float, bool], float]) -> Naive:
    def naive(x: np.ndarray, y: np.ndarray, proxies: np.ndarray) -> float:
        costs = []
        for image, label in zip(x, y, strict=True):
            logits = [logit(cosine(image, proxy), place == label) for place, proxy in enumerate(proxies)]
            costs.append(softmax_cost(logits, label))
        return sum(costs) / len(costs)

    return naive


def arcface_logit(similarity: float, own: bool) -> float:
    turned = math.acos(max(-1.0, min(1.0, similarity))) + 0.5
    return 8 * ((math.cos(turned) if turned < math.pi else similarity - 0.5 * math.sin(0.5)) if own else similarity)


def proxy_nca_cost(x: np.ndarray, y: np.ndarray, proxies: np.ndarray) -> float:
    costs = []
    for image, label in zip(x, y, strict=True):
        a = image / np.linalg.norm(image)
        nearness = [math.exp(-float(np.sum((a - p / np.linalg.norm(p)) ** 2)) / 0.5) for p in proxies]
        costs.append(-math.log(nearness[label] / sum(nearness)))
    return sum(costs) / len(costs)


def proxy_anchor(x: np.ndarray, y: np.ndarray, proxies: np.ndarray) -> float:
    pulls, pushes = [], []
    for place, proxy in enumerate(proxies):
        own = [cosine(image, proxy) for image, label in zip(x, y, strict=True) if label == place]
        other = [cosine(image, proxy) for image, label in zip(x, y, strict=True) if label != place]
        if own:
            pulls.append(math.log(1 + sum(math.exp(-6 * (s - 0.2)) for s in own)))
        pushes.append(math.log(1 + sum(math.exp(6 * (s + 0.2)) for s in other)))
    return sum(pulls) / len(pulls) + sum(pushes) / len(pushes)


ORACLES: dict[str, tuple[dict[str, float], Naive]] = {
    "normalised_softmax": ({"temperature": 0.4}, by_logits(lambda s, _: s / 0.4)),
    "cosface": ({"scale": 8.0, "margin": 0.3}, by_logits(lambda s, own: 8 * (s - 0.3 * own))),
    "arcface": ({"scale": 8.0, "angle": 0.5}, by_logits(arcface_logit)),
    "proxy_nca": ({"temperature": 0.5}, proxy_nca_cost),
    "proxy_anchor": ({"scale": 6.0, "margin": 0.2}, proxy_anchor),
}


def finite_differences(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    gradient = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, N_CLASSES - 1), min_size=1, max_size=6))
def test_value_and_gradients_equal_loops(name: str, seed: int, labels: list[int]) -> None:
    options, naive = ORACLES[name]
    loss = loss_class(name)(n_classes=N_CLASSES, embedding_dim=DIM, seed=seed % 7, **options)
    (proxies,) = loss.trainable_variables
    x = np.random.default_rng(seed).standard_normal((len(labels), DIM))
    y, points, learnt = np.array(labels), tf.constant(x), proxies.numpy().astype(float)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(points, tf.constant(labels))
    by_points, by_proxies = tape.gradient(value.loss, [points, proxies])
    assert float(value.loss) == pytest.approx(naive(x, y, learnt), abs=1e-9)
    np.testing.assert_allclose(by_points, finite_differences(lambda v: naive(v, y, learnt), x), atol=1e-5)
    np.testing.assert_allclose(by_proxies, finite_differences(lambda v: naive(x, y, v), learnt), atol=1e-5)


@pytest.mark.parametrize("name", ORACLES)
def test_an_image_on_its_proxy_or_opposite_has_a_finite_gradient(name: str) -> None:
    loss = loss_class(name)(n_classes=2, embedding_dim=2)
    loss.proxies.assign([[1.0, 0], [-1, 0]])
    points = tf.constant([[1.0, 0], [1, 0], [0, 1]])
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(points, [0, 1, 0])
    assert np.isfinite(value.loss)
    assert all(np.isfinite(g).all() for g in tape.gradient(value.loss, [points, loss.proxies]))


@pytest.mark.parametrize("name", ORACLES)
def test_proxies_are_unit_vectors_fixed_by_the_seed(name: str) -> None:
    make = lambda seed: loss_class(name)(n_classes=5, embedding_dim=8, seed=seed).proxies.numpy()  # noqa: E731
    np.testing.assert_array_equal(make(3), make(3))
    assert not np.allclose(make(3), make(4))
    np.testing.assert_allclose(np.linalg.norm(make(3), axis=1), np.ones(5), rtol=1e-6)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_proxy_is_refused(label: int, graph: bool) -> None:
    loss = loss_class("arcface")(n_classes=2, embedding_dim=3)
    call = tf.function(lambda y: loss(tf.ones((2, 3)), y).loss) if graph else lambda y: loss(tf.ones((2, 3)), y)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a label has no proxy: labels are 0 to 1"):
        call(tf.constant([0, label]))


@pytest.mark.parametrize("name", ORACLES)
def test_active_is_0_on_the_own_proxy_and_1_on_the_other(name: str) -> None:
    loss = loss_class(name)(n_classes=2, embedding_dim=2)
    loss.proxies.assign([[1.0, 0], [-1, 0]])
    points = np.array([[1.0, 0], [-1, 0]], np.float32)
    assert float(loss(points, [0, 1]).active) == 0
    assert float(loss(points, [1, 0]).active) == 1


def test_keras_adam_moves_proxies() -> None:
    import keras

    loss = loss_class("normalised_softmax")(n_classes=3, embedding_dim=4)
    optimizer = keras.optimizers.Adam(0.05)
    x, y = tf.random.stateless_normal((12, 4), (1, 2)), tf.constant(np.arange(12) % 3)
    first = float(loss(x, y).loss)
    for _ in range(20):
        with tf.GradientTape() as tape:
            value = loss(x, y).loss
        optimizer.apply(tape.gradient(value, loss.trainable_variables), list(loss.trainable_variables))
    assert float(loss(x, y).loss) < first
