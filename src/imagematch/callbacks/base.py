"""What every callback is, how one is registered, and how several are called without ever ending a run."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from imagematch.errors import ConfigError
from imagematch.events import SILENT, RunLog
from imagematch.registry import CALLBACK_REGISTRY, CallbackSpec


@dataclass(frozen=True)
class Run:
    """A study or a training that begins.

    Attributes:
        name: of the study or experiment.
        settings: key -> value, as JSON; of a study what all its trials have.
        folder: where its results will be.
        logs: a folder of its own for what shows curves, as TensorBoard.
    """

    name: str
    settings: Mapping[str, Any]
    folder: Path
    logs: Path


@dataclass(frozen=True)
class TrialResult:
    """A trial that has ended.

    Attributes:
        number: Optuna's.
        state: COMPLETE or PRUNED.
        values: of the objectives; of a pruned trial the best that it had.
        params: what was drawn, as Optuna stores it: numbers, and texts for everything else.
        metrics: of the best epoch, by name.
    """

    number: int
    state: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)


class Callback:
    """Each method is called when its name says, in the process that runs the command; left out, it does nothing.

    A study trains its trials in processes of their own, and is told of each when it ends. Its winner is trained after
    `on_study_end`, as every training. What a callback raises is one warning, and it is not called again in this run.
    """

    def on_study_begin(self, study: Run, finished: Sequence[TrialResult]) -> None:
        """The study begins, or goes on after the trials that are `finished`."""

    def on_trial_end(self, trial: TrialResult) -> None:
        """A trial is complete, or was pruned."""

    def on_study_end(self, best: TrialResult | None) -> None:
        """The search and its reruns are over; `best` is the winner, None where there is none, or it was interrupted."""

    def on_training_begin(self, training: Run) -> None:
        """A training begins, or goes on: then the epochs before are told again."""

    def on_epoch_end(self, record: Mapping[str, Any]) -> None:
        """An epoch is over: `epoch` (from 1), `loss`, the `val_` metrics and more, by name."""

    def on_training_end(self, metrics: Mapping[str, Any] | None) -> None:
        """The matcher is saved; `metrics` is its `metrics.json`, None where the training was interrupted or failed."""


AnyCallback = TypeVar("AnyCallback", bound=type[Callback])


def register_callback(name: str, summary: str, *, module: str = "") -> Callable[[AnyCallback], AnyCallback]:
    """Decorates a callback: it can then be selected as `callbacks: [NAME]`.

    Args:
        name: lower case with underscores.
        summary: one sentence.
        module: of the package that must be installed; a run that asks for the callback is refused without it.
    """

    def register(callback: AnyCallback) -> AnyCallback:
        CALLBACK_REGISTRY.register(name, CallbackSpec(name, summary, callback, module))
        return callback

    return register


class Callbacks:
    """The callbacks of a run.

    Args:
        names: as the configuration has them.
        log: told, in one line, which of them failed.

    Raises:
        ConfigError: a package that one of them needs is not installed.
    """

    def __init__(self, names: Iterable[str] = (), log: RunLog = SILENT) -> None:
        self._log = log
        self._callbacks: dict[str, Callback] = {}
        for name in names:
            spec = CALLBACK_REGISTRY.all()[name]
            if spec.module and importlib.util.find_spec(spec.module) is None:
                what = f"callbacks: {name} needs the package {spec.module}, which is not installed"
                raise ConfigError(what, do=f"install it (see imagematch doctor), or leave {name} out")
            try:
                self._callbacks[name] = spec.maker()
            except Exception as error:
                self._failed(name, "its creation", error)

    def call(self, hook: str, *arguments: Any) -> None:
        """Calls a method of each; one that fails is left out from then on."""
        for name, callback in list(self._callbacks.items()):
            try:
                getattr(callback, hook)(*arguments)
            except Exception as error:
                del self._callbacks[name]
                self._failed(name, hook, error)

    def _failed(self, name: str, where: str, error: Exception) -> None:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"callback {name} failed in {where}, and is left out from here on: {why}"
        self._log.event("callback_failed", message, level="warning", callback=name)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The values that are finite numbers: what curves and tables of metrics take."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def split_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a `metrics.json`, as `test_roc_auc`."""
    splits = ((split, block) for split, block in metrics.items() if split in ("validation", "test") and block)
    return {f"{split}_{name}": value for split, block in splits for name, value in numbers(block).items()}
