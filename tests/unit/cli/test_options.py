"""Options that several commands have."""

from __future__ import annotations

import pytest

from imagematch.cli.options import chosen_distance
from imagematch.errors import ConfigError
from imagematch.evaluation import CurvePoint, Threshold

THRESHOLD = Threshold(0.7, "eer", curve=(CurvePoint(0.4, 0.01, 0.3), CurvePoint(0.6, 0.05, 0.1)))


def test_a_distance_a_rate_or_the_matchers_own() -> None:
    assert chosen_distance(THRESHOLD, None, None) == 0.7
    assert chosen_distance(THRESHOLD, 0.0, None) == 0.0
    assert chosen_distance(THRESHOLD, None, 0.02) == 0.4
    with pytest.raises(ConfigError, match="exclude each other"):
        chosen_distance(THRESHOLD, 0.5, 0.5)
    with pytest.raises(ConfigError, match=r"FAR of 0 or less"):
        chosen_distance(THRESHOLD, None, 0.0)
