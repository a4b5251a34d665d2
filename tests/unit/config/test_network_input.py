"""`input`: how images are made ready for a network file; every part is checked before a file is opened."""

from __future__ import annotations

from typing import Any

import pytest

from imagematch.config import parse_train
from imagematch.errors import ConfigError

FILE = {"experiment_name": "x", "dataset": "digits", "feature_extractor": "onnx:./net.onnx"}


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"mean": 0.5, "std": [0.2, 0.3, 0.4]},
        {"scale": 1, "size": 224, "channels": "bgr", "layout": "nhwc", "output": "cls", "pooling": "mean"},
    ],
)
def test_it_comes_back_as_it_was_given(given: Any) -> None:
    settings = parse_train({**FILE, "input": given})
    assert settings.input == given
    if given:
        assert "input: {" in settings.to_yaml()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "input must be a mapping, as {mean"),
        ({"meen": 1}, "input has no 'meen'; did you mean mean?"),
        ({"mean": "x"}, "input: mean must be a number, or three of red, green and blue, not 'x'"),
        ({"mean": [1, 2]}, "input: mean must be"),
        ({"mean": True}, "input: mean must be"),
        ({"mean": float("nan")}, "input: mean must be"),
        ({"std": 0}, "input: std must be a number over 0, or three, not 0"),
        ({"scale": [1, 1, 1]}, "input: scale must be a number over 0"),
        ({"size": 7}, "input: size must be a whole number from 8 to 2048"),
        ({"channels": "grb"}, "input: channels must be rgb or bgr"),
        ({"layout": "chw"}, "input: layout must be nchw or nhwc"),
        ({"output": ""}, "input: output must be the name of an output"),
        ({"pooling": "max"}, "input: pooling must be cls, mean, gem or none"),
    ],
)
def test_what_it_cannot_be_is_one_line(given: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_train({**FILE, "input": given})
    assert says in str(caught.value)


def test_without_a_network_file_it_has_no_effect() -> None:
    with pytest.raises(ConfigError, match="input has no effect without feature_extractor: onnx:PATH"):
        parse_train({**FILE, "feature_extractor": "pixels", "input": {"mean": 0.5}})
    parse_train({**FILE, "feature_extractor": ["pixels", "onnx:net.onnx"], "input": {"mean": 0.5}})
