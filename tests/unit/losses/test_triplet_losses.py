"""Triplet losses against loops over explicit triplets: values and gradients, also where distances tie."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.losses import loss_class, miners

NAMES = ("triplet_semihard", "triplet_hard", "triplet_all")


def hinge(x: float) -> tuple[float, float]:
    return max(0.0, x), float(x > 0)


def softplus(x: float) -> tuple[float, float]:
    return math.log1p(math.exp(x)), 1 / (1 + math.exp(-x))


class Slopes:
    """d loss / d D_ij, added up pair by pair; equal distances share."""

    def __init__(self, size: int) -> None:
        self.by_pair = np.zeros((size, size))

    def add(self, anchor: int, others: list[int], slope: float) -> None:
        for other in others:
            self.by_pair[anchor, other] += slope / len(others)


def naive_distances(x: np.ndarray, squared: bool) -> list[list[float]]:
    root = (lambda v: v) if squared else math.sqrt
    return [[root(sum(float(d) ** 2 for d in a - b)) for b in x] for a in x]


def naive_triplet(name: str, x: np.ndarray, y: np.ndarray, margin: float, squared: bool, cost) -> tuple:
    """(loss, active terms, terms, gradient), by loops over the definition."""
    D, n, slopes = naive_distances(x, squared), len(y), Slopes(len(y))
    total, active, terms, divisor = 0.0, 0, 0, 0
    for a in range(n):
        positives = [p for p in range(n) if y[p] == y[a] and p != a]
        negatives = [k for k in range(n) if y[k] != y[a]]
        if name == "triplet_hard":
            if not positives or not negatives:
                continue
            far, near = max(D[a][p] for p in positives), min(D[a][k] for k in negatives)
            value, slope = cost(margin + far - near)
            total, active, terms = total + value, active + (margin + far - near > 0), terms + 1
            slopes.add(a, [p for p in positives if D[a][p] == far], slope)
            slopes.add(a, [k for k in negatives if D[a][k] == near], -slope)
        elif name == "triplet_semihard":
            for p in positives:
                further = [D[a][k] for k in negatives if D[a][k] > D[a][p]]
                chosen = min(further) if further else max((D[a][k] for k in negatives), default=0.0)
                value, slope = cost(margin + D[a][p] - chosen)
                total, active, terms = total + value, active + (margin + D[a][p] - chosen > 0), terms + 1
                slopes.add(a, [p], slope)
                slopes.add(a, [k for k in negatives if D[a][k] == chosen], -slope)
        else:
            for p in positives:
                for k in negatives:
                    value, slope = cost(margin + D[a][p] - D[a][k])
                    total, terms = total + value, terms + 1
                    active += margin + D[a][p] - D[a][k] > 1e-16
                    divisor += value > 1e-16
                    slopes.add(a, [p], slope)
                    slopes.add(a, [k], -slope)
    divisor = max(1, divisor if name == "triplet_all" else terms)
    gradient = np.zeros_like(x)
    for i in range(n):
        for j in range(n):
            if D[i][j] > 0:
                pull = slopes.by_pair[i, j] / divisor * (x[i] - x[j]) * (2 if squared else 1 / D[i][j])
                gradient[i] += pull
                gradient[j] -= pull
    return total / divisor, active, terms, gradient


def value_and_gradient(loss, x: np.ndarray, y: np.ndarray) -> tuple:
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(points, tf.constant(y, tf.int32))
    return value, tape.gradient(value.loss, points).numpy()


def assert_as_naive(name: str, x: np.ndarray, y: np.ndarray, margin: float, distance: str, triplet_hinge: str) -> None:
    loss = loss_class(name)(margin=margin, loss_distance=distance, triplet_hinge=triplet_hinge)
    value, gradient = value_and_gradient(loss, x, y)
    cost = {"hinge": hinge, "softplus": softplus}[triplet_hinge]
    expected, active, terms, slopes = naive_triplet(name, x, y, margin, distance == "squared_euclidean", cost)
    assert float(value.loss) == pytest.approx(expected, abs=1e-9)
    assert float(value.terms) == terms
    assert float(value.active) == pytest.approx(active / terms if terms else 0, abs=1e-6)
    np.testing.assert_allclose(gradient, slopes, atol=1e-9)


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Few points on a grid: many duplicates, ties, lone classes."""
    size = draw(st.integers(1, 9))
    dim = draw(st.integers(1, 3))
    grid = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim)
    x = draw(st.lists(grid, min_size=size, max_size=size))
    y = draw(st.lists(st.integers(0, draw(st.integers(0, 4))), min_size=size, max_size=size))
    return np.array(x, float), np.array(y)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=120, deadline=None)
@given(
    batches(),
    st.sampled_from([0.0, 0.25, 1.0, 3.0]),
    st.sampled_from(["euclidean", "squared_euclidean"]),
    st.sampled_from(["hinge", "softplus"]),
)
def test_value_and_gradient_equal_loops_on_degenerate_batches(name, batch, margin, distance, triplet_hinge) -> None:
    x, y = batch
    if triplet_hinge == "softplus":  # keeps every term away from 1e-16, where rounding decides what still counts
        x = x / 4
    assert_as_naive(name, x, y, margin, distance, triplet_hinge)


@pytest.mark.parametrize("triplet_hinge", ["hinge", "softplus"])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_equal_loops_on_random_batches(name: str, distance: str, triplet_hinge: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert_as_naive(name, x, rng.integers(0, 5, 20), 0.2, distance, triplet_hinge)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_finite_differences(name: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((8, 3)), np.array([0, 0, 0, 1, 1, 2, 2, 3])
    loss = loss_class(name)(margin=0.5)
    _, gradient = value_and_gradient(loss, x, y)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        up, down = (float(loss(tf.constant(x + sign * step), y).loss) for sign in (1, -1))
        # The count that batch-all divides by is constant between kinks.
        assert gradient[place] == pytest.approx((up - down) / 2e-6, abs=1e-6)


def test_semihard_without_a_negative_is_the_golden_value_of_tensorflow_addons() -> None:
    value, gradient = value_and_gradient(
        loss_class("triplet_semihard")(margin=1.0), np.array([[0, 0], [1, 1]], np.float32), np.array([0, 0])
    )
    assert float(value.loss) == pytest.approx(2.4142137, abs=1e-7)
    assert gradient[0] == pytest.approx(-gradient[1])


@pytest.mark.parametrize("name", NAMES)
def test_without_a_positive_pair_the_loss_is_0_and_has_no_terms(name: str) -> None:
    value, gradient = value_and_gradient(loss_class(name)(), np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    assert (float(value.loss), float(value.active), float(value.terms)) == (0, 0, 0)
    assert not gradient.any()


@pytest.mark.parametrize("name", NAMES)
def test_total_collapse_costs_the_margin_and_has_no_gradient(name: str) -> None:
    collapsed = np.tile(np.random.default_rng(0).standard_normal(64).astype(np.float32), (40, 1))
    value, gradient = value_and_gradient(loss_class(name)(margin=0.3), collapsed, np.arange(40) // 4)
    assert float(value.loss) == pytest.approx(0.3, abs=1e-6)
    assert float(value.active) == 1
    assert not gradient.any()


def test_semihard_takes_the_nearest_further_negative_and_else_the_furthest() -> None:
    #         a  p  semi-hard  too hard
    x = np.array([[0.0], [3], [4], [1]])
    y = np.array([0, 0, 1, 2])
    loss = loss_class("triplet_semihard")(margin=2.0)
    # a: 2 + 3 - 4 = 1. p to a: no negative is further than 3, the furthest is 2: 2 + 3 - 2 = 3.
    assert float(loss(tf.constant(x), y).loss) == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("elements", [1, 7, 40, 10_000])
@pytest.mark.parametrize("name", ["triplet_semihard", "triplet_all"])
def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, name: str, elements: int) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((12, 4)), rng.integers(0, 3, 12)
    expected, expected_gradient = value_and_gradient(loss_class(name)(), x, y)
    monkeypatch.setattr(miners, "BLOCK_ELEMENTS", elements)
    value, gradient = value_and_gradient(loss_class(name)(), x, y)
    np.testing.assert_allclose(value, expected)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


def test_a_gradient_through_the_sum_over_pairs_scales_with_what_follows() -> None:
    x, y = np.random.default_rng(3).standard_normal((6, 2)), np.array([0, 0, 1, 1, 2, 2])
    loss, points = loss_class("triplet_semihard")(margin=5.0), tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(points)
        value = loss(points, y).loss
        scaled = -3 * value
    np.testing.assert_allclose(tape.gradient(scaled, points), -3 * tape.gradient(value, points))


def test_semihard_equals_the_formula_of_tensorflow_addons() -> None:
    path = Path(__file__).parents[3] / "benchmarks" / "losses.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_losses", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    x = np.random.default_rng(4).standard_normal((32, 8)).astype(np.float32)
    x[5], x[9] = x[4], x[20]
    points, labels = tf.constant(x), tf.constant(np.arange(32) // 4)
    for margin in (0.2, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(points)
            expected = benchmark.addons_tiles(points, labels, margin)
        slopes = tape.gradient(expected, points)
        value, gradient = value_and_gradient(loss_class("triplet_semihard")(margin=margin), x, labels.numpy())
        assert float(value.loss) == pytest.approx(float(expected), rel=1e-6)
        np.testing.assert_allclose(gradient, slopes, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_margin_is_0_2_and_none_with_softplus(name: str) -> None:
    x, y = tf.random.stateless_normal((8, 3), (0, 1)), np.arange(8) // 2
    assert loss_class(name)()(x, y) == loss_class(name)(margin=0.2)(x, y)
    soft, plain = loss_class(name)(triplet_hinge="softplus"), loss_class(name)(triplet_hinge="softplus", margin=0.0)
    assert soft(x, y) == plain(x, y)
