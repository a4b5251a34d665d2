"""What kind of value each attribute is that a study notes: those of another kind are another program's, or edited.

The names are those of `records`, `study`, `rerun` and `siblings`; a test holds the two together.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Whole = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
Number = Whole | Annotated[float, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Count = Annotated[Whole, Field(ge=0)]


class _Split(BaseModel):
    images: Count = 0
    classes: Count = 0


class _Data(BaseModel):
    images: Count = 0
    classes: Count = 0
    splits: dict[Text, _Split] = {}
    digest: Text = ""


class _Compared(BaseModel):
    model_config = ConfigDict(extra="forbid")

    trials: list[Whole]
    seeds: Count


class _Definition(BaseModel):
    objective: Text | list[Text] = ""
    fixed: dict[Text, Any] = {}
    space: dict[Text, Any] = {}


class _Owner(BaseModel):
    pid: Count
    host: Text


class _Baseline(BaseModel):
    model_config = ConfigDict(extra="allow")

    at: dict[Text, Any] = {}
    extraction_s: Number | None = None
    images_through_network: Count | None = None


OF_TRIALS: Mapping[str, Any] = {
    "place": Count,
    "point": Text,
    "duplicate_of": Count,
    "over_limit": Count,
    "retry_of": Count,
    "owner": _Owner,
    "reason": Text,
    "best_epoch": Count | list[Count],
    "epochs": Count | list[Count],
    "figures": dict[Text, Any],
    "fold_values": list[Number],
    "fold_spread": Number,
    "parameters": Count,
    "seconds": dict[Text, Number],
    "rerun_of": Count,
    "seed_number": Count,
}
OF_STUDIES: Mapping[str, Any] = {
    "definition": _Definition,
    "baseline": dict[Text, _Baseline],
    "network_parameters": dict[Text, Count],
    "feature_precisions": dict[Text, Text],
    "data": _Data,
    "winner": Count,
    "compared": _Compared,
    "repeats_trials_of": Text,
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
