from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.errors import ConfigError, DataError
from imagematch.evaluation import (
    at_threshold,
    choose_threshold,
    listed_pairs,
)
from imagematch.evaluation.thresholds import Criterion

distances = st.lists(st.integers(0, 20), min_size=1, max_size=20)
COST = {"cost": {"false_match": 5, "false_non_match": 1, "prior": 0.3}}
GOALS: list[tuple[Criterion, Any]] = [
    ("accuracy", lambda at: at.accuracy),
    ("balanced_accuracy", lambda at: at.balanced_accuracy),
    ("f1", lambda at: at.f1 or 0),
    (COST, lambda at: -(5 * 0.7 * at.far + 0.3 * at.frr)),
    ({"cost": {"false_match": 2, "false_non_match": 3}}, lambda at: -(2 * at.far + 3 * at.frr)),
]


def listed(genuine: list[int], impostor: list[int]):
    values = np.array(genuine + impostor) / 10
    return listed_pairs(values, np.arange(len(values)) < len(genuine)), values.astype(np.float32)


def every_threshold(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.unique(values)] + [float(values.max()) + 1]


@pytest.mark.parametrize(("criterion", "goal"), GOALS, ids=lambda value: None if callable(value) else str(value))
@settings(deadline=None, max_examples=60)
@given(distances, distances)
def test_no_threshold_is_better(criterion: Criterion, goal: Any, genuine: list[int], impostor: list[int]) -> None:
    pairs, values = listed(genuine, impostor)
    reached = goal(at_threshold(pairs, choose_threshold(pairs, criterion).distance))
    assert reached == pytest.approx(max(goal(at_threshold(pairs, t)) for t in every_threshold(values)))


@settings(deadline=None, max_examples=150)
@given(distances, distances, st.sampled_from([0, 0.05, 0.1, 0.3, 0.5, 0.99, 1]))
def test_far_is_the_largest_and_frr_the_smallest(genuine: list[int], impostor: list[int], rate: float) -> None:
    pairs, values = listed(genuine, impostor)
    far = at_threshold(pairs, choose_threshold(pairs, {"far": rate}).distance)
    allowed = [at_threshold(pairs, t) for t in every_threshold(values) if at_threshold(pairs, t).far <= rate]
    assert far.far <= rate
    assert (far.tp, far.fp) == max((at.tp, at.fp) for at in allowed)
    frr = at_threshold(pairs, choose_threshold(pairs, {"frr": rate}).distance)
    allowed = [at_threshold(pairs, t) for t in every_threshold(values) if at_threshold(pairs, t).frr <= rate]
    assert frr.frr <= rate
    assert (frr.tp, frr.fp) == min((at.tp, at.fp) for at in allowed)


@settings(deadline=None, max_examples=100)
@given(distances, distances)
def test_eer_threshold_is_where_the_rates_are_closest(genuine: list[int], impostor: list[int]) -> None:
    pairs, values = listed(genuine, impostor)
    at = at_threshold(pairs, choose_threshold(pairs, "eer").distance)
    closest = min(abs(o.far - o.frr) for o in (at_threshold(pairs, t) for t in every_threshold(values)))
    assert abs(at.far - at.frr) == pytest.approx(closest)


def test_midway_between_neighbours() -> None:
    pairs, _ = listed([1, 2, 3], [8, 9])
    assert choose_threshold(pairs, "balanced_accuracy").distance == pytest.approx(0.55)
    assert choose_threshold(pairs, {"far": 0}).distance == pytest.approx(0.55)
    assert choose_threshold(pairs, {"frr": 0}).distance == pytest.approx(0.55)
    assert choose_threshold(pairs, {"frr": 0.4}).distance == pytest.approx(0.25)
    assert choose_threshold(pairs, {"far": 0.5}).distance == pytest.approx(0.85)
    assert choose_threshold(pairs, {"far": 1}).distance == pytest.approx(1.45)
    assert choose_threshold(pairs, {"frr": 1}).distance == pytest.approx(0.05)


def test_neighbours_without_room_between_them() -> None:
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    pairs = listed_pairs(np.array([low, high]), np.array([True, False]))
    chosen = choose_threshold(pairs, "accuracy").distance
    assert low < np.float32(chosen) <= high
    coincident = listed_pairs(np.zeros(4), np.arange(4) < 2)
    assert choose_threshold(coincident, {"far": 0}).distance == 0
    widest = listed_pairs(np.full(2, 2.0), np.arange(2) < 1)
    assert at_threshold(widest, choose_threshold(widest, {"far": 1}).distance).tp == 1


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("acuracy", "unknown criterion 'acuracy'"),
        ({"eer": 0.1}, "takes no value"),
        ("far", "takes a value"),
        ({"far": 1.5}, "between 0 and 1"),
        ({"far": True}, "between 0 and 1"),
        ({"far": 0.1, "frr": 0.1}, "not one criterion"),
        ({"cost": {"false_match": 1}}, "cost needs"),
        ({"cost": {"false_match": 1, "false_non_match": 1, "priors": 1}}, "cost has no 'priors'"),
        ({"cost": {"false_match": -1, "false_non_match": 1}}, "0 or more"),
        ({"cost": {"false_match": 1, "false_non_match": 1, "prior": 2}}, "prior between"),
    ],
)
def test_wrong_criteria(criterion: Any, message: str) -> None:
    pairs, _ = listed([1], [2])
    with pytest.raises(ConfigError, match=message):
        choose_threshold(pairs, criterion)


def test_a_kind_that_is_missing() -> None:
    with pytest.raises(DataError, match="no impostor pair"):
        choose_threshold(listed_pairs(np.array([0.1]), np.array([True])), "eer")
