"""Callbacks are called in order, and never end a run; what the built-in ones write."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from imagematch.callbacks import Callback, Callbacks, Run, TrialResult
from imagematch.callbacks.mlflow import MLflow
from imagematch.callbacks.tensorboard import TensorBoard
from imagematch.callbacks.wandb import WeightsAndBiases
from imagematch.config import parse_study, parse_train
from imagematch.errors import ConfigError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.pipeline import run_training
from imagematch.registry import CALLBACK_REGISTRY, CallbackSpec

TRIAL = TrialResult(3, "COMPLETE", (0.9,), {"embedding_dim": 64, "loss": "arcface"}, {"val_map_at_r": 0.9})
RECORD = {"epoch": 1, "loss": 0.5, "val_map_at_r": 0.8, "stage": "one", "spread": float("nan")}
METRICS = {"validation": {"roc_auc": 0.95, "split_by": "image"}, "test": None, "baseline": {"test": {"roc_auc": 0.5}}}


def told(callback: Callback, folder: Path) -> None:
    """Everything that a callback can be told, once."""
    callback.on_study_begin(Run("s", {"dataset": "digits"}, folder / "s", folder / "logs" / "s"), ())
    callback.on_trial_end(TRIAL)
    callback.on_study_end(TRIAL)
    callback.on_training_begin(Run("t", {"epochs": 1}, folder / "t", folder / "logs" / "t"))
    callback.on_epoch_end(RECORD)
    callback.on_training_end(METRICS)


class Recording(Callback):
    """Notes what it is told; `failing` raises when it is."""

    def __init__(self, failing: str = "") -> None:
        self.heard: list[str] = []
        self._failing = failing

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return object.__getattribute__(self, name)

        def hear(*_arguments: Any) -> None:
            self.heard.append(name)
            if name == self._failing:
                raise RuntimeError("no\nluck")

        return hear


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recording]:
    made = {"good": Recording(), "bad": Recording("on_epoch_end"), "worse": Recording()}

    def broken() -> Recording:
        raise OSError("nowhere")

    CALLBACK_REGISTRY.all()
    for name, one in made.items():
        maker = broken if name == "worse" else lambda one=one: one
        monkeypatch.setitem(CALLBACK_REGISTRY._items, name, CallbackSpec(name, "", maker, ""))
    return made


def test_one_that_fails_is_one_warning_and_the_others_go_on(registered: dict[str, Recording]) -> None:
    stream = io.StringIO()
    callbacks = Callbacks(("worse", "bad", "good"), RunLog(stream=stream, shows="warning"))
    for hook in ("on_training_begin", "on_epoch_end", "on_epoch_end", "on_training_end"):
        callbacks.call(hook, None)
    assert stream.getvalue().splitlines() == [
        "callback worse failed in its creation, and is left out from here on: OSError: nowhere",
        "callback bad failed in on_epoch_end, and is left out from here on: RuntimeError: no luck",
    ]
    assert registered["good"].heard == ["on_training_begin", "on_epoch_end", "on_epoch_end", "on_training_end"]
    assert registered["bad"].heard == ["on_training_begin", "on_epoch_end"]


def test_a_training_tells_its_epochs_and_its_end_also_where_it_is_interrupted(
    registered: dict[str, Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"dataset": "digits", "max_classes": 3, "feature_extractor": "pixels", "image_size": 8, "epochs": 2}
    settings = parse_train({"experiment_name": "x", "embedding_dim": 8, **values})
    settings = settings.model_copy(update={"callbacks": ("bad", "good")})
    stop = StopRequest()
    stop.ask(2)
    with pytest.raises(Exception, match="interrupted"):
        run_training(settings, Layout(), stop=stop)
    assert registered["good"].heard == ["on_training_begin", "on_training_end"]
    registered["good"].heard.clear()
    assert run_training(settings, Layout()).folder.is_dir()
    assert registered["good"].heard == ["on_training_begin", "on_epoch_end", "on_epoch_end", "on_training_end"]


def test_names_are_checked_and_change_no_trial() -> None:
    study = {"study_name": "x", "dataset": "digits", "embedding_dim_grid": [8, 16]}
    plain, told_of = parse_study(study), parse_study({**study, "callbacks": ["tensorboard", "mlflow"]})
    assert told_of.fixed["callbacks"] == ("tensorboard", "mlflow")
    assert plain.digest == told_of.digest
    one, other = (parse_train({"experiment_name": "x", "callbacks": names}) for names in ([], ["wandb"]))
    assert one.shared_values == other.shared_values
    assert one.trained_values == other.trained_values
    with pytest.raises(ConfigError, match="did you mean mlflow"):
        parse_train({"experiment_name": "x", "callbacks": ["mlfow"]})
    with pytest.raises(ConfigError, match="callbacks cannot vary between trials"):
        parse_study({**study, "callbacks_grid": [["wandb"]]})


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_there_is_said_before_anything_begins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _module: None)
    with pytest.raises(
        ConfigError, match=f"callbacks: {name} needs the package {name}, which is not installed; install it"
    ):
        Callbacks((name,))


def test_tensorboard_has_the_curves_and_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import PLUGIN_NAME

    told(TensorBoard(), tmp_path)

    def logged(name: str) -> EventAccumulator:
        found = EventAccumulator(str(tmp_path / "logs" / name))
        found.Reload()
        return found

    training = logged("t")
    assert training.Scalars("loss")[0].value == 0.5
    assert training.Scalars("validation_roc_auc")[0].value == pytest.approx(0.95)
    assert "spread" not in training.Tags()["scalars"], "it is not a number"
    trial = logged("s/3")
    assert trial.Scalars("objective_1")[0].value == pytest.approx(0.9)
    tags = trial.summary_metadata
    assert {tag for tag in tags if tags[tag].plugin_data.plugin_name == PLUGIN_NAME} == {
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }
    study, pruned = Run("s", {}, tmp_path, tmp_path / "logs" / "s"), TrialResult(4, "PRUNED", (), {})
    TensorBoard().on_study_begin(study, (TRIAL, pruned))
    assert sorted(path.name for path in (tmp_path / "logs" / "s").iterdir()) == ["3", "4"]


class Stub(types.ModuleType):
    """Records every call of any name, and of what a call returned."""

    def __init__(self, name: str, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        super().__init__(name)
        self._called = calls

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Stub:
            self._called.append((name, arguments, named))
            return self

        if name == "summary":
            return SummaryStub(self._called)
        if name.startswith("__"):
            raise AttributeError(name)
        return call

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._called.append(("exit", (), {}))


class SummaryStub(dict[str, Any]):
    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        super().__init__()
        self._called = calls

    def __setitem__(self, name: str, value: Any) -> None:
        self._called.append(("summary", (name, value), {}))

    def update(self, values: dict[str, Any]) -> None:  # type: ignore[override]
        self._called.append(("summary", (values,), {}))


def calls_of(callback: Callback, module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, module, Stub(module, calls))
    told(callback, folder)
    return calls


def test_mlflow_has_a_run_for_the_study_its_trials_inside_and_one_for_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(MLflow(), "mlflow", tmp_path, monkeypatch)
    starts = [named for name, _, named in calls if name == "start_run"]
    assert starts == [{"run_name": "s"}, {"run_name": "trial 3", "nested": True}, {"run_name": "t"}]
    assert [arguments for name, arguments, _ in calls if name == "end_run"] == [("FINISHED",), ("FINISHED",)]
    assert ("log_params", (TRIAL.params,), {}) in calls
    assert ("log_metrics", ({"loss": 0.5, "val_map_at_r": 0.8},), {"step": 1}) in calls
    assert ("log_metrics", ({"validation_roc_auc": 0.95},), {}) in calls
    assert ("set_tag", ("best_trial", "3"), {}) in calls


def test_wandb_has_a_run_for_each_trial_and_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(WeightsAndBiases(), "wandb", tmp_path, monkeypatch)
    first, second = (named for name, _, named in calls if name == "init")
    assert (first["group"], first["name"], first["config"]) == ("s", "s trial 3", {"dataset": "digits", **TRIAL.params})
    assert (second["name"], second["dir"]) == ("t", str(tmp_path / "logs"))
    assert [named for name, _, named in calls if name == "finish"] == [{}, {"exit_code": 0}]
    assert ("log", ({"epoch": 1.0, "loss": 0.5, "val_map_at_r": 0.8},), {"step": 1}) in calls
