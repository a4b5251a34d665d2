"""A study from its settings to the winner: search, repeated runs, best configuration, trained matcher, report."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.data import thread_count
from imagematch.errors import ModelError, StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout, write_text
from imagematch.matching import read_card
from imagematch.pipeline.train import TrainedMatcher, finished_training, run_training, unfinished_dir
from imagematch.reporting import spreadsheet_cell, write_study_report
from imagematch.training import StopRequest
from imagematch.tuning import Search, open_study, owned, rank_again, records
from imagematch.tuning.baseline import baseline_of, measure_baselines
from imagematch.tuning.locks import long_lock, storage_of
from imagematch.tuning.refusals import storage_errors
from imagematch.tuning.study import DATA, as_begun, storage_url
from imagematch.tuning.trials_table import trials_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd
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
    """Runs or goes on with a study, then trains its winner as experiment `study_name`.

    Raises:
        InterruptedRunError: `stop` asked for it; the same call goes on.
        StudyError: the storage refuses, another space is searched under this name, or no trial can be finished.
        ImagematchError: the images or the weights cannot be used.
    """
    stop = stop or StopRequest()
    name, folder, url = settings.study_name, layout.study_dir(settings.study_name), storage_url(settings, layout)
    with contextlib.ExitStack() as worked_on:
        with storage_errors(url):
            study = open_study(settings, layout, log=log, stop=stop)
            worked_on.enter_context(owned(study, layout, stop))
        threads = None if workers == 1 else max(1, thread_count() // workers)
        with (
            Search(study, settings, layout=layout, log=log, stop=stop, workers=workers, threads=threads) as search,
            storage_errors(url),
        ):
            try:
                measure_baselines(study, search, settings, folder, log=log, stop=stop)
                search.run()
                measure_baselines(study, search, settings, folder, log=log, stop=stop)
            finally:
                _write_trials(study, folder)
            # of several processes, one runs the best again, and one of each machine trains the winner
            with long_lock(storage_of(study), name, folder / ".rerun.lock", stop):
                best, winner = _winner(study, search, settings, folder, log)
        stop.patient = False  # the winner's training can go on another time, a search's trial is over soon
        with long_lock(None, name, folder / ".finish.lock", stop):  # the workers and their memory are gone by now
            best_config = folder / "best_config.yaml"
            write_text(best_config, winner.to_yaml())
            log.event("best_config", f"best configuration: {best_config}", path=str(best_config))
            with storage_errors(url):
                attributes = study.user_attrs
            matcher = _trained_winner(winner, best.params, attributes, layout, log, stop)
            with storage_errors(url):
                _write_trials(study, folder)
                write_study_report(folder / "report.html", study, matcher.metrics)
    return FinishedStudy(winner, best_config, matcher)


def _winner(
    study: optuna.Study, search: Search, settings: StudySettings, folder: Path, log: RunLog
) -> tuple[FrozenTrial, TrainSettings]:
    ranked = records.best_of(study.get_trials(deepcopy=False), study.directions)
    if not ranked:
        write_study_report(folder / "report.html", study)
        raise StudyError(
            "no trial was completed",
            where=settings.study_name,
            do=f"raise n_trials (or max_parameters); {folder / 'report.html'} says what became of each trial",
        )
    best = rank_again(ranked, study, search, settings, log)
    values = settings.values_of(best.params)
    return best, as_begun(study, search.plan.settings_of(values, best.user_attrs[records.PLACE]))


def _trained_winner(
    winner: TrainSettings,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any],
    layout: Layout,
    log: RunLog,
    stop: StopRequest,
) -> TrainedMatcher:
    """The winner, trained as the study's experiment; not again where it was, with the same images and network."""
    finished = finished_training(layout, winner.experiment_name)
    if finished is not None and _is_of(finished, winner, params, attributes):
        return finished
    log.say(f"training the winner as {winner.experiment_name}")
    return run_training(winner, layout, discard_unfit=True, log=log, stop=stop)


def _is_of(
    finished: TrainedMatcher, winner: TrainSettings, params: Mapping[str, Any], attributes: Mapping[str, Any]
) -> bool:
    """Whether a matcher is what training the winner on the study's images would give."""
    try:
        card = read_card(finished.folder)
    except ModelError:  # a damaged one is trained again
        return False
    network = (baseline_of(attributes, params) or {}).get("network_digest")  # older studies have not kept it
    return (
        (finished.folder / "config.yaml").read_text(encoding="utf-8") == winner.to_yaml()
        and card.provenance.dataset_digest == attributes.get(DATA, {}).get("digest")
        and network in (None, card.provenance.extractor_digest)
    )


def _write_trials(study: optuna.Study, folder: Path) -> None:
    write_text(folder / "trials.csv", _harmless(trials_table(study)).to_csv(index=False))


def _harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts that no spreadsheet takes for a formula."""
    return table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)


def remove_study_files(settings: StudySettings, layout: Layout) -> None:
    """Removes what a study left beside its storage; the winner's matcher stays until a new one takes its place."""
    shutil.rmtree(layout.study_dir(settings.study_name), ignore_errors=True)
    shutil.rmtree(unfinished_dir(layout, settings.study_name), ignore_errors=True)
