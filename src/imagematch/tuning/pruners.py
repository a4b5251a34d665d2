"""Pruners by name; successive halving decides the same in a study that was cut off and resumed."""

from __future__ import annotations

import binascii
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import BasePruner, MedianPruner, NopPruner

from imagematch.config import StudySettings
from imagematch.tuning.attributes import TRIAL_INDEX

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_STARTUP_TRIALS = 5
_WARMUP_EPOCHS = 5
_WARMUP_FOLDS = 1


def make_pruner(name: str, *, longest: int, folds: int = 1) -> BasePruner:
    """The pruner; the first trials, and the first epochs (or the first fold) of each, are never pruned.

    Args:
        name: `median`, `asha`, `hyperband` or `none`.
        longest: the most epochs that a trial may have.
        folds: where it is over 1, the steps of a trial are its folds.
    """
    if name == "median":
        if folds > 1:
            return FoldMedian()
        return MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_WARMUP_EPOCHS)
    first = _WARMUP_FOLDS + 1 if folds > 1 else _WARMUP_EPOCHS
    if name == "asha":
        return Halving(first, factor=2 if folds > 1 else 4)
    if name == "hyperband":
        return Halving(first, factor=2 if folds > 1 else 3, longest=folds if folds > 1 else longest)
    return NopPruner()


def longest_training(settings: StudySettings) -> int:
    """The most epochs that the fields of a trial of this study ask for, all stages together.

    The BiT-HyperRule goes by the images instead: no pruner that needs this goes with it.
    """
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    varied = [field for field in ("epochs", "stages") if field in settings.space]
    return max(
        sum(
            stage.epochs
            for stage in settings.settings_for({**first, **dict(zip(varied, ends, strict=True))}).stage_settings
        )
        for ends in itertools.product(*(settings.space[field].ends for field in varied))
    )


class FoldMedian(BasePruner):
    """Prunes a trial whose mean over its folds so far is worse than the median of the others' at the same fold.

    Optuna's own median pruner goes by a trial's best step, and among folds that is an easy fold, not a good trial.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        step = trial.last_step
        if step is None or step <= _WARMUP_FOLDS:
            return False
        others = [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]
        values = [t.intermediate_values[step] for t in others if step in t.intermediate_values]
        if len(values) < _STARTUP_TRIALS:
            return False
        sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
        return bool(sign * trial.intermediate_values[step] < sign * np.median(values))


class Halving(BasePruner):
    """Prunes at the steps `first` x `factor`^k a trial that is not among the best 1 / `factor` that came so far.

    Decides as Optuna's SuccessiveHalvingPruner (one bracket) and HyperbandPruner (several, of which bracket b skips the
    first b of those steps). Those go by what they store on trials and by their numbers, so a trial that was cut off and
    trained again under another number counts twice, and moves all later ones to other brackets. Here only the reported
    values of trials that did not fail count, and a trial's bracket comes from its index in the plan.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020, algorithm 2 (ASHA); Li et al.,
    Hyperband, 2018, algorithm 1.

    Args:
        first: the earliest step at which a trial may be pruned.
        factor: at least 2.
        longest: the last step there can be; with it there are as many brackets as Hyperband has, without it one.
    """

    def __init__(self, first: int, factor: int, longest: int | None = None) -> None:
        self._first, self._factor = first, factor
        brackets = 1
        while longest is not None and first * factor**brackets <= longest:
            brackets += 1
        shares = [math.ceil(brackets * factor**left / (left + 1)) for left in reversed(range(brackets))]
        self._bracket_of_share = [bracket for bracket, share in enumerate(shares) for _ in range(share)]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        step, bracket = trial.last_step, self._bracket(study, trial)
        if step is None or not self._halves_at(step, bracket):
            return False
        value = trial.intermediate_values[step]
        if math.isnan(value):
            return True
        rivals = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if step in other.intermediate_values
            and other.number != trial.number
            and other.state.name != "FAIL"
            and self._bracket(study, other) == bracket
        ]
        sign = -1.0 if study.direction.name == "MAXIMIZE" else 1.0
        losses = sorted(sign * one for one in (value, *rivals) if not math.isnan(one))
        return sign * value > losses[max(1, len(losses) // self._factor) - 1]

    def _halves_at(self, step: int, bracket: int) -> bool:
        rung = self._first * self._factor**bracket
        while rung < step:
            rung *= self._factor
        return rung == step

    def _bracket(self, study: optuna.Study, trial: FrozenTrial) -> int:
        index = trial.user_attrs.get(TRIAL_INDEX, trial.number)
        draw = binascii.crc32(f"{study.study_name}_{index}".encode())
        return self._bracket_of_share[draw % len(self._bracket_of_share)]
