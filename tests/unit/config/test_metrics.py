"""The table of metrics and their directions."""

from __future__ import annotations

import pytest

from imagematch.config import METRIC_DIRECTIONS, OBJECTIVES, direction_of
from imagematch.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "minimize"),
        ("val_eer", "minimize"),
        ("val_frr_at_far_0.001", "minimize"),
        ("parameters", "minimize"),
        ("latency_ms", "minimize"),
        ("val_map_at_r", "maximize"),
        ("val_tar_at_far_0.001", "maximize"),
        ("test_roc_auc", "maximize"),
        ("recall_at_1", "maximize"),
        ("test_eer", "minimize"),
    ],
)
def test_direction(name: str, direction: str) -> None:
    assert direction_of(name) == direction


def test_only_losses_errors_and_costs_are_minimised() -> None:
    for name, direction in METRIC_DIRECTIONS.items():
        costs = name.endswith("_loss") or name.endswith("eer") or "frr_at_" in name
        assert (direction == "minimize") == (costs or name in ("parameters", "latency_ms")), name
        assert direction_of(name) == direction


def test_objectives_are_metrics() -> None:
    assert set(OBJECTIVES) <= set(METRIC_DIRECTIONS)
    assert OBJECTIVES[0] == "val_map_at_r"


@pytest.mark.parametrize("name", ["val_map_at_rr", "map", "", "val_", "val_parameters"])
def test_unknown_metric(name: str) -> None:
    with pytest.raises(ConfigError, match="no metric is called"):
        direction_of(name)
    with pytest.raises(ConfigError, match=r"did you mean val_map_at_r\?"):
        direction_of("val_map_at_rr")
