"""What the parts of a study must keep to together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from imagematch.config.conditions import CONDITIONS, is_active, refusal
from imagematch.config.loss_fields import OPTION_FIELDS
from imagematch.config.problems import Problem
from imagematch.config.rules import RULE_FIELDS, broken_rules
from imagematch.config.study_settings import LARGEST_GRID, StudySettings
from imagematch.config.train_fields import DEFAULTS

_FORMULA = tuple(field for field in OPTION_FIELDS if field != "proxy_rate")  # which is how fast it learns, not what
_CHANGE_VAL_LOSS = ("loss", *_FORMULA, "batch_classes", "batch_images", "batch_size")
_MAX_COMBINATIONS = 20_000


def broken_study_rules(study: StudySettings, keys: Mapping[str, str]) -> Iterator[Problem]:
    """The rules that a study breaks.

    Args:
        study: its settings, each valid on its own.
        keys: field -> the key that gave it (`dropout` -> `dropout_range`).
    """
    if "val_loss" in study.objectives:
        varying = [field for field in study.space if field in _CHANGE_VAL_LOSS and study.space[field].size != 1]
        if varying:
            what = f"val_loss cannot rank trials between which {', '.join(varying)} varies"
            yield Problem("objective", what, "choose an objective that means the same in all, such as val_map_at_r")
    if study.sampler == "cmaes" and len(study.objectives) > 1:
        yield Problem("sampler", "sampler: cmaes searches for one objective", "use sampler: tpe, or name one objective")
    endless = [field for field, dimension in study.space.items() if dimension.size is None]
    if study.sampler == "grid" and endless:
        what = f"sampler: grid needs a finite space, and {', '.join(endless)} may be any number"
        yield Problem("sampler", what, "give a step, or a grid")
    if study.effective_pruner == "hyperband" and study.folds == 1 and _by_hyperrule(study):
        what = "pruner: hyperband needs the length of trainings, which lr_schedule: bit_hyperrule takes from the images"
        yield Problem("pruner", what, "use pruner: asha or median")
    points = study.grid_points if study.sampler == "grid" else None
    if points is not None and points > LARGEST_GRID:
        what = f"sampler: grid lists every point, at most {LARGEST_GRID:,}, and here are {points:,}"
        yield Problem("sampler", what, "use sampler: qmc, which spreads over the space, or give fewer values")
    for problem in _broken_by_trials(study):
        yield Problem(keys.get(problem.key, problem.key), problem.what, problem.do)


def _by_hyperrule(study: StudySettings) -> bool:
    """Whether some trial, or a stage of one, trains by the BiT-HyperRule."""

    def options(field: str) -> tuple[Any, ...]:
        return study.space[field].ends if field in study.space else ({**DEFAULTS, **study.fixed}[field],)

    return any(
        "bit_hyperrule" in ([stage.get("lr_schedule", schedule) for stage in stages] or [schedule])
        for stages in options("stages")
        for schedule in options("lr_schedule")
    )


def _broken_by_trials(study: StudySettings) -> list[Problem]:
    """The rules of a train file that some trial would break; of ranges the two ends are tried."""
    read = {*RULE_FIELDS, *itertools.chain.from_iterable(condition.depends_on for condition in CONDITIONS.values())}
    varied = [field for field in study.space if field in read]
    first = {field: dimension.ends[0] for field, dimension in study.space.items()}
    idle = {field for field in (*study.fixed, *study.space) if field in CONDITIONS and _given(study, field)}
    explicit = {"trainable"} & {*study.fixed, *study.space}
    why: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    combinations = itertools.product(*(study.space[field].ends for field in varied))
    for combination in itertools.islice(combinations, _MAX_COMBINATIONS):
        values: dict[str, Any] = {**DEFAULTS, **study.fixed, **first, **dict(zip(varied, combination, strict=True))}
        values["objective"] = "val_loss" if "val_loss" in study.objectives else study.objectives[0]
        for field in list(idle):
            what = refusal(field, values)
            if what is None:
                idle.discard(field)
            else:
                why.setdefault(field, what)
        counting = {field: value if is_active(field, values) else DEFAULTS[field] for field, value in values.items()}
        for problem in broken_rules(counting, given=explicit):
            problems.setdefault(problem.key, problem)
    return [*(Problem(field, why[field]) for field in sorted(idle)), *problems.values()]


def _given(study: StudySettings, field: str) -> bool:
    return field in study.space or study.fixed[field] is not None
