"""Successive halving that a cut-off study resumes as if nothing had been."""

from __future__ import annotations

import binascii
import math
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner

from imagematch.tuning.records import PLACE

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Halving(BasePruner):
    """Prunes at the steps `first` x `factor`^k a trial that is not among the best 1 / `factor` that came so far.

    Decides as Optuna's SuccessiveHalvingPruner (one bracket) and HyperbandPruner (several, of which bracket b skips the
    first b of those steps). Those go by what they note on trials and by their numbers, so a trial that was cut off and
    is done again under another number counts twice, and moves all later ones to other brackets. Here only the reported
    values of trials that did not fail count, and a trial's bracket comes from its place in the plan.

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
        place = trial.user_attrs.get(PLACE, trial.number)
        draw = binascii.crc32(f"{study.study_name}_{place}".encode())
        return self._bracket_of_share[draw % len(self._bracket_of_share)]
