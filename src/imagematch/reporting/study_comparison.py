"""Two studies side by side: what they searched, what they reached, and whether their values can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imagematch.reporting.escaping import visible
from imagematch.reporting.studies import objective_name, ranked_trials, rerun_trials, winning_trial
from imagematch.tuning import attributes

if TYPE_CHECKING:
    import optuna


def compare_studies(studies: Sequence[optuna.Study]) -> dict[str, Any]:
    """What is known of each study, and how they differ, as a JSON object.

    Returns:
        `studies`: for each its `study`, `objective`, `finished` trials, the `baseline` (by extractor), the `best`
        value, the mean and number of the winner's reruns (`rerun_mean`, `reruns`; null without) and its `parameters`.
        `differences`: setting -> its value in each study, null where it has none. `comparable`: the same images,
        splits and objective; otherwise the values must not be compared.
    """
    settings = [_settings(study) for study in studies]
    keys = dict.fromkeys(key for one in settings for key in one)
    digests = {_attribute(study, attributes.DATA).get("digest") for study in studies}
    rows = [_row(study) for study in studies]
    return {
        "studies": rows,
        "differences": {
            key: [one.get(key) for one in settings] for key in keys if len({str(one.get(key)) for one in settings}) > 1
        },
        "comparable": len(digests) == 1 and None not in digests and len({row["objective"] for row in rows}) == 1,
    }


def comparison_lines(comparison: Mapping[str, Any]) -> list[str]:
    """The comparison in lines, one column a study."""
    rows = comparison["studies"]
    baselines = dict.fromkeys(name for row in rows for name in row["baseline"])
    parameters = dict.fromkeys(name for row in rows for name in row["parameters"])
    table = [
        ["study", *(row["study"] for row in rows)],
        ["objective", *(row["objective"] for row in rows)],
        ["finished trials", *(f"{row['finished']:,}" for row in rows)],
        *([f"baseline {name}", *(_number(row["baseline"].get(name)) for row in rows)] for name in baselines),
        ["best value", *(_number(row["best"]) for row in rows)],
        ["mean of its reruns", *(_reruns(row) for row in rows)],
        *([f"winner's {name}", *(str(row["parameters"].get(name, "-")) for row in rows)] for name in parameters),
        *(
            [f"setting {name}", *("-" if value is None else str(value) for value in values)]
            for name, values in comparison["differences"].items()
        ),
    ]
    shown = [[visible(cell, 40) for cell in row] for row in table]
    widths = [max(len(row[column]) for row in shown) for column in range(len(rows) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    if not comparison["comparable"]:
        lines.append("the studies used other images, splits or objectives: their values must not be compared")
    return lines


def _row(study: optuna.Study) -> dict[str, Any]:
    objective, winner = objective_name(study), winning_trial(study)
    ranked = ranked_trials(study)
    baselines = _attribute(study, attributes.BASELINE)
    values = [
        float(trial.values[0])
        for trial in rerun_trials(study)
        if winner is not None and trial.values and trial.user_attrs.get(attributes.RERUN_OF) == winner.number
    ]
    return {
        "study": study.study_name,
        "objective": objective,
        "finished": len(attributes.counted(study.get_trials(deepcopy=False))),
        "baseline": {
            str(name): metrics[objective]
            for name, metrics in baselines.items()
            if isinstance(metrics, Mapping) and isinstance(metrics.get(objective), int | float)
        },
        "best": ranked[0].values[0] if ranked and ranked[0].values else None,
        "rerun_mean": sum(values) / len(values) if values else None,
        "reruns": len(values),
        "parameters": {} if winner is None else dict(winner.params),
    }


def _settings(study: optuna.Study) -> dict[str, Any]:
    """What the study fixed and what it searched, by key."""
    definition = _attribute(study, attributes.DEFINITION)
    fixed, space = definition.get("fixed", {}), definition.get("space", {})
    return {**fixed, **{key: f"searched: {value}" for key, value in space.items()}}


def _attribute(study: optuna.Study, name: str) -> Mapping[str, Any]:
    stored = study.user_attrs.get(name)
    return stored if isinstance(stored, Mapping) else {}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _reruns(row: Mapping[str, Any]) -> str:
    return "-" if row["rerun_mean"] is None else f"{row['rerun_mean']:.4f} ({row['reruns']} seeds)"
