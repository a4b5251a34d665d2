"""Which setting mattered in a study, and whether its trials can tell: PED-ANOVA with its uncertainty.

PED-ANOVA compares where the best trials lie with where all of them do. It counts parameters that only some trials have,
which fANOVA cannot. Some importance comes out whatever the trials are, so a parameter's says something only where it is
larger than that of the same trials with shuffled values.

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
from imagematch.reporting.plots.drawable import RevaluedStudy, varying_parameters

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
        share: of the importance of all parameters, 0 to 1.
        low, high: where the importance lies in 90 % of redrawn sets of trials (bootstrap), in the same unit.
        by_chance: what it stays under in 95 % of studies with shuffled values, in the same unit.
    """

    name: str
    share: float
    low: float
    high: float
    by_chance: float

    @property
    def established(self) -> bool:
        """Whether the trials tell it from chance."""
        return min(self.share, self.low) > self.by_chance


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
            f"{count_text(len(trials), 'finished trial')} cannot tell which setting mattered: it takes {FEWEST_TRIALS}"
        )
    names = varying_parameters(trials)
    if not names:
        raise StudyError("no setting varies among the finished trials")
    values = np.array([value_of(trial) for trial in trials])
    losses = -values if maximise else values
    studies = RevaluedStudy()
    measured = _divergences(studies, trials, losses, names)
    random = np.random.default_rng(seed)
    redrawn, shuffled = [], []
    for _ in range(_DRAWS):
        rows = random.integers(0, len(trials), len(trials))
        redrawn.append(_divergences(studies, [trials[row] for row in rows.tolist()], losses[rows], names))
        shuffled.append(_divergences(studies, trials, random.permutation(losses), names))
    low, high = np.quantile(redrawn, (_LOW, _HIGH), axis=0)
    chance = np.quantile(shuffled, _HIGH, axis=0)
    total = measured.sum() or 1.0
    found = [
        Importance(name, *map(float, numbers))
        for name, *numbers in zip(names, *(one / total for one in (measured, low, high, chance)), strict=True)
    ]
    return sorted(found, key=lambda one: -one.share)


def _divergences(
    studies: RevaluedStudy, trials: Sequence[FrozenTrial], losses: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """How far the best trials' distribution of each parameter is from that of all: (parameters,)."""
    from optuna.importance import PedAnovaImportanceEvaluator

    quantile = max(_BEST_SHARE, _FEWEST_BEST / len(trials))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = studies.of(trials, losses.tolist())
        found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, params=list(names))
    return np.array([found.get(name, 0.0) for name in names])


def importance_sentence(found: Sequence[Importance], trials: int) -> str:
    """Which settings mattered, in a sentence; or that the trials cannot tell."""
    established = [one for one in found if one.established]
    if not established:
        return (
            f"{count_text(trials, 'finished trial')} cannot tell which setting mattered: with their values shuffled, "
            "the settings would seem as important."
        )
    names = ", ".join(f"{one.name} ({100 * one.share:.0f} % of the importance)" for one in established)
    others = " The trials cannot tell whether the others matter." if len(found) > len(established) else ""
    return f"What mattered: {names}.{others}"
