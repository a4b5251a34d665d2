"""A study in tables: trials, the best configuration, unfinished trials with the reason, reruns, time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.errors import StudyError
from imagematch.reporting.escaping import visible
from imagematch.reporting.numbers import interval_text, t_interval
from imagematch.reporting.studies import (
    maximises,
    objective_name,
    ranked_trials,
    rerun_trials,
    trial_seconds,
    what_happened,
    winning_trial,
)
from imagematch.tuning import attributes, baseline_value, parameter_column, rerun_values

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial


def trials_overview(study: optuna.Study) -> pd.DataFrame:
    """One row a trial, the best first, then pruned, running, failed and waiting ones: values, parameters, outcome."""
    import pandas as pd

    states = {"COMPLETE": 0, "PRUNED": 1, "RUNNING": 2, "FAIL": 3, "WAITING": 4}
    sign = -1.0 if maximises(study) else 1.0
    of_study, trials = study.user_attrs, study.get_trials(deepcopy=False)

    def rank(trial: FrozenTrial) -> tuple[int, bool, float, int]:
        value = trial.values[0] if trial.state.name == "COMPLETE" and trial.values else 0.0
        return states.get(trial.state.name, 5), attributes.is_duplicate(trial), sign * float(value), trial.number

    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    names = [objective_name(study, number) for number in range(len(study.directions))]
    rows = []
    for trial in sorted(trials, key=rank):
        stored = trial.user_attrs
        complete = trial.values if trial.state.name == "COMPLETE" else None
        before: dict[str, Any] = {"trial": str(trial.number), "state": trial.state.name.lower()}
        before |= {
            name: None if complete is None else float(complete[objective]) for objective, name in enumerate(names)
        }
        before |= {"baseline": baseline_value(of_study, trial.params)}
        after = {
            "spread over folds": shown_value(stored.get(attributes.FOLD_SPREAD)),
            "best epoch": _text(stored.get(attributes.BEST_EPOCH)),
            "trained epochs": _text(stored.get(attributes.EPOCHS)),
            "seconds": _seconds_text(trial),
            "what happened": what_happened(trial),
        }
        shown_columns = {*before, *after}
        params = {visible(parameter_column(n, shown_columns)): shown_value(trial.params.get(n)) for n in parameters}
        rows.append({**before, **params, **after})
    frame = pd.DataFrame(rows)
    return frame[[name for name in frame.columns if name in names or not _empty(frame[name])]]


def _empty(column: pd.Series) -> bool:
    return bool(column.map(lambda value: value is None or value in ("", "–")).all())


def _text(value: Any) -> str:
    return "" if value is None else visible(value)


def shown_value(value: Any) -> str:
    """A setting for people: numbers to six digits, texts as they were written."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else visible(value if isinstance(value, str) else json.dumps(value, default=str))


def _seconds_text(trial: FrozenTrial) -> str:
    seconds = trial_seconds(trial)
    return "" if math.isnan(seconds) or trial.state.name in ("WAITING", "RUNNING") else f"{seconds:,.1f}"


def unfinished_trials(study: optuna.Study) -> pd.DataFrame:
    """The pruned, failed, duplicate and retried trials, with the reason."""
    import pandas as pd

    rows = [
        {
            "trial": str(trial.number),
            "state": trial.state.name.lower(),
            "why": why,
            "parameters": _parameters_text(trial),
        }
        for trial in study.get_trials(deepcopy=False)
        if (why := what_happened(trial))
    ]
    return pd.DataFrame(rows)


def _parameters_text(trial: FrozenTrial) -> str:
    return visible(", ".join(f"{name} {shown_value(value)}" for name, value in trial.params.items()), 160)


def best_configuration(study: optuna.Study) -> pd.DataFrame:
    """The winner's searched fields, and those that all trials share. Empty where no trial is complete."""
    import pandas as pd

    winner = winning_trial(study)
    if winner is None:
        return pd.DataFrame()
    rows = [
        {"field": visible(name), "value": shown_value(value), "why": "searched"}
        for name, value in winner.params.items()
    ]
    definition = study.user_attrs.get(attributes.DEFINITION)
    fixed = definition.get("fixed") if isinstance(definition, Mapping) else None
    if isinstance(fixed, Mapping):
        rows += [{"field": visible(name), "value": shown_value(value), "why": "fixed"} for name, value in fixed.items()]
    return pd.DataFrame(rows)


def front_table(study: optuna.Study) -> pd.DataFrame:
    """The Pareto front, the best in the first objective first: its trials, their objectives and parameters.

    Raises:
        StudyError: the study has one objective.
    """
    import pandas as pd

    if len(study.directions) == 1:
        raise StudyError("the study has one objective")
    names = [objective_name(study, number) for number in range(len(study.directions))]
    return pd.DataFrame(
        [
            {
                "trial": str(trial.number),
                **dict(zip(names, map(float, trial.values or ()), strict=True)),
                "parameters of the trial": _parameters_text(trial),
            }
            for trial in ranked_trials(study)
        ]
    )


def baseline_table(study: optuna.Study) -> pd.DataFrame:
    """The validation metrics of each frozen extractor alone, at each of its image sizes and weights."""
    import pandas as pd

    baselines = study.user_attrs.get(attributes.BASELINE)
    if not isinstance(baselines, Mapping):
        return pd.DataFrame()
    rows = [
        {
            "extractor": visible(name),
            **{visible(key): value for key, value in metrics.items() if _is_metric(key, value)},
        }
        for name, metrics in baselines.items()
        if isinstance(metrics, Mapping)
    ]
    return pd.DataFrame(rows)


def _is_metric(name: str, value: Any) -> bool:
    return isinstance(value, (int, float)) and name.startswith("val_")


def reruns_table(study: optuna.Study) -> pd.DataFrame:
    """The best trials, rerun with other seeds, those that the winner was chosen from, the best mean first.

    Columns: trial, in the search, seeds, mean, spread (standard deviation), optimism (how much better the search made
    it look), above baseline (mean of the runs' differences to the frozen extractor alone) and its 95 % interval (t).
    """
    import pandas as pd

    runs = rerun_values(rerun_trials(study), study.user_attrs.get(attributes.COMPARED))
    sign = 1.0 if maximises(study) else -1.0
    of_study, trials = study.user_attrs, study.get_trials(deepcopy=False)
    rows = []
    for number, values in sorted(runs.items(), key=lambda item: -sign * float(np.mean(item[1]))):
        found = trials[number].values if number < len(trials) else None
        if not found:
            continue
        first = float(found[0])
        mean = float(np.mean(values))
        baseline = baseline_value(of_study, trials[number].params)
        rows.append(
            {
                "trial": str(number),
                "in the search": first,
                "other seeds": ", ".join(f"{value:.4f}" for value in values),
                "mean": mean,
                "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "optimism of the search": sign * (first - mean),
                "better than baseline by": None if baseline is None else sign * (mean - baseline),
                "its 95 % interval": ""
                if baseline is None
                else interval_text(t_interval([sign * (v - baseline) for v in values])),
            }
        )
    return pd.DataFrame(rows)


def time_table(study: optuna.Study) -> pd.DataFrame:
    """Seconds of all trials together and of the median one, by part."""
    import pandas as pd

    parts: dict[str, list[float]] = {}
    for trial in study.get_trials(deepcopy=False):
        seconds = trial.user_attrs.get(attributes.SECONDS)
        if isinstance(seconds, Mapping):
            for name, value in seconds.items():
                parts.setdefault(str(name), []).append(float(value))
    rows = [
        {
            "part": visible(name),
            "all trials (s)": f"{np.sum(values):,.2f}",
            "median trial (s)": f"{np.median(values):,.2f}",
        }
        for name, values in sorted(parts.items(), key=lambda item: item[0] == "total")
    ]
    return pd.DataFrame(rows)
