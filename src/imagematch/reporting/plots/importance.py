"""Which setting mattered in a study, and whether its trials can tell: PED-ANOVA with its uncertainty.

PED-ANOVA compares where the best trials lie with where all of them do. It counts parameters that only some trials have,
which fANOVA cannot. Its shares add up to one whatever the trials are, so they say something only where they are larger
than those of the same trials with shuffled values.

Source: Watanabe, Bansal and Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces, IJCAI 2023.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import StudyError
from imagematch.reporting.numbers import count_text
from imagematch.reporting.plots.drawable import study_with_values, varying_parameters

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FEWEST_TRIALS = 10
_DRAWS = 40
_BEST_SHARE, _FEWEST_BEST = 0.1, 5
"""Which trials count as the best ones: a tenth, five at least."""

_LOW, _HIGH = 0.05, 0.95


@dataclass(frozen=True)
class Importance:
    """How much one parameter matters.

    Attributes:
        name: of the parameter.
        share: of all importance, 0 to 1.
        low, high: where the share lies in 90 % of redrawn sets of trials (bootstrap).
        by_chance: the share that 95 % of shuffled studies stay under.
    """

    name: str
    share: float
    low: float
    high: float
    by_chance: float

    @property
    def established(self) -> bool:
        """Whether the trials tell it from chance."""
        return self.low > self.by_chance


def importances(
    trials: Sequence[FrozenTrial], value_of: Callable[[FrozenTrial], float], *, maximise: bool, seed: int = 0
) -> list[Importance]:
    """The importance of each parameter that varies, the largest first.

    Args:
        trials: finished ones.
        value_of: what is explained: finite.
        maximise: whether larger values are better.
        seed: of the redrawn and the shuffled sets of trials.

    Raises:
        StudyError: fewer than ten trials, or no parameter varies.
    """
    trials = [trial for trial in trials if math.isfinite(value_of(trial))]
    if len(trials) < FEWEST_TRIALS:
        raise StudyError(
            f"{len(trials)} finished trials cannot tell which setting mattered: {FEWEST_TRIALS} are needed"
        )
    names = varying_parameters(trials)
    if not names:
        raise StudyError("no setting varies among the finished trials")
    values = np.array([value_of(trial) for trial in trials])
    losses = -values if maximise else values
    shares = _shares(trials, losses, names)
    random = np.random.default_rng(seed)
    redrawn, shuffled = [], []
    for _ in range(_DRAWS):
        rows = random.integers(0, len(trials), len(trials))
        redrawn.append(_shares([trials[row] for row in rows.tolist()], losses[rows], names))
        shuffled.append(_shares(trials, random.permutation(losses), names))
    low, high = np.quantile(redrawn, (_LOW, _HIGH), axis=0)
    chance = np.quantile(shuffled, _HIGH, axis=0)
    found = [
        Importance(name, *map(float, numbers)) for name, *numbers in zip(names, shares, low, high, chance, strict=True)
    ]
    return sorted(found, key=lambda one: -one.share)


def _shares(trials: Sequence[FrozenTrial], losses: np.ndarray, names: Sequence[str]) -> list[float]:
    """Each parameter's share; 0 of all where a set of trials tells none from another."""
    from optuna.importance import PedAnovaImportanceEvaluator

    quantile = max(_BEST_SHARE, _FEWEST_BEST / len(trials))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(
            study_with_values(trials, losses.tolist()), params=list(names)
        )
    total = sum(found.values())
    return [found.get(name, 0.0) / total if total > 0 else 0.0 for name in names]


def importance_sentence(found: Sequence[Importance], trials: int) -> str:
    """Which settings mattered, in a sentence; or that the trials cannot tell."""
    established = [one for one in found if one.established]
    if not established:
        return (
            f"{count_text(trials, 'finished trial')} cannot tell which setting mattered: with their values shuffled, "
            "the settings would seem as important."
        )
    names = ", ".join(
        f"{one.name} ({100 * one.share:.0f} %, {100 * one.low:.0f} to {100 * one.high:.0f})" for one in established
    )
    rest = len(found) - len(established)
    others = (
        ""
        if not rest
        else " Of the others the trials cannot tell."
        if rest > 1
        else " Of the other one the trials cannot tell."
    )
    return f"What the best trials have in common is {names}.{others}"
