"""A trial in folds: its value is their mean, and one that was cut off goes on with its fold."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch import training
from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ConfigError, InterruptedRunError
from imagematch.extractors import make_extractor
from imagematch.interruption import StopRequest
from imagematch.model import build_head
from imagematch.training import TrainingData, load_training_data
from imagematch.tuning import objective as trials
from imagematch.tuning.objective import TrialFiles, run_trial, trained_parameters


@pytest.fixture(scope="module", name="settings")
def settings_fixture(tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    return parse_train(
        {
            "experiment_name": "x",
            "dataset": "digits",
            "feature_extractor": "pixels",
            "image_size": 8,
            "embedding_dim": 4,
            "epochs": 2,
            "feature_dir": str(tmp_path_factory.mktemp("features")),
        }
    )


@pytest.fixture(scope="module", name="materials")
def materials_fixture(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return load_training_data(settings, manifest_dir=tmp_path_factory.mktemp("manifests"))


@pytest.fixture(name="quick")
def quick_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take no time; their values come from seed and learning rate."""

    def train_model(
        _materials: TrainingData,
        settings: TrainSettings,
        *,
        on_epoch: Any,
        stop: StopRequest,
        checkpoint: Path,
        **_: Any,
    ) -> Any:
        random = np.random.default_rng([settings.training_seed, int(1e6 * settings.learning_rate)])
        history: list[dict[str, Any]] = []
        for epoch in range(1, settings.epochs + 1):
            metrics = {name: float(random.random()) for name in ("val_map_at_r", "val_eer", "val_loss")}
            history.append({"epoch": epoch, **metrics})
            on_epoch(history[-1])
            if stop.at_next_step:
                raise InterruptedRunError("interrupted")
        best = max(history, key=lambda record: record["val_map_at_r"])
        result = SimpleNamespace(
            history=history,
            best_value=best["val_map_at_r"],
            best_epoch=best["epoch"],
            seconds={"training": 0.0},
            ended_by="epochs",
        )
        metrics = {name: value for name, value in best.items() if name.startswith("val_")}
        return SimpleNamespace(result=result, metrics=metrics, parameters=772)

    monkeypatch.setitem(vars(training), "train_model", train_model)


def run(materials: TrainingData, settings: TrainSettings, folder: Path, **options: object) -> dict[str, object]:
    steps: list[tuple[int, float]] = []

    def on_step(number: int, value: float) -> bool:
        steps.append((number, value))
        return False

    options = {"folds": 3, "on_step": on_step, "stop": StopRequest(), **options}
    noted = run_trial(materials, settings, TrialFiles(folder, "trial-0"), **options)
    noted.pop("seconds")
    return {**noted, "steps": steps}


@pytest.mark.usefixtures("quick")
def test_the_value_is_the_mean_over_the_folds_and_each_is_a_step(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    noted = run(materials, settings, tmp_path)
    values = noted["fold_values"]
    assert isinstance(values, list)
    assert len(set(values)) == 3
    assert noted["values"] == [pytest.approx(sum(values) / 3)]
    assert noted["fold_spread"] == pytest.approx(np.std(values, ddof=1))
    assert noted["steps"] == [
        (1, pytest.approx(values[0])),
        (2, pytest.approx(sum(values[:2]) / 2)),
        (3, pytest.approx(sum(values) / 3)),
    ]
    assert noted["epochs"] == 6
    (tmp_path / ".tmp-killed.npz").touch()
    os.utime(tmp_path / ".tmp-killed.npz", (0, 0))
    TrialFiles(tmp_path, "trial-0").remove_state()
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0.json"]


@pytest.mark.usefixtures("quick")
def test_a_trial_that_was_cut_off_goes_on_with_its_fold(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(materials, settings, tmp_path / "whole")
    trained: list[Path] = []
    plain_train = trials._train

    def counting_train(*arguments: object) -> object:
        trained.append(arguments[2])  # type: ignore[arg-type]
        return plain_train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "_train", counting_train)
    stop = StopRequest()

    def stop_in_the_third(number: int, _value: float) -> bool:
        if number == 2:
            stop.ask(2)
        return False

    with pytest.raises(InterruptedRunError):
        run(materials, settings, tmp_path / "cut", on_step=stop_in_the_third, stop=stop)
    trained.clear()
    assert run(materials, settings, tmp_path / "cut") == whole
    assert [path.name for path in trained] == ["trial-0-fold3.npz"]


@pytest.mark.usefixtures("quick")
def test_finished_folds_of_other_settings_are_not_taken(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    first = run(materials, settings, tmp_path, folds=2)
    other = settings.model_copy(update={"learning_rate": 0.01})
    assert run(materials, other, tmp_path, folds=2)["fold_values"] != first["fold_values"]


@pytest.mark.usefixtures("quick")
def test_finished_folds_of_other_objectives_are_not_taken(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    run(materials, settings, tmp_path, folds=2)
    sizes = run(materials, settings, tmp_path, folds=2, second="parameters")["values"]
    values = run(materials, settings, tmp_path, folds=2, second="val_eer")["values"]
    assert len(sizes) == len(values) == 2  # type: ignore[arg-type]
    assert sizes != values


@pytest.mark.usefixtures("quick")
def test_a_pruned_trial_ends_after_its_fold(materials: TrainingData, settings: TrainSettings, tmp_path: Path) -> None:
    noted = run(materials, settings, tmp_path, on_step=lambda _number, _value: True)
    assert len(noted["fold_values"]) == 1  # type: ignore[arg-type]
    assert noted["pruned"] is True


@pytest.mark.usefixtures("quick")
def test_at_its_last_fold_a_trial_is_not_pruned(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    at_the_last = run(materials, settings, tmp_path, on_step=lambda number, _value: number == 3)
    assert at_the_last["pruned"] is False


@pytest.mark.parametrize(("folds", "last"), [(1, 2)])
def test_at_its_last_step_a_trial_is_not_pruned(
    folds: int, last: int, materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    at_the_last = run(materials, settings, tmp_path, folds=folds, on_step=lambda number, _value: number == last)
    assert at_the_last["pruned"] is False
    earlier = run(materials, settings, tmp_path, folds=folds, on_step=lambda number, _value: number == last - 1)
    assert earlier["pruned"] is True


@pytest.mark.parametrize("second", ["parameters", "latency_ms", "val_eer", "val_average_precision"])
def test_the_second_objective_stands_beside_the_first(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path, second: str
) -> None:
    noted = run(materials, settings, tmp_path, folds=1, second=second)
    first, value = noted["values"]  # type: ignore[misc]
    figures = noted["figures"]
    assert isinstance(figures, dict)
    assert first == figures["val_map_at_r"]
    if second == "parameters":
        assert value == noted["parameters"] == 8 * 8 * 3 * 4 + 4
    elif second == "val_eer":
        assert value == figures["val_eer"]
    else:
        assert 0 < value < (1 if second == "val_average_precision" else 1000)


@pytest.mark.usefixtures("quick")
def test_metrics_are_of_what_every_fold_measures(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold whose validation classes lack proxies has no val_loss."""
    plain_train = trials._train

    def without_loss_in_the_second(*arguments: object) -> object:
        trained = plain_train(*arguments)  # type: ignore[arg-type]
        if arguments[2] == TrialFiles(tmp_path, "trial-0").checkpoint(2):
            trained.metrics.pop("val_loss")
        return trained

    monkeypatch.setattr(trials, "_train", without_loss_in_the_second)
    figures = run(materials, settings, tmp_path)["figures"]
    assert isinstance(figures, dict)
    assert "val_map_at_r" in figures
    assert "val_loss" not in figures


def test_val_loss_is_no_second_objective_where_validation_classes_have_no_proxies(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    proxies = parse_train({**settings.model_dump(exclude_unset=True), "loss": "proxy_nca", "epochs": 1})
    dataset = materials.dataset
    seen = (dataset.splits == "validation") & (dataset.labels == 0)
    splits = np.where(dataset.labels == 0, np.where(seen, "validation", ""), dataset.splits)
    predefined = replace(materials, dataset=replace(dataset, splits=splits))
    with pytest.raises(ConfigError, match="val_loss has no meaning with proxy_nca"):
        run(predefined, proxies, tmp_path, folds=1, second="val_loss")


@pytest.mark.parametrize("units", [[], [7], [12, 5, 3]])
@pytest.mark.parametrize(
    ("extractor", "trained", "whitening"),
    [("pixels", False, None), ("pixels", False, 9), (["pixels"], False, None), ("small_cnn", True, None)],
)
def test_the_parameters_are_known_before_the_training(
    units: list[int], extractor: str, trained: bool, whitening: int | None
) -> None:
    settings = parse_train(
        {
            "experiment_name": "x",
            "feature_extractor": extractor,
            "weights": "random",
            "image_size": 8,
            "intermediate_ff_block_units": units,
            "embedding_dim": 6,
            "feature_whitening": whitening,
        }
    )
    made = make_extractor(settings)
    dim = made.feature_dim
    layer = None if whitening is None else (np.zeros((dim, whitening)), np.zeros(whitening))
    head = build_head(dim, units=units, embedding_dim=6, whitening=layer)
    network = made.build().count_params() if trained else 10**9
    expected = head.count_params() + (network if trained else 0)
    assert trained_parameters(settings, {made.name: network}) == expected


@pytest.mark.usefixtures("quick")
def test_a_fold_that_version_0_1_finished_is_not_trained_again(
    materials: TrainingData, settings: TrainSettings, tmp_path: Path
) -> None:
    whole = run(materials, settings, tmp_path)
    path = TrialFiles(tmp_path, "trial-0").finished(1)
    stored = json.loads(path.read_text())
    stored["figures"] = stored.pop("metrics")
    path.write_text(json.dumps(stored))
    assert run(materials, settings, tmp_path) == whole
