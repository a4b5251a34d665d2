"""Pair losses against loops over explicit pairs: values, and gradients by the finite differences of the loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.losses import loss_class

Naive = Callable[[np.ndarray, np.ndarray], float]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(i) - float(j)) ** 2 for i, j in zip(a, b, strict=True)))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def positives(y: np.ndarray, a: int) -> list[int]:
    return [p for p in range(len(y)) if y[p] == y[a] and p != a]


def negatives(y: np.ndarray, a: int) -> list[int]:
    return [n for n in range(len(y)) if y[n] != y[a]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def contrastive(x: np.ndarray, y: np.ndarray) -> float:
    near, far = [], []
    for a in range(len(y)):
        near += [distance(x[a], x[p]) ** 2 for p in positives(y, a)]
        far += [max(0.0, 1.5 - distance(x[a], x[n])) ** 2 for n in negatives(y, a)]
    return mean(near) / 2 + mean(far) / 2


def lifted_structure(x: np.ndarray, y: np.ndarray) -> float:
    costs = []
    for i in range(len(y)):
        for j in positives(y, i):
            if j > i:
                total = sum(math.exp(1.5 - distance(x[i], x[k])) for k in negatives(y, i))
                total += sum(math.exp(1.5 - distance(x[j], x[k])) for k in negatives(y, j))
                costs.append(max(0.0, math.log(total) + distance(x[i], x[j])) ** 2 / 2 if total else 0.0)
    return mean(costs)


def n_pairs(x: np.ndarray, y: np.ndarray) -> float:
    costs = []
    for a in range(len(y)):
        for p in positives(y, a):
            own = cosine(x[a], x[p])
            costs.append(math.log(1 + sum(math.exp(4 * (cosine(x[a], x[n]) - own)) for n in negatives(y, a))))
    return mean(costs)


def nt_xent(x: np.ndarray, y: np.ndarray) -> float:
    costs = []
    for a in range(len(y)):
        others = sum(math.exp(cosine(x[a], x[k]) / 0.3) for k in range(len(y)) if k != a)
        if positives(y, a):
            costs.append(mean([-math.log(math.exp(cosine(x[a], x[p]) / 0.3) / others) for p in positives(y, a)]))
    return mean(costs)


def soft_nearest_neighbour(x: np.ndarray, y: np.ndarray) -> float:
    costs = []
    for a in range(len(y)):
        kernel = [math.exp(-(distance(x[a], x[k]) ** 2) / 2.5) for k in range(len(y))]
        own = sum(kernel[p] for p in positives(y, a))
        if positives(y, a):
            costs.append(-math.log(own / (own + sum(kernel[n] for n in negatives(y, a)))))
    return mean(costs)


def multi_similarity(x: np.ndarray, y: np.ndarray) -> float:
    costs = []
    for a in range(len(y)):
        near = [cosine(x[a], x[p]) for p in positives(y, a)]
        far = [cosine(x[a], x[n]) for n in negatives(y, a)]
        cost = 0.0
        if near and far:
            hard_near = [s for s in near if s - 0.1 < max(far)]
            hard_far = [s for s in far if s + 0.1 > min(near)]
            cost += math.log(1 + sum(math.exp(-3 * (s - 0.4)) for s in hard_near)) / 3
            cost += math.log(1 + sum(math.exp(10 * (s - 0.4)) for s in hard_far)) / 10
        costs.append(cost)
    return mean(costs)


def circle_with_weights_of(weights_from: np.ndarray) -> Naive:
    """The loss with its weights taken from other embeddings: in the gradient they are constants."""

    def circle(x: np.ndarray, y: np.ndarray) -> float:
        costs, m, scale = [], 0.3, 5.0
        for a in range(len(y)):
            far = near = 0.0
            for n in negatives(y, a):
                weight = max(0.0, cosine(weights_from[a], weights_from[n]) + m)
                far += math.exp(scale * weight * (cosine(x[a], x[n]) - m))
            for p in positives(y, a):
                weight = max(0.0, 1 + m - cosine(weights_from[a], weights_from[p]))
                near += math.exp(-scale * weight * (cosine(x[a], x[p]) - (1 - m)))
            if near and far:
                costs.append(math.log(1 + near * far))
        return mean(costs)

    return circle


ORACLES: dict[str, tuple[dict[str, float], Callable[[np.ndarray], Naive]]] = {
    "contrastive": ({"margin": 1.5}, lambda _: contrastive),
    "lifted_structure": ({"margin": 1.5}, lambda _: lifted_structure),
    "n_pairs": ({"scale": 4.0}, lambda _: n_pairs),
    "nt_xent": ({"temperature": 0.3}, lambda _: nt_xent),
    "soft_nearest_neighbour": ({"temperature": 2.5}, lambda _: soft_nearest_neighbour),
    "multi_similarity": ({"alpha": 3.0, "beta": 10.0, "base": 0.4}, lambda _: multi_similarity),
    "circle": ({"scale": 5.0, "relaxation": 0.3}, circle_with_weights_of),
}


def finite_differences(naive: Naive, x: np.ndarray, y: np.ndarray, step: float = 1e-6) -> np.ndarray:
    gradient = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (naive(up, y) - naive(down, y)) / (2 * step)
    return gradient


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Points of any directions, some of them twice, under any labels: lone classes, one class, one image."""
    size = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((size, draw(st.integers(2, 4)))) * draw(st.sampled_from([0.3, 1.0]))
    x = x[np.array(draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size)))]
    y = draw(st.lists(st.integers(0, draw(st.integers(0, 4))), min_size=size, max_size=size))
    return x, np.array(y)


def assert_as_naive(name: str, x: np.ndarray, y: np.ndarray) -> None:
    options, oracle = ORACLES[name]
    naive, points = oracle(x), tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss_class(name)(**options)(points, tf.constant(y, tf.int32))
    # The product of float64 matrices may leave equal points 1e-8 apart.
    assert float(value.loss) == pytest.approx(naive(x, y), abs=1e-6)
    np.testing.assert_allclose(tape.gradient(value.loss, points), finite_differences(naive, x, y), atol=2e-6)


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=40, deadline=None)
@given(batches())
def test_value_and_gradient_equal_loops_on_degenerate_batches(name: str, batch: tuple[np.ndarray, np.ndarray]) -> None:
    assert_as_naive(name, *batch)


@pytest.mark.parametrize("name", ORACLES)
def test_value_and_gradient_equal_loops_on_random_batches(name: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((14, 3))
    assert_as_naive(name, x / np.linalg.norm(x, axis=1, keepdims=True), np.arange(14) // 3)


@pytest.mark.parametrize("name", ORACLES)
def test_one_class_that_has_collapsed_is_finite(name: str) -> None:
    points = tf.ones((5, 3))
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss_class(name)()(points, tf.zeros(5, tf.int32))
    assert math.isfinite(float(value.loss))
    np.testing.assert_allclose(tape.gradient(value.loss, points), np.zeros((5, 3)), atol=1e-6)


APART = np.array([[1.0, 0], [1, 0.01], [-1, 0], [-1, 0.01]])
TOGETHER = np.array([0, 0, 1, 1])


@pytest.mark.parametrize("name", [name for name in ORACLES if name not in ("contrastive", "circle")])
def test_active_is_0_where_classes_are_apart_and_1_where_they_are_crossed(name: str) -> None:
    loss = loss_class(name)(**{"multi_similarity": {"base": 0.0}, "lifted_structure": {"margin": 0.5}}.get(name, {}))
    assert float(loss(APART, TOGETHER).active) == 0
    assert float(loss(APART, np.array([0, 1, 1, 0])).active) == 1


def test_active_pairs_of_the_contrastive_loss_are_those_that_pull_or_push() -> None:
    x, y = np.array([[0.0], [0], [0.5], [3]]), np.array([0, 0, 1, 2])
    value = loss_class("contrastive")(margin=1.0)(x, y)
    # Of the unordered pairs 0-1 is done, 0-2 and 1-2 are too near, 0-3, 1-3 and 2-3 far enough.
    assert float(value.active) == pytest.approx(2 / 6)
    assert float(value.terms) == 12
