"""What is known about a key of the configuration beside its name and type, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, Field

from imagematch.options import Option

Values = Mapping[str, Any]
Kind = Literal["int", "float", "list", "other"]
GROUPS = ("name", "data", "model", "features", "training", "loss", "matching", "study")


class Affects(Enum):
    """What a key changes. What trials share, resume and compare is derived from it."""

    DATA = "which images, labels and splits there are"
    FEATURES = "what the extractor makes of the images"
    LOCATION = "where data and features lie, not what they are"
    SPEED = "how features are computed, hardly what they are"
    TRAINING = "what is trained, and how epochs and trials are compared"
    MATCHING = "what is done after training"
    VIEWS = "what is done after training, with features of its own"
    NOTHING = "names and limits"

    @property
    def shared(self) -> bool:
        """Whether trainings that differ in the key have other data or features: they share them where all agree."""
        return self in (Affects.DATA, Affects.FEATURES, Affects.LOCATION, Affects.SPEED, Affects.VIEWS)

    @property
    def trained(self) -> bool:
        """Whether the key may change what is trained: a checkpoint of another value does not fit."""
        return self in (Affects.DATA, Affects.FEATURES, Affects.SPEED, Affects.TRAINING)

    @property
    def compared(self) -> bool:
        """Whether trials of different values cannot stand in one study."""
        return self in (Affects.DATA, Affects.FEATURES, Affects.TRAINING)


@dataclass(frozen=True)
class Condition:
    """When a key counts.

    Attributes:
        when: the same in words, for the reference.
        depends_on: the keys that `holds` reads.
        holds: whether the key counts under these values.
        otherwise: the message for a user who gives the key where it does not count; None, in place of it or as its
            answer, accepts the key, without effect.
    """

    when: str
    depends_on: tuple[str, ...]
    holds: Callable[[Values], bool]
    otherwise: Callable[[Values], str | None] | None = None


@dataclass(frozen=True)
class KeyFacts:
    """All that is known about a key beside its name, type and default.

    Attributes:
        option: default, range and description.
        group: where the reference lists it.
        affects: what it changes.
        tunable: True, or why it cannot vary between trials.
        per_stage: whether a stage may have a value of its own.
        changes_val_loss: whether values of `val_loss` that differ in it mean different things.
        condition: when it counts; None for always.
        losses: the losses that have it; empty for all.
    """

    option: Option
    group: str
    affects: Affects
    tunable: bool | str
    per_stage: bool = False
    changes_val_loss: bool = False
    condition: Condition | None = None
    losses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise TypeError(f"there is no group {self.group!r}")
        if self.tunable is False:
            raise TypeError("say why the key is not tunable")

    def __call__(self, schema: dict[str, Any]) -> None:
        """Completes pydantic's own schema of the key."""
        schema["description"] = self.option.description

    @property
    def kind(self) -> Kind:
        """The kind of its values: numbers have ranges, and lists may be written as JSON."""
        kinds: dict[Any, Kind] = {"integer": "int", "number": "float", "array": "list"}
        return kinds.get(self.option.schema.get("type"), "other")


def facts_of(model: type[BaseModel]) -> dict[str, KeyFacts]:
    """What is known about each key of a model. Raises TypeError for a key that says nothing about itself."""
    found = {key: field.json_schema_extra for key, field in model.model_fields.items()}
    silent = [key for key, facts in found.items() if not isinstance(facts, KeyFacts)]
    if silent:
        raise TypeError(f"{model.__name__} declares {', '.join(silent)} without its facts")
    return {key: facts for key, facts in found.items() if isinstance(facts, KeyFacts)}


def names_of(model: type[BaseModel], key: str) -> tuple[str, ...]:
    """The names that a key takes; none where it takes something else."""
    facts = model.model_fields[key].json_schema_extra if key in model.model_fields else None
    return tuple(facts.option.schema.get("enum", ())) if isinstance(facts, KeyFacts) else ()


REQUIRED: Any = ...
"""The default of a key that has none."""


def key(option: Option, *, secret: bool = False, **facts: Any) -> Any:
    """A key of a model; its facts are those of `KeyFacts`, and a `secret` value is never shown."""
    return Field(
        option.default,
        repr=not secret,
        description=option.expects,
        json_schema_extra=KeyFacts(option, **facts),
        **_constraints(option.schema),
    )


_CONSTRAINTS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "maxItems": "max_length",
}


def _constraints(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = {_CONSTRAINTS[word]: value for word, value in schema.items() if word in _CONSTRAINTS}
    return found | ({"allow_inf_nan": False} if schema.get("type") == "number" else {})
