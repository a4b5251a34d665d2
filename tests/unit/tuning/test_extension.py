"""What a study keeps of its own: the points it starts from, and its trials when its search space changes."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from imagematch.config import StudySettings, parse_study
from imagematch.errors import ConfigError
from imagematch.files import Layout
from imagematch.tuning import open_study
from imagematch.tuning.attributes import STARTING_POINTS

LINEAR = {"loss": "multi_similarity", "intermediate_ff_block_units": []}


def settings_of(**values: Any) -> StudySettings:
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "n_trials": 6, "rerun_seeds": 2}
    return parse_study({**base, **values})


# ---- what it starts from


def test_the_points_are_settled_when_the_study_is_made(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("experiment_name: x\ndataset: digits\nembedding_dim: 8\n")
    settings = settings_of(embedding_dim_grid=[4, 8], start_from=[str(file)])
    open_study(settings, Layout(tmp_path))
    file.unlink()
    assert open_study(settings, Layout(tmp_path)).user_attrs[STARTING_POINTS] == [{"embedding_dim": 8}]


def test_a_point_that_is_not_there_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        open_study(settings_of(embedding_dim_grid=[4, 8], start_from=["nowhere"]), Layout(tmp_path))
    assert not list(tmp_path.rglob("*.db"))


def test_a_study_of_an_earlier_version_goes_on_without_recipes(tmp_path: Path) -> None:
    settings, layout = settings_of(**LINEAR, learning_rate_grid=[3e-4, 1e-3]), Layout(tmp_path)
    assert open_study(settings, layout).user_attrs[STARTING_POINTS] == [{"learning_rate": 3e-4}]
    with contextlib.closing(sqlite3.connect(layout.study_database("s"))) as base, base:
        base.execute("DELETE FROM study_user_attributes WHERE key = ?", (STARTING_POINTS,))
    assert STARTING_POINTS not in open_study(settings, layout).user_attrs
