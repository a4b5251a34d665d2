"""A study from its settings to the winner: search, repeated runs, best configuration, trained matcher, report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import Choices, StudySettings, TrainSettings
from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout, write_text
from imagematch.pipeline.train import TrainedMatcher, finished_training, run_training, unfinished_dir
from imagematch.reporting import cell, write_study_report
from imagematch.training import StopRequest
from imagematch.tuning import Search, open_study, owned, rank_again, records
from imagematch.tuning.locks import long_lock, storage_of
from imagematch.tuning.refusals import storage_errors
from imagematch.tuning.study import BASELINE, DATA, NETWORK_PARAMETERS, storage_url

if TYPE_CHECKING:
    import optuna
    import pandas as pd


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
    with storage_errors(url):
        study = open_study(settings, layout, log=log, stop=stop)
    with owned(study, layout, stop):
        threads = None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
        with Search(study, settings, layout=layout, log=log, stop=stop, workers=workers, threads=threads) as search:
            with storage_errors(url):
                try:
                    _measure_baseline(study, search, settings, log)
                    search.run()
                finally:
                    _write_trials(study, folder)
                # of several processes, one runs the best again, and one of each machine trains the winner
                with long_lock(storage_of(study), name, folder / ".rerun.lock", stop):
                    winner = _winner(study, search, settings, folder, log)
            with long_lock(None, name, folder / ".finish.lock", stop):
                best_config = folder / "best_config.yaml"
                write_text(best_config, winner.to_yaml())
                log.event("best_config", f"best configuration: {best_config}", path=str(best_config))
                matcher = _trained_winner(winner, layout, log, stop)
                with storage_errors(url):
                    _write_trials(study, folder)
                write_study_report(folder / "report.html", study, matcher.metrics)
    return FinishedStudy(winner, best_config, matcher)


def _measure_baseline(study: optuna.Study, search: Search, settings: StudySettings, log: RunLog) -> None:
    """Measures each frozen extractor of the search alone, once, and keeps the figures with the study."""
    kept: dict[str, Any] = dict(study.user_attrs.get(BASELINE, {}))
    for extractor, values in _extractors(settings).items():
        if extractor in kept:
            continue
        task = {
            "task": "baseline",
            "folds": settings.folds,
            "objectives": settings.objectives,
            "limited": settings.max_parameters is not None,
            "settings": settings.settings_for(values).model_dump(mode="json", exclude_unset=True),
        }
        ((_, answer),) = search.call_all([task])
        if answer["event"] == "failed":
            raise StudyError(f"the baseline cannot be measured: {answer['reason']}", where=settings.study_name)
        kept[extractor] = {**answer["figures"], "extraction_s": answer["extraction_s"]}
        if answer["network_parameters"] is not None:
            sizes = study.user_attrs.get(NETWORK_PARAMETERS, {})
            study.set_user_attr(NETWORK_PARAMETERS, {**sizes, extractor: answer["network_parameters"]})
        study.set_user_attr(BASELINE, kept)
        study.set_user_attr(DATA, answer["dataset"])
        log.event("baseline", _baseline_line(extractor, answer), extractor=extractor, **answer["figures"])


def _extractors(settings: StudySettings) -> dict[str, dict[str, Any]]:
    """Extractor, as the study labels it -> the first point of the search space that uses it."""
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    options = settings.space.get("feature_extractor") or Choices((settings.settings_for(first).feature_extractor,))
    assert isinstance(options, Choices)
    return {
        str(label): first | ({"feature_extractor": option} if "feature_extractor" in first else {})
        for label, option in zip(options.labels, options.options, strict=True)
    }


def _baseline_line(extractor: str, answer: Mapping[str, Any]) -> str:
    figures = answer["figures"]
    return (
        f"baseline ({extractor} without a head): val_roc_auc {figures['val_roc_auc']:.4f}, "
        f"val_map_at_r {figures['val_map_at_r']:.4f}"
    )


def _winner(study: optuna.Study, search: Search, settings: StudySettings, folder: Path, log: RunLog) -> TrainSettings:
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
    return search.plan.settings_of(values, best.user_attrs[records.PLACE])


def _trained_winner(winner: TrainSettings, layout: Layout, log: RunLog, stop: StopRequest) -> TrainedMatcher:
    """The winner, trained as the study's experiment; a matcher of the same configuration is not trained again."""
    finished = finished_training(layout, winner.experiment_name)
    if finished is not None and (finished.folder / "config.yaml").read_text(encoding="utf-8") == winner.to_yaml():
        return finished
    log.say(f"training the winner as {winner.experiment_name}")
    return run_training(winner, layout, discard_unfit=True, log=log, stop=stop)


def _write_trials(study: optuna.Study, folder: Path) -> None:
    write_text(folder / "trials.csv", _harmless(records.trials_table(study)).to_csv(index=False))


def _harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts that no spreadsheet takes for a formula."""
    return table.map(lambda value: cell(value) if isinstance(value, str) else value)


def remove_study_files(settings: StudySettings, layout: Layout) -> None:
    """Removes what a study left beside its storage; the winner's matcher stays until a new one takes its place."""
    shutil.rmtree(layout.study_dir(settings.study_name), ignore_errors=True)
    shutil.rmtree(unfinished_dir(layout, settings.study_name), ignore_errors=True)
