"""From a study's dimensions to what Optuna suggests, and back."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from imagematch.config import CONDITIONS, Choices, Dimension, IntRange, StudySettings
from imagematch.files import digest_json

if TYPE_CHECKING:
    import optuna


def suggest(trial: optuna.Trial, study: StudySettings) -> dict[str, Any]:
    """The value of every field that counts; a field that the others make inactive is not suggested at all."""
    values: dict[str, Any] = {}
    for field in _conditions_first(study):
        dimension = study.space[field]
        if field in study.active({**values, field: dimension.ends[0]}):
            values[field] = dimension.canonical(_suggest_one(trial, field, dimension))
    return study.active(values)


def suggest_every(trial: optuna.Trial, study: StudySettings) -> dict[str, Any]:
    """A value for every field, whether it counts or not."""
    return {field: dim.canonical(_suggest_one(trial, field, dim)) for field, dim in study.space.items()}


def _conditions_first(study: StudySettings) -> list[str]:
    """The searched fields, each after those that decide whether it counts."""
    read = {name for condition in CONDITIONS.values() for name in condition.depends_on}

    def rank(field: str) -> int:
        return 0 if field not in CONDITIONS else 1 if field in read else 2

    return sorted(study.space, key=rank)


def _suggest_one(trial: optuna.Trial, field: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choices):
        return dimension.value_of(trial.suggest_categorical(field, dimension.labels))
    if isinstance(dimension, IntRange):
        last = dimension.low + dimension.step * (dimension.size - 1)
        return trial.suggest_int(field, dimension.low, last, step=dimension.step, log=dimension.log)
    if dimension.size is None:
        return trial.suggest_float(field, dimension.low, dimension.high, log=dimension.log)
    *_, last_float = dimension.values()
    return trial.suggest_float(field, dimension.low, last_float, step=dimension.step)


def config_digest(study: StudySettings, values: Mapping[str, Any]) -> str:
    """Digest of a configuration: equal for duplicates."""
    active = study.active(values)
    return digest_json({field: list(v) if isinstance(v, tuple) else v for field, v in active.items()})


def grid_labels(study: StudySettings) -> Iterator[dict[str, Any]]:
    """Every distinct configuration of a finite space once, as Optuna's parameters, inactive fields left out."""
    for values, counting in study.branches():
        for options in itertools.product(*(study.space[field].values() for field in counting)):
            yield labels_at(study, {**values, **dict(zip(counting, options, strict=True))})


def quasi_random_labels(study: StudySettings, index: int) -> dict[str, Any]:
    """Configuration `index` of a sequence that fills the space evenly, as `labels_at` gives it.

    Choices are dealt out as evenly as numbers are. Source: scrambled Sobol sequence, Owen, Scrambling Sobol and
    Niederreiter-Xing points, Journal of Complexity 14, 1998.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(study.space), rng=study.seed)
    if index:
        sequence.fast_forward(index)
    (unit,) = sequence.random(1)
    values = {field: study.space[field].at(float(u)) for field, u in zip(study.space, unit, strict=True)}
    return labels_at(study, values)


def labels_at(study: StudySettings, values: Mapping[str, Any], *, every: bool = False) -> dict[str, Any]:
    """A configuration as Optuna's parameters; inactive fields are left out, unless `every` one is wanted."""
    wanted = values if every else study.active(values)
    return {field: _label(study.space[field], value) for field, value in wanted.items()}


def labels_inside(study: StudySettings, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Those of Optuna's parameters that the search space has."""
    inside = {}
    for field, dimension in study.space.items():
        with contextlib.suppress(ValueError, TypeError):
            if field in labels and dimension.contains(study.values_of({field: labels[field]})[field]):
                inside[field] = labels[field]
    return inside


def _label(dimension: Dimension, value: Any) -> Any:
    return dimension.label_of(value) if isinstance(dimension, Choices) else value
