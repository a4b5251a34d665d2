"""Settings written as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imagematch.config import parse_yaml, to_yaml

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@given(st.one_of(_SCALARS, st.lists(_SCALARS, max_size=4)))
def test_reads_back_as_it_was(value: Any) -> None:
    assert parse_yaml(to_yaml({"key": value}), where="f").values == {"key": value}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_other_readers_see_the_same_number(number: float) -> None:
    assert yaml.safe_load(to_yaml({"key": number})) == {"key": number}


@pytest.mark.parametrize("text", ["no", "on", "y", "null", "1e-3", "010", "", " a", "a: b", "#", "~", "2020-01-01"])
def test_text_that_looks_like_something_else(text: str) -> None:
    for read in (parse_yaml(to_yaml({"key": text}), where="f").values, yaml.safe_load(to_yaml({"key": text}))):
        assert read == {"key": text}


def test_how_it_looks() -> None:
    values = {"loss": "triplet_hard", "data_dir": Path("a b"), "units": (512, 256), "threshold": {"far": 0.001}}
    expected = 'loss: triplet_hard\ndata_dir: "a b"\nunits: [512, 256]\nthreshold: {far: 0.001}\n'
    assert to_yaml(values) == expected
