"""Choices and ranges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagematch.config import Choices, FloatRange, IntRange


def test_labels_of_lists_are_json() -> None:
    choices = Choices(((), (256,), (512, 256)))
    assert choices.labels == ("[]", "[256]", "[512, 256]")
    assert choices.labels == tuple(json.dumps(list(option)) for option in choices.options)
    assert choices.value_of("[512, 256]") == (512, 256)
    assert choices.label_of([512, 256]) == choices.label_of((512, 256)) == "[512, 256]"
    assert choices.canonical([256]) == (256,)


@pytest.mark.parametrize("options", [(128, 256), ("a", "b"), (0.1, 0.5), (True, False)])
def test_plain_labels_are_the_options(options: tuple[Any, ...]) -> None:
    choices = Choices(options)
    assert choices.labels == options
    assert [choices.value_of(label) for label in choices.labels] == list(options)


@pytest.mark.parametrize("options", [(True, 1, False), (None, 64), (True, 2)])
def test_labels_are_distinct_and_lead_back(options: tuple[Any, ...]) -> None:
    choices = Choices(options)
    assert len({(type(label), label) for label in choices.labels}) == len(set(map(str, choices.labels))) == len(options)
    assert [repr(choices.value_of(label)) for label in choices.labels] == [repr(option) for option in options]
    assert [choices.label_of(option) for option in options] == list(choices.labels)
    assert all(type(label) in (str, int) for label in choices.labels)


def test_what_is_no_option() -> None:
    for wrong in (3, "[1]", None, True):
        with pytest.raises(ValueError, match="none of"):
            Choices((1, 2)).value_of(wrong)
        with pytest.raises(ValueError, match="none of"):
            Choices((1, 2)).label_of(wrong)


def test_stepped_range() -> None:
    dropout = FloatRange(0.0, 1.0, 0.1)
    assert dropout.size == 11
    assert dropout.values() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert dropout.canonical(0.30000000000000004) == 0.3
    assert dropout.canonical(0.1 * 7) == 0.7
    assert str(dropout) == "0 to 1 in steps of 0.1"


def test_ranges_without_an_end_of_values() -> None:
    rate = FloatRange(1e-4, 1e-2, None, True)
    assert rate.size is None
    assert rate.canonical(0.00123) == 0.00123
    with pytest.raises(ValueError, match="without a step"):
        rate.values()
    assert FloatRange(0.5, 0.5).values() == (0.5,)


@pytest.mark.parametrize(("low", "high", "step"), [(1, 10, 1), (32, 112, 40), (5, 5, 3)])
def test_whole_range(low: int, high: int, step: int) -> None:
    dimension = IntRange(low, high, step)
    assert dimension.values() == tuple(range(low, high + 1, step))
    assert dimension.size == len(dimension.values())
    assert dimension.canonical(float(low)) == low
    assert isinstance(dimension.canonical(float(low)), int)


def test_json() -> None:
    assert Choices(((), (1,))).to_json() == {"choices": [[], [1]]}
    assert FloatRange(0, 1, 0.5).to_json() == {"low": 0, "high": 1, "step": 0.5, "log": False}
