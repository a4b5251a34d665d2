"""Which baseline stands beside which trial: that of its network, its weights and its image size, or none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from imagematch.config import parse_study
from imagematch.errors import StudyError
from imagematch.events import SILENT
from imagematch.files import BusyError, locked
from imagematch.interruption import StopRequest
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION, as_begun
from imagematch.tuning.baseline import baseline_of, baseline_value, measure_baselines

BASE = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0}


class FakeSearch:
    """Measures an extractor as its image size; the first few times the worker dies of it.

    What `feature_precision: auto` comes to on its machine is `auto`.
    """

    def __init__(self, folder: Path, deaths: int = 0, auto: str = "float32") -> None:
        self._folder = folder
        self._deaths = deaths
        self._auto = auto
        self.tasks: list[dict[str, Any]] = []

    def call_all(self, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        with pytest.raises(BusyError), locked(self._folder / ".baseline.lock", wait=False):
            pass
        (task,) = tasks
        self.tasks.append(task)
        if len(self.tasks) <= self._deaths:
            yield 0, {"event": "failed", "reason": "the worker was killed"}
            return
        size, precision = task["settings"]["image_size"] / 100, task["settings"].get("feature_precision", "auto")
        yield (
            0,
            {
                "event": "done",
                "figures": {"val_map_at_r": size, "val_roc_auc": 0.9},
                "dataset": {"digest": "of the images"},
                "precision": self._auto if precision == "auto" else precision,
                "extraction_s": 1.0,
                "images_through_network": 7,
                "network_digest": f"network {size}",
                "network_parameters": None,
            },
        )


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
    study, search = optuna.create_study(study_name="s", direction="maximize"), FakeSearch(tmp_path)
    study.set_user_attr(DEFINITION, settings.space_json())

    def measure() -> list[tuple[str, int]]:
        search.tasks.clear()
        measure_baselines(study, search, settings, tmp_path, log=SILENT, stop=StopRequest())  # type: ignore[arg-type]
        return [(task["settings"]["feature_extractor"], task["settings"]["image_size"]) for task in search.tasks]

    assert measure() == [("pixels", 8), ("small_cnn", 8)]
    assert [task["data"] for task in search.tasks] == [None, "of the images"], "from the first on they are known"
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
    assert {kept["images_through_network"] for kept in study.user_attrs[BASELINE].values()} == {7}


def test_features_have_the_precision_of_the_machine_that_began_on_all_others(tmp_path: Path) -> None:
    settings = parse_study({**BASE, "embedding_dim_grid": [4, 8], "image_size_grid": [8, 16]})
    study = optuna.create_study(study_name="s", direction="maximize")
    small, large = (settings.settings_for({"embedding_dim": 4, "image_size": size}) for size in (8, 16))
    assert as_begun(study, small) == small, "a study of an older version"

    def measure(auto: str) -> list[str]:
        search = FakeSearch(tmp_path, auto=auto)
        measure_baselines(study, search, settings, tmp_path, log=SILENT, stop=StopRequest())  # type: ignore[arg-type]
        return [task["settings"].get("feature_precision", "auto") for task in search.tasks]

    assert measure("bfloat16") == ["auto"]
    assert measure("float32") == []
    assert as_begun(study, small).feature_precision == "bfloat16"
    assert as_begun(study, large).feature_precision == "auto", "at another size bfloat16 may not do"
    grid = {name: optuna.distributions.CategoricalDistribution(d.labels) for name, d in settings.space.items()}
    params = {"embedding_dim": 4, "image_size": 16}
    study.add_trial(optuna.trial.create_trial(params=params, distributions=grid, value=0.5))
    assert measure("float32") == ["auto"]
    assert as_begun(study, large).feature_precision == "float32"


def measure_with(folder: Path, deaths: int) -> tuple[optuna.Study, FakeSearch]:
    settings = parse_study({**BASE, "image_size": 8, "embedding_dim_grid": [4, 8]})
    study, search = optuna.create_study(study_name="s", direction="maximize"), FakeSearch(folder, deaths)
    measure_baselines(study, search, settings, folder, log=SILENT, stop=StopRequest())  # type: ignore[arg-type]
    return study, search


def test_a_worker_that_dies_while_it_measures_has_a_second_try_and_no_third(tmp_path: Path) -> None:
    study, search = measure_with(tmp_path, deaths=1)
    assert study.user_attrs[BASELINE]["pixels"]["val_map_at_r"] == 0.08
    assert len(search.tasks) == 2
    with pytest.raises(StudyError, match="the baseline cannot be measured: the worker was killed"):
        measure_with(tmp_path, deaths=2)


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
