"""Which baseline stands beside which trial: that of its network, its weights and its image size, or none."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from imagematch.config import TrainSettings, parse_study
from imagematch.errors import DataError, ImagematchError
from imagematch.events import SILENT
from imagematch.file_locks import BusyError, locked
from imagematch.interruption import StopRequest
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION
from imagematch.tuning.baseline import baseline_of, baseline_value, measure_baselines
from imagematch.tuning.study import with_study_precision

BASE = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0}


class FakeMeasure:
    """Measures an extractor as its image size.

    What `feature_precision: auto` comes to on its machine is `auto`.
    """

    def __init__(self, folder: Path, auto: str = "float32") -> None:
        self._folder = folder
        self._auto = auto
        self.measured: list[TrainSettings] = []

    def __call__(self, settings: TrainSettings) -> dict[str, Any]:
        with pytest.raises(BusyError), locked(self._folder / ".baseline.lock", wait=False):
            pass
        self.measured.append(settings)
        assert settings.image_size is not None
        size, precision = settings.image_size / 100, settings.feature_precision
        return {
            "metrics": {"val_map_at_r": size, "val_roc_auc": 0.9},
            "whitened": {"val_map_at_r": size + 1, "val_roc_auc": 0.9},
            "dataset": {"digest": "of the images"},
            "precision": self._auto if precision == "auto" else precision,
            "extraction_s": 1.0,
            "images_through_network": 7,
            "network_digest": f"network {size}",
            "network_parameters": None,
        }


def test_each_network_is_measured_once_at_its_first_point_and_where_trials_are_complete(tmp_path: Path) -> None:
    settings = parse_study(
        {
            "study_name": "s",
            "dataset": "digits",
            "feature_extractor_grid": ["pixels", "small_cnn"],
            "weights": "random",
            "image_size_grid": [8, 16, 32],
            "dropout": 0,
        }
    )
    study, fake = optuna.create_study(study_name="s", direction="maximize"), FakeMeasure(tmp_path)
    study.set_user_attr(DEFINITION, settings.space_json())

    def measure() -> list[tuple[Any, Any]]:
        fake.measured.clear()
        measure_baselines(study, fake, settings, tmp_path, log=SILENT, stop=StopRequest())
        return [(one.feature_extractor, one.image_size) for one in fake.measured]

    assert measure() == [("pixels", 8), ("small_cnn", 8)]
    grid = {name: optuna.distributions.CategoricalDistribution(d.labels) for name, d in settings.space.items()}
    for extractor, size in (("pixels", 32), ("pixels", 32), ("pixels", 8)):
        params = {"feature_extractor": extractor, "image_size": size}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=grid, value=0.5))
    assert measure() == [("pixels", 32)]
    assert measure() == []
    beside = [baseline_value(study.user_attrs, trial.params) for trial in study.trials]
    assert beside == [0.32, 0.32, 0.08]
    assert baseline_value(study.user_attrs, {"feature_extractor": "pixels", "image_size": 16}) is None
    assert study.user_attrs[DATA] == {"digest": "of the images"}
    assert study.user_attrs[BASELINE]["pixels, image_size 32"]["whitened"]["val_map_at_r"] == 1.32
    assert {kept["images_through_network"] for kept in study.user_attrs[BASELINE].values()} == {7}


def test_features_have_the_precision_of_the_machine_that_began_on_all_others(tmp_path: Path) -> None:
    settings = parse_study({**BASE, "embedding_dim_grid": [4, 8], "image_size_grid": [8, 16]})
    study = optuna.create_study(study_name="s", direction="maximize")
    small, large = (settings.settings_for({"embedding_dim": 4, "image_size": size}) for size in (8, 16))
    assert with_study_precision(study, small) == small, "a study of an older version"

    def measure(auto: str) -> list[str]:
        fake = FakeMeasure(tmp_path, auto=auto)
        measure_baselines(study, fake, settings, tmp_path, log=SILENT, stop=StopRequest())
        return [one.feature_precision for one in fake.measured]

    assert measure("bfloat16") == ["auto"]
    assert measure("float32") == []
    assert with_study_precision(study, small).feature_precision == "bfloat16"
    assert with_study_precision(study, large).feature_precision == "auto", "at another size bfloat16 may not do"
    grid = {name: optuna.distributions.CategoricalDistribution(d.labels) for name, d in settings.space.items()}
    params = {"embedding_dim": 4, "image_size": 16}
    study.add_trial(optuna.trial.create_trial(params=params, distributions=grid, value=0.5))
    assert measure("float32") == ["auto"]
    assert with_study_precision(study, large).feature_precision == "float32"


def test_a_defect_while_it_is_measured_is_told_in_one_line_and_a_users_error_as_it_is(tmp_path: Path) -> None:
    settings = parse_study({**BASE, "image_size": 8, "embedding_dim_grid": [4, 8]})
    study = optuna.create_study(study_name="s", direction="maximize")
    for error, says in (
        (RuntimeError("of the GPU"), "the baseline cannot be measured: RuntimeError"),
        (MemoryError("of the machine"), "of the machine"),
        (DataError("gone"), "gone"),
    ):

        def measure(_: TrainSettings, error: Exception = error) -> dict[str, Any]:
            raise error

        with pytest.raises((ImagematchError, MemoryError), match=says):
            measure_baselines(study, measure, settings, tmp_path, log=SILENT, stop=StopRequest())


def test_what_older_versions_kept_by_extractor_alone_is_understood() -> None:
    kept = {"pixels": {"val_map_at_r": 0.4}, "small_cnn": {"val_map_at_r": 0.6}}
    attributes = {DEFINITION: {"objective": "val_map_at_r"}, BASELINE: kept}
    assert baseline_value(attributes, {"feature_extractor": "small_cnn"}) == 0.6
    assert baseline_value({**attributes, BASELINE: {"pixels": kept["pixels"]}}, {"dropout": 0.1}) == 0.4
    assert baseline_of(attributes, {"feature_extractor": "small_cnn", "image_size": 32}) is None, "at which size?"


@pytest.mark.parametrize("kept", [None, "text", {}, {"pixels": None}, {"pixels": {}}])
def test_of_other_programs_studies_nothing_is_known(kept: Any) -> None:
    assert baseline_value({BASELINE: kept, DEFINITION: {"objective": ["val_map_at_r"]}}, {}) is None
    assert baseline_value({BASELINE: kept}, {}) is None
