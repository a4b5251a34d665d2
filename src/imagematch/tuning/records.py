"""What a study notes on its trials beyond Optuna's own fields, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

PLACE = "place"
"""The trial's place in the plan, from 0: its seeds come from it, and a retry inherits it."""
POINT = "point"
"""Digest of the trial's point in the search space."""
DUPLICATE_OF = "duplicate_of"
"""Number of the earlier trial whose value a repeat copies."""
OVER_LIMIT = "over_limit"
"""Parameters of a trial that was not trained, because they are over `max_parameters`."""
RETRY_OF = "retry_of"
"""Number of the trial that was cut off and is done again."""
OWNER = "owner"
"""Who runs the trial, as `processes.this_process` names it."""
REASON = "reason"
"""Why a trial failed or was cut off, in words."""
BEST_EPOCH = "best_epoch"
"""Counted from 1; of folds, a list."""
EPOCHS = "epochs"
FIGURES = "figures"
"""The validation figures of the best epoch, the mean over the folds."""
FOLD_VALUES = "fold_values"
"""The objective of each fold; the trial's value is their mean."""
FOLD_SPREAD = "fold_spread"
"""Their standard deviation."""
PARAMETERS = "parameters"
SECONDS = "seconds"
NOTED = (BEST_EPOCH, EPOCHS, FIGURES, FOLD_VALUES, FOLD_SPREAD, PARAMETERS, SECONDS)
"""What a child tells of a finished trial, and the study keeps."""


def is_repeat(trial: FrozenTrial) -> bool:
    """True if the trial only copied the value of an earlier one."""
    return DUPLICATE_OF in trial.user_attrs


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count against the budget: COMPLETE or PRUNED, trained, and no repeats."""
    return [
        t
        for t in trials
        if t.state.name in ("COMPLETE", "PRUNED") and not is_repeat(t) and OVER_LIMIT not in t.user_attrs
    ]


def next_place(trials: Sequence[FrozenTrial]) -> int:
    """The first place in the plan that nobody has taken."""
    return 1 + max((t.user_attrs[PLACE] for t in trials if PLACE in t.user_attrs), default=-1)


def best_of(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The COMPLETE trials without repeats, the best in the first objective first; of equals, the earlier.

    Of two objectives, only the Pareto front: the trials that no other beats in one without being worse in the other.
    """
    signs = [-1.0 if direction.name == "MAXIMIZE" else 1.0 for direction in directions]

    def losses(trial: FrozenTrial) -> tuple[float, ...]:
        return tuple(sign * float(value) for sign, value in zip(signs, trial.values or (), strict=True))

    done = [t for t in counted(trials) if t.state.name == "COMPLETE" and t.values is not None]
    ranked = sorted(done, key=lambda t: (*losses(t), t.number))
    if len(signs) == 1:
        return ranked
    front: list[FrozenTrial] = []
    for trial in ranked:  # from the best in the first objective: only those before can be better in the second
        if all(any(a < b for a, b in zip(losses(trial), losses(other), strict=True)) for other in front):
            front.append(trial)
    return front


def values_text(values: Sequence[float]) -> str:
    """The objectives of a trial for people."""
    return " and ".join(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}" for value in values)
