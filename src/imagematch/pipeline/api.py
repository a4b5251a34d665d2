"""Tuning and training from Python, as the commands do it: settings as a dict or a file, progress in lines."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import load_study, load_train, parse_study, parse_train, starting_points
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.interruption import stop_on_signals
from imagematch.matching import ImageMatcher
from imagematch.pipeline.experiments import (
    finished_training,
    refuse_other_settings,
    training_begun,
    unfinished_dir,
)
from imagematch.pipeline.study import forget_study, run_study
from imagematch.pipeline.training_run import run_training
from imagematch.reporting import read_study, study_summary, verdict
from imagematch.tuning import study_exists

if TYPE_CHECKING:
    import optuna

Config = Mapping[str, Any] | Path | str
"""Settings: a dict with the keys of a file, or the path of a YAML file."""


@dataclass(frozen=True)
class TrainingResult:
    """A trained matcher.

    Attributes:
        folder: the matcher's, with its report.
        metrics: the contents of `metrics.json`.
    """

    folder: Path
    metrics: Mapping[str, Any]

    @cached_property
    def matcher(self) -> ImageMatcher:
        """The matcher, loaded when it is first asked for."""
        return ImageMatcher.load(self.folder)

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def __repr__(self) -> str:
        return f"{self.folder}: {verdict(self.metrics)}"


@dataclass(frozen=True, repr=False)
class TuningResult(TrainingResult):
    """A finished study and its trained winner, whose folder and metrics these are.

    Attributes:
        study: the Optuna study.
        study_folder: where its report, trials and best configuration are.
        best_config: the file that `train` runs as it is.
    """

    study: optuna.Study
    study_folder: Path
    best_config: Path

    def __repr__(self) -> str:
        return f"{study_summary(self.study)}\n{super().__repr__()}"


def train(config: Config, *, fresh: bool = False, progress: bool = True) -> TrainingResult:
    """Trains, calibrates, evaluates, saves and reports one configuration, as `train.py` does.

    What was interrupted goes on where it was, and what is finished with the same settings is returned as it is. All is
    written below `exp`, as by the command.

    Args:
        config: settings as in a train file, or its path.
        fresh: starts anew; an older matcher stays until then.
        progress: whether lines of progress are printed, which a notebook shows as they come.

    Raises:
        ConfigError: the settings are wrong, or a finished matcher of this name has others.
        ImagematchError: in one line, whatever else went wrong.
        InterruptedRunError: a Ctrl-C, or the kernel's interrupt; the same call goes on.
    """
    settings = parse_train(dict(config)) if isinstance(config, Mapping) else load_train(Path(config))
    layout, name = Layout(), settings.experiment_name
    finished = None if fresh or training_begun(layout, name) else finished_training(layout, name)
    if finished is not None:
        refuse_other_settings(finished, settings)
    else:
        log = _log(unfinished_dir(layout, name) / "run.jsonl", progress)
        with _native_messages_muted(), stop_on_signals() as stop:
            finished = run_training(settings, layout, fresh=fresh, log=log, stop=stop)
    return TrainingResult(finished.folder, finished.metrics)


def tune(config: Config, *, fresh: bool = False, workers: int = 1, progress: bool = True) -> TuningResult:
    """Searches the grids of a study and trains its winner, as `hpt.py` does.

    A study that exists is resumed; a finished one is returned. All is written below `exp`, as by the commands.

    Args:
        config: settings as in a study file, or its path.
        fresh: deletes the study of this name first.
        workers: processes that train at a time.
        progress: whether lines of progress are printed, which a notebook shows as they come.

    Raises:
        ConfigError: the settings are wrong.
        StudyError: another space was searched under this name, the storage refuses, or no trial was completed.
        ImagematchError: in one line, whatever else went wrong.
        InterruptedRunError: a Ctrl-C, or the kernel's interrupt; the same call goes on.
    """
    settings = parse_study(dict(config)) if isinstance(config, Mapping) else load_study(Path(config))
    layout, name = Layout(), settings.study_name
    if fresh and study_exists(settings, layout):
        starting_points(settings)  # a file that is not there is told before anything is deleted
        forget_study(name, layout, settings.storage)
    with _native_messages_muted(), stop_on_signals(patient=True) as stop:
        log = _log(layout.study_dir(name) / "run.jsonl", progress)
        finished = run_study(settings, layout, workers=workers, log=log, stop=stop)
    matcher = finished.matcher
    study = read_study(settings.storage or layout.study_database(name), name)
    return TuningResult(matcher.folder, matcher.metrics, study, layout.study_dir(name), finished.best_config)


@contextlib.contextmanager
def _native_messages_muted() -> Iterator[None]:
    """Discards what native code of this process and its workers writes to stderr; Python's stderr stays."""
    own, python_stream = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        if isinstance(python_stream, io.TextIOWrapper) and python_stream.fileno() == 2:  # a notebook has another
            python_stream.flush()
            sys.stderr = os.fdopen(os.dup(own), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
        yield
    finally:
        if sys.stderr is not python_stream:
            sys.stderr.close()
            sys.stderr = python_stream
        os.dup2(own, 2)
        os.close(own)
        os.close(nowhere)


def _log(path: Path, progress: bool) -> RunLog:
    return RunLog(path, sys.stdout if progress else None)
