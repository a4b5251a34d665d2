"""What a study comes to, in sentences by the rules of docs/reports.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import StudyError
from imagematch.reporting.escaping import visible
from imagematch.reporting.numbers import count_text, number_text
from imagematch.reporting.plots import StudyPlots, importance_sentence
from imagematch.reporting.studies import objective_name, ranked_trials, rerun_trials, winning_trial
from imagematch.reporting.tables.study import shown_value
from imagematch.tuning import attributes, baseline_value, rerun_values

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_LATE = 0.75
_FEWEST_FOR_PROGRESS = 8


def winner_text(study: optuna.Study) -> str:
    """The winner: its trial and settings, its mean over other seeds, its value in the search, and the baseline."""
    winner = winning_trial(study)
    if winner is None or winner.values is None:
        return "No trial is finished yet."
    settings = ", ".join(f"{visible(name)} {shown_value(value)}" for name, value in winner.params.items())
    value = number_text(float(winner.values[0]))
    runs = rerun_values(rerun_trials(study), study.user_attrs.get(attributes.COMPARED)).get(winner.number)
    measured = f"{objective_name(study)} {value} in the search"
    if runs:
        mean = number_text(float(np.mean(runs)))
        measured = (
            f"{objective_name(study)} {mean} by mean of {count_text(len(runs), 'other seed')}, {value} in the search"
        )
    baseline = baseline_value(study.user_attrs, winner.params)
    alone = "" if baseline is None else f"; the frozen extractor alone {number_text(baseline)}"
    return f"Winner: trial {winner.number}{f' ({settings})' if settings else ''}, {measured}{alone}."


def importance_text(plots: StudyPlots) -> str:
    """Which settings mattered, or why the trials cannot tell."""
    try:
        return importance_sentence(plots.important, plots.finished)
    except StudyError as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}."


def study_steps(study: optuna.Study) -> list[str]:
    """What to do next: more trials or not, a wider search, failed trials; empty where no rule applies."""
    steps = []
    trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials if trial.state.name == "FAIL" and attributes.OVER_LIMIT not in trial.user_attrs]
    if failed:
        steps.append(f"{count_text(len(failed), 'trial')} failed: the reasons stand below.")
    trained = [trial for trial in trials if trial.state.is_finished() and not attributes.is_duplicate(trial)]
    ranked, winner = ranked_trials(study), winning_trial(study)
    if winner is None:
        return [*steps, "Finish a trial: raise n_trials, or mend what made them fail."]
    if len(study.directions) == 1:
        before = sum(trial.number <= ranked[0].number for trial in trained)
        if len(trained) < _FEWEST_FOR_PROGRESS or before > _LATE * len(trained):
            steps.append(
                f"The best of {count_text(len(trained), 'trial')} was number {before}: more trials may find a better "
                "one, so raise n_trials and resume."
            )
        elif before <= len(trained) / 2:
            steps.append(
                f"The last {len(trained) - before} of {count_text(len(trained), 'trial')} found nothing better: more "
                "of them will bring little."
            )
    for name, value in winner.params.items():
        if _at_an_end(winner, name):
            won = f"{visible(name)} won at {shown_value(value)}"
            steps.append(f"{won}, an end of what was searched: search beyond it with --extend.")
    return steps


def _at_an_end(trial: FrozenTrial, name: str) -> bool:
    """Whether a number is the smallest (not 0) or largest that was searched."""
    kind, value = trial.distributions[name], trial.params[name]
    choices = getattr(kind, "choices", None)
    ends = (kind.low, kind.high) if hasattr(kind, "low") else choices  # type: ignore[attr-defined]
    if ends is None or len(ends) < 2 or not all(isinstance(end, (int, float)) for end in (*ends, value)):
        return False
    if any(isinstance(end, bool) for end in ends):
        return False
    return value == max(ends) or (value == min(ends) and value != 0)


def feature_store_text(study: optuna.Study) -> str:
    """What caching the features saved, in a sentence; empty where it was not measured.

    What all of them cost is not known where some were cached before the study.
    """
    baselines, data = study.user_attrs.get(attributes.BASELINE), study.user_attrs.get(attributes.DATA)
    if not isinstance(baselines, Mapping) or not isinstance(data, Mapping):
        return ""
    measured = [f for f in baselines.values() if isinstance(f, Mapping) and f.get("extraction_s")]
    trained = [t for t in study.get_trials(deepcopy=False) if attributes.SECONDS in t.user_attrs]
    if not measured or len(trained) < 2 or any("images_through_network" not in f for f in measured):
        return ""
    images, computed = int(data.get("images", 0)), [int(f["images_through_network"]) for f in measured]
    seconds = sum(float(f["extraction_s"]) for f in measured)
    if not any(computed):
        return (
            f"The features were cached before the study, and used by {len(trained):,} trials: "
            "no image went through the network."
        )
    if min(computed) < images:
        return (
            f"{sum(computed):,} of {images * len(measured):,} images went through the network, in {seconds:,.1f} s: "
            f"the features of the others were cached, or are those of identical files. "
            f"{len(trained):,} trials used them."
        )
    saved = seconds / len(measured) * len(trained) - seconds
    return (
        f"The features were computed once, in {seconds:,.1f} s, and used by {len(trained):,} trials: computing "
        f"them in every trial would have taken about {max(saved, 0.0):,.0f} s more."
    )


def data_text(study: optuna.Study) -> str:
    """What the study was run on, in a sentence; empty where it was not stored."""
    data = study.user_attrs.get(attributes.DATA)
    if not isinstance(data, Mapping):
        return ""
    splits = data.get("splits") if isinstance(data.get("splits"), Mapping) else {}
    counts = ", ".join(f"{visible(name)} {split.get('images', 0):,}" for name, split in (splits or {}).items())
    return (
        f"Data: {visible(data.get('dataset', 'unknown'))}, {int(data.get('images', 0)):,} images of "
        f"{int(data.get('classes', 0)):,} classes, split by {visible(data.get('split_by', 'unknown'))} ({counts})."
    )
