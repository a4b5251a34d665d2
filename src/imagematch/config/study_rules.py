"""What several keys of a study must agree on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from imagematch.config.conditions import in_stages
from imagematch.config.problems import Problem
from imagematch.config.rules import RULES, broken_rules, is_doubtful
from imagematch.config.study_settings import StudySettings
from imagematch.config.train_keys import CONDITIONS, DEFAULTS, KEYS, idle_reason, is_active

LARGEST_GRID = 100_000
"""The most configurations of a space that are listed one by one."""
_MAX_COMBINATIONS = 20_000


def broken_study_rules(
    study: StudySettings, keys: Mapping[str, str], doubtful: AbstractSet[str] = frozenset()
) -> Iterator[Problem]:
    """The rules that a study breaks.

    Args:
        study: its settings, each valid on its own.
        keys: train key -> the key that gave it (`dropout` -> `dropout_range`).
        doubtful: the fields whose given value is wrong, so that a default stands in its place: no rule about them
            counts.
    """
    certain = doubtful.isdisjoint
    if "val_loss" in study.objectives and certain(("objective",)):
        varying = [key for key in study.space if KEYS[key].changes_val_loss and study.space[key].size != 1]
        if varying:
            what = f"val_loss cannot rank trials between which {', '.join(varying)} varies"
            yield Problem("objective", what, "choose an objective that means the same in all, such as val_map_at_r")
    if study.sampler == "cmaes" and len(study.objectives) > 1 and certain(("sampler", "objective")):
        yield Problem("sampler", "sampler: cmaes searches for one objective", "use sampler: tpe, or name one objective")
    if study.study_name in study.start_from:
        what = f"start_from names the study itself, {study.study_name}"
        yield Problem("start_from", what, "leave it out: --resume and --extend keep a study's trials")
    endless = [key for key, dimension in study.space.items() if dimension.size is None]
    if study.sampler == "grid" and endless and certain(("sampler",)):
        what = f"sampler: grid needs a finite space, and {', '.join(endless)} may be any number"
        yield Problem("sampler", what, "give a step, or a grid")
    by_rule = certain(("pruner", "folds", "lr_schedule", "stages")) and _by_hyperrule(study)
    if study.pruner == "hyperband" and study.folds == 1 and by_rule:
        what = "pruner: hyperband needs the length of trainings, which lr_schedule: bit_hyperrule takes from the images"
        yield Problem("pruner", what, "use pruner: asha or median")
    size = study.grid_points if study.sampler == "grid" and not doubtful else None
    if size is not None and size > LARGEST_GRID:
        what = f"sampler: grid lists every point, at most {LARGEST_GRID:,}, and here are {size:,}"
        yield Problem("sampler", what, "use sampler: qmc, which spreads over the space, or give fewer values")
    for problem in _broken_by_trials(study, doubtful):
        yield Problem(keys.get(problem.key, problem.key), problem.what, problem.do)


def _by_hyperrule(study: StudySettings) -> bool:
    """Whether some trial, or a stage of one, trains by the BiT-HyperRule."""

    def options(key: str) -> tuple[Any, ...]:
        return study.space[key].ends if key in study.space else ({**DEFAULTS, **study.fixed}[key],)

    return any(
        "bit_hyperrule" in in_stages("lr_schedule", {"stages": stages, "lr_schedule": schedule})
        for stages in options("stages")
        for schedule in options("lr_schedule")
    )


def _broken_by_trials(study: StudySettings, doubtful: AbstractSet[str]) -> list[Problem]:
    """The rules of a train file that some trial would break; of ranges the two ends are tried."""
    of_conditions = (condition.depends_on for condition in CONDITIONS.values())
    read = {"stages", "trainable"}.union(*of_conditions, *(reads for _, reads in RULES))
    varied = [key for key in study.space if key in read]
    first = {key: dimension.ends[0] for key, dimension in study.space.items()}
    searched = (*study.fixed, *study.space)
    idle = {key for key in searched if key in CONDITIONS and not is_doubtful(key, doubtful) and _given(study, key)}
    explicit = {"trainable"} & {*study.fixed, *study.space}
    why: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    combinations = itertools.product(*(study.space[key].ends for key in varied))
    for combination in itertools.islice(combinations, _MAX_COMBINATIONS):
        values: dict[str, Any] = {**DEFAULTS, **study.fixed, **first, **dict(zip(varied, combination, strict=True))}
        values["objective"] = "val_loss" if "val_loss" in study.objectives else study.objectives[0]
        for key in list(idle):
            what = idle_reason(key, values)
            if what is None:
                idle.discard(key)
            else:
                why.setdefault(key, what)
        counting = {key: value if is_active(key, values) else DEFAULTS[key] for key, value in values.items()}
        for problem in broken_rules(counting, explicit, doubtful):
            problems.setdefault(problem.key, problem)
    return [*(Problem(key, why[key]) for key in sorted(idle)), *problems.values()]


def _given(study: StudySettings, key: str) -> bool:
    return key in study.space or study.fixed[key] not in (None, DEFAULTS[key])
