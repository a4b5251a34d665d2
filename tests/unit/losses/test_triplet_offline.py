"""The loss over given triplets, and the offline miner, against loops over their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from imagematch.losses import draw_triplets, loss_class, offline_triplets


def on_sphere(count: int, dim: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("triplet_hinge", ["hinge", "softplus"])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
def test_the_value_and_gradient_are_those_of_a_loop(distance: str, triplet_hinge: str) -> None:
    x, margin = on_sphere(14, 3).astype(float), 0.4
    y = np.array([0, 0, 1, 2, 2, 2, 1, 1, 0, 3, 4, 5, 0, 0])  # valid, no negative, valid, no positive, left over
    loss = loss_class("triplet_offline")(margin=margin, loss_distance=distance, triplet_hinge=triplet_hinge)

    def naive(x: np.ndarray) -> tuple[float, int, int]:
        total, active, terms = 0.0, 0, 0
        for a in range(0, 12, 3):
            if y[a] != y[a + 1] or y[a] == y[a + 2]:
                continue
            near, far = (sum((x[a] - x[a + i]) ** 2) for i in (1, 2))
            if distance == "euclidean":
                near, far = math.sqrt(near), math.sqrt(far)
            violation = margin + near - far
            total += max(0.0, violation) if triplet_hinge == "hinge" else math.log1p(math.exp(violation))
            active, terms = active + (violation > 0), terms + 1
        return total / terms, active, terms

    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(points, tf.constant(y))
    expected, active, terms = naive(x)
    assert terms == 2
    assert float(value.loss) == pytest.approx(expected)
    assert float(value.terms) == terms
    assert float(value.active) == pytest.approx(active / terms)
    gradient = tape.gradient(value.loss, points).numpy()
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        assert gradient[place] == pytest.approx((naive(x + step)[0] - naive(x - step)[0]) / 2e-6, abs=1e-7)


LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])


def test_drawn_triplets_are_valid_and_every_anchor_comes_once_before_any_twice() -> None:
    drawn = draw_triplets(LABELS, 22, np.random.default_rng(0))
    assert drawn.shape == (22, 3)
    for anchor, positive, negative in drawn:
        assert LABELS[anchor] == LABELS[positive] != LABELS[negative]
        assert anchor != positive
    assert sorted(drawn[:9, 0]) == sorted(drawn[9:18, 0]) == list(range(9))  # image 9 has no positive


def test_positives_and_random_negatives_are_drawn_evenly() -> None:
    drawn = draw_triplets(LABELS, 9 * 2_000, np.random.default_rng(0))
    of_first = drawn[drawn[:, 0] == 0]
    assert np.bincount(of_first[:, 1], minlength=10)[1:4] / 2_000 == pytest.approx([1 / 3] * 3, abs=0.04)
    assert np.bincount(of_first[:, 2], minlength=10)[4:] / 2_000 == pytest.approx([1 / 6] * 6, abs=0.04)


def test_the_negative_is_the_nearest_further_than_the_positive_else_the_furthest() -> None:
    x, labels = on_sphere(60, 2), np.arange(60) % 5
    drawn = draw_triplets(labels, 200, np.random.default_rng(1), x)
    fallbacks = 0
    for anchor, positive, negative in drawn:
        distance = [math.dist(x[anchor], other) for other in x]
        negatives = [i for i in range(60) if labels[i] != labels[anchor]]
        further = [i for i in negatives if distance[i] > distance[positive]]
        fallbacks += not further
        expected = min(further, key=lambda i: distance[i]) if further else max(negatives, key=lambda i: distance[i])
        assert negative == expected
    assert fallbacks


def test_blocks_and_candidates_keep_triplets_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_triplets, "CANDIDATES", 2)
    monkeypatch.setattr(offline_triplets, "_BLOCK", 7)
    drawn = draw_triplets(LABELS, 50, np.random.default_rng(2), on_sphere(10, 3))
    assert (LABELS[drawn[:, 0]] == LABELS[drawn[:, 1]]).all()
    assert (LABELS[drawn[:, 0]] != LABELS[drawn[:, 2]]).all()


def test_the_same_seed_draws_the_same() -> None:
    x = on_sphere(10, 3)
    one, other = (draw_triplets(LABELS, 30, np.random.default_rng(3), x) for _ in range(2))
    np.testing.assert_array_equal(one, other)
