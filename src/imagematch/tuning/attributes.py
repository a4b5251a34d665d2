"""What a study stores on itself and on its trials beyond Optuna's own fields: names, kinds, and reading.

The stored names are those of version 0.1, so that its studies resume; the constants say what they mean.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

# ---- of a trial

TRIAL_INDEX = "place"
"""The trial's index in the plan, from 0: its seeds come from it, and a retry inherits it."""
CONFIG_DIGEST = "point"
"""Digest of the trial's configuration: equal for duplicates."""
DUPLICATE_OF = "duplicate_of"
"""Number of the earlier trial whose value a duplicate copies."""
OVER_LIMIT = "over_limit"
"""Parameters of a trial that was not trained, because they are over `max_parameters`."""
OUTSIDE = "outside"
"""The values of a trial that the space has no more: it keeps them, and neither counts nor is chosen."""
RETRY_OF = "retry_of"
"""Number of the trial that was cut off and is trained again."""
OWNER = "owner"
"""The worker that trains the trial, as `processes.this_process` names it."""
REASON = "reason"
"""Why a trial failed or was cut off, for people."""
FAILURE = "failure"
"""Of a trial that failed by itself: the error's kind, what, where and do. Trials that were cut off have none."""
WORKER_DIED = "worker_died"
"""True on a trial during which its worker died. Its retry is the last one."""
BEST_EPOCH = "best_epoch"
"""Counted from 1; a list with folds."""
EPOCHS = "epochs"
TRIAL_METRICS = "figures"
"""The validation metrics of the best epoch, the mean over the folds."""
FOLD_VALUES = "fold_values"
"""The objective of each fold; the trial's value is their mean."""
FOLD_SPREAD = "fold_spread"
"""Their standard deviation."""
PARAMETERS = "parameters"
SECONDS = "seconds"
RESULTS = (BEST_EPOCH, EPOCHS, TRIAL_METRICS, FOLD_VALUES, FOLD_SPREAD, PARAMETERS, SECONDS)
"""What a training returns and the study stores on the trial."""

# ---- of a trial of a rerun study

RERUN_OF = "rerun_of"
"""Number of the trial whose configuration is trained again."""
SEED_NUMBER = "seed_number"
"""Which of the other seeds, from 1."""

# ---- of a study

DEFINITION = "definition"
"""What all trials share: objective, seed, search space, fixed values."""
BASELINE = "baseline"
"""The validation metrics of the frozen extractor without a head."""
NETWORK_PARAMETERS = "network_parameters"
"""Extractor -> its weights, of those that are trained."""
FEATURE_PRECISIONS = "feature_precisions"
"""Network -> the precision of its features, on every machine."""
STARTING_POINTS = "starting_points"
"""The parameters of the first trials, settled by `start_from` when the study is made; studies of before have none."""
EXTENDED_AT = "extended_at"
"""The index at which the search space was last extended: what ends a search early is counted from there."""
ENDED = "ended"
"""Why the search ended before it had its trials; empty once it goes on."""
DATA = "data"
"""Counts of the data set, and its digest."""
WINNER = "winner"
"""Number of the winning trial."""
COMPARED = "compared"
"""The trials whose reruns the winner was chosen by, and with how many seeds."""
RERUNS_OF = "repeats_trials_of"
"""Of a rerun study: the name of the study whose trials it trains again."""


def is_duplicate(trial: FrozenTrial) -> bool:
    """True if the trial only copied the value of an earlier one."""
    return DUPLICATE_OF in trial.user_attrs


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count against the budget: COMPLETE or PRUNED, trained, no duplicates, and in the space."""
    return [trial for trial in trials if is_trained(trial) and OUTSIDE not in trial.user_attrs]


def is_over_limit(trial: FrozenTrial) -> bool:
    """True if the trial was not trained, its model being too large; one that the space has no more does not matter."""
    return OVER_LIMIT in trial.user_attrs and OUTSIDE not in trial.user_attrs


def is_trained(trial: FrozenTrial) -> bool:
    """True if a trial has a training behind it that ended as it should: COMPLETE or PRUNED."""
    ended = trial.state.name in ("COMPLETE", "PRUNED")
    return ended and not is_duplicate(trial) and OVER_LIMIT not in trial.user_attrs


def next_index(trials: Sequence[FrozenTrial]) -> int:
    """The first index of the plan that no trial has."""
    return 1 + max((t.user_attrs[TRIAL_INDEX] for t in trials if TRIAL_INDEX in t.user_attrs), default=-1)


def best_of(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The COMPLETE trials without duplicates, the best in the first objective first; of equals, the earlier.

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


# ---- kinds of value: those of another kind are another program's, or edited by hand

_Whole = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
_Number = _Whole | Annotated[float, Field(strict=True)]
_Text = Annotated[str, Field(strict=True)]
_Count = Annotated[_Whole, Field(ge=0)]


class _Split(BaseModel):
    images: _Count = 0
    classes: _Count = 0


class _Data(BaseModel):
    images: _Count = 0
    classes: _Count = 0
    splits: dict[_Text, _Split] = {}
    digest: _Text = ""


class _Compared(BaseModel):
    model_config = ConfigDict(extra="forbid")

    trials: list[_Whole]
    seeds: _Count


class _Definition(BaseModel):
    objective: _Text | list[_Text] = ""
    fixed: dict[_Text, Any] = {}
    space: dict[_Text, Any] = {}


class _Owner(BaseModel):
    pid: _Count
    host: _Text


class _Failure(BaseModel):
    kind: _Text = ""
    what: _Text
    where: _Text = ""
    do: _Text = ""


class _Baseline(BaseModel):
    model_config = ConfigDict(extra="allow")

    at: dict[_Text, Any] = {}
    extraction_s: _Number | None = None
    images_through_network: _Count | None = None


OF_TRIALS: Mapping[str, Any] = {
    TRIAL_INDEX: _Count,
    CONFIG_DIGEST: _Text,
    DUPLICATE_OF: _Count,
    OVER_LIMIT: _Count,
    OUTSIDE: dict[_Text, Any],
    RETRY_OF: _Count,
    OWNER: _Owner,
    REASON: _Text,
    FAILURE: _Failure,
    WORKER_DIED: Annotated[bool, Field(strict=True)],
    BEST_EPOCH: _Count | list[_Count],
    EPOCHS: _Count | list[_Count],
    TRIAL_METRICS: dict[_Text, Any],
    FOLD_VALUES: list[_Number],
    FOLD_SPREAD: _Number,
    PARAMETERS: _Count,
    SECONDS: dict[_Text, _Number],
    RERUN_OF: _Count,
    SEED_NUMBER: _Count,
}
OF_STUDIES: Mapping[str, Any] = {
    DEFINITION: _Definition,
    BASELINE: dict[_Text, _Baseline],
    NETWORK_PARAMETERS: dict[_Text, _Count],
    FEATURE_PRECISIONS: dict[_Text, _Text],
    STARTING_POINTS: list[dict[_Text, Any]],
    EXTENDED_AT: _Count,
    ENDED: _Text,
    DATA: _Data,
    WINNER: _Count,
    COMPARED: _Compared,
    RERUNS_OF: _Text,
}


def of_their_kind(attributes: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes without those whose name is in `kinds` and whose value is of another kind."""
    return {name: value for name, value in attributes.items() if name not in kinds or _is_a(value, name, kinds)}


def _is_a(value: Any, name: str, kinds: Mapping[str, Any]) -> bool:
    try:
        _adapter(name, kinds is OF_TRIALS).validate_python(value)
    except (ValidationError, RecursionError):
        return False
    return True


@functools.cache
def _adapter(name: str, of_trials: bool) -> TypeAdapter[Any]:
    return TypeAdapter((OF_TRIALS if of_trials else OF_STUDIES)[name])
