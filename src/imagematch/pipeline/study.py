"""A study from its settings to the winner: search, reruns, best configuration, trained matcher, report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.callbacks import Callbacks, Run, TrialResult
from imagematch.config import DEFAULTS, StudySettings, TrainSettings
from imagematch.data import thread_count
from imagematch.errors import ModelError, StudyError
from imagematch.events import SILENT, RunLog, finite
from imagematch.file_locks import remove_locked_dir
from imagematch.files import Layout, write_text
from imagematch.interruption import StopRequest
from imagematch.matching import read_card
from imagematch.pipeline.experiments import TrainedMatcher, finished_training, forget_unfinished, read_config
from imagematch.pipeline.training_run import run_training
from imagematch.reporting import spreadsheet_text, write_study_report
from imagematch.tuning import (
    attributes,
    baseline_of,
    choose_winner,
    configuration_of,
    delete_study,
    lock_file,
    long_lock,
    not_worked_on,
    open_study,
    run_workers,
    sqlite_url,
    trials_table,
    working_on,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class FinishedStudy:
    """What a study came to.

    Attributes:
        settings: of the winner.
        best_config: the file that holds them.
        matcher: the winner, trained.
    """

    settings: TrainSettings
    best_config: Path
    matcher: TrainedMatcher


def run_study(
    settings: StudySettings,
    layout: Layout,
    *,
    workers: int = 1,
    log: RunLog = SILENT,
    stop: StopRequest | None = None,
) -> FinishedStudy:
    """Runs or resumes a study, then trains its winner as experiment `study_name`.

    Raises:
        InterruptedRunError: `stop` requested it; the same call resumes.
        StudyError: the storage refuses, another space is searched under this name, or no trial can be finished.
        ImagematchError: the images or the weights cannot be used.
    """
    stop = stop or StopRequest()
    name, folder = settings.study_name, layout.study_dir(settings.study_name)
    callbacks = Callbacks(settings.fixed.get("callbacks", DEFAULTS["callbacks"]), log)
    study = open_study(settings, layout, log=log, stop=stop)
    with working_on(study, layout, stop):
        threads = None if workers == 1 else max(1, thread_count() // workers)
        fixed = json.loads(json.dumps(finite(settings.fixed), default=str))
        told = Run(name, fixed, folder, layout.tensorboard_dir(f"{name}-trials"))
        finished = tuple(map(_result, attributes.counted(study.get_trials(deepcopy=False))))
        callbacks.call("on_study_begin", told, finished)
        best = None
        try:
            run_workers(
                study, settings, layout, log=log, stop=stop, workers=workers, threads=threads, callbacks=callbacks
            )
            best = choose_winner(study, settings, log)
        finally:
            callbacks.call("on_study_end", None if best is None else _result(best))
            _write_trials(study, folder)
        if best is None:
            write_study_report(folder / "report.html", study)
            raise StudyError(
                "no trial was completed",
                where=name,
                do=f"raise n_trials (or max_parameters); {folder / 'report.html'} says what became of each trial",
            )
        winner = configuration_of(best, study, settings)
        if settings.refits and not winner.stages:
            winner = winner.model_copy(update={"refit": "train_and_validation"})
        stop.patient = False  # the winner's training can go on another time, a search's trial is over soon
        with long_lock(None, name, folder / ".finish.lock", stop):  # the workers and their memory are gone by now
            best_config = folder / "best_config.yaml"
            write_text(best_config, winner.to_yaml())
            log.event("best_config", f"best configuration: {best_config}", path=str(best_config))
            matcher = _trained_winner(winner, best.params, study.user_attrs, layout, log, stop)
            _write_trials(study, folder)
            link = _relative(matcher.folder, folder)
            write_study_report(folder / "report.html", study, matcher.metrics, matcher_report=link)
    return FinishedStudy(winner, best_config, matcher)


def _result(trial: FrozenTrial) -> TrialResult:
    values = tuple(trial.values or trial.intermediate_values.values())
    metrics = trial.user_attrs.get(attributes.TRIAL_METRICS, {})
    return TrialResult(trial.number, trial.state.name, values, trial.params, metrics)


def _trained_winner(
    winner: TrainSettings,
    params: Mapping[str, Any],
    study_attributes: Mapping[str, Any],
    layout: Layout,
    log: RunLog,
    stop: StopRequest,
) -> TrainedMatcher:
    """The winner, trained as the study's experiment; not again where it was, with the same images and network."""
    finished = finished_training(layout, winner.experiment_name)
    if finished is not None and _is_of(finished, winner, params, study_attributes):
        return finished
    log.say(f"training the winner as {winner.experiment_name}")
    study_report = _relative(layout.study_dir(winner.experiment_name), layout.model_dir(winner.experiment_name))
    return run_training(winner, layout, discard_unfit=True, study_report=study_report, log=log, stop=stop)


def _relative(folder: Path, beside: Path) -> str:
    """The report in a folder, as a link from another folder."""
    return Path(os.path.relpath(folder / "report.html", beside)).as_posix()


def _is_of(
    finished: TrainedMatcher, winner: TrainSettings, params: Mapping[str, Any], study_attributes: Mapping[str, Any]
) -> bool:
    """Whether a matcher is what training the winner on the study's images would give."""
    try:
        card = read_card(finished.folder)
        config = read_config(finished.folder)
    except ModelError:  # a damaged one is trained again
        return False
    network = (baseline_of(study_attributes, params) or {}).get("network_digest")  # older studies have none
    return (
        config == winner.to_yaml()
        and card.provenance.dataset_digest == study_attributes.get(attributes.DATA, {}).get("digest")
        and network in (None, card.provenance.extractor_digest)
    )


def _write_trials(study: optuna.Study, folder: Path) -> None:
    write_text(folder / "trials.csv", spreadsheet_text(trials_table(study)))


def forget_study(name: str, layout: Layout, storage: str | None = None) -> None:
    """Deletes a study and its files; the winner's matcher stays until a new one replaces it.

    Args:
        name: the study's.
        layout: where its files are.
        storage: URL of the database; None: its own file.

    Raises:
        StudyError: another process works on the study or trains its winner, or the storage refuses.
    """
    url = storage or sqlite_url(layout.study_database(name))
    with not_worked_on(name, url, layout):
        forget_unfinished(layout, name)
        delete_study(name, url)
        remove_locked_dir(layout.study_dir(name), lock_file(name, layout))
