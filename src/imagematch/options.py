"""What can be chosen: a number, a name or a truth value, with its range, default and description in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """What can be chosen: an option of a loss, a key of the configuration.

    Attributes:
        default: None for a value that is found elsewhere.
        schema: JSON Schema of its values, None apart.
        description: one sentence.
        source: where the default was published or seen.
        expects: what a value must be, in errors ("a whole number from 1 to 10").
        common: the default is the key's own, the same in every loss that has the option; else each has its own.
        scales: whether it changes the loss's value, so that values of two losses which differ in it cannot be compared.
        unless: (another option, its value) beside which this one has no effect.
        random_batches: the default with batches that are drawn at random (`batch_size`); None for the same.
    """

    default: Any
    schema: Mapping[str, Any]
    description: str
    source: str = ""
    expects: str = ""
    common: bool = False
    scales: bool = True
    unless: tuple[str, Any] | None = None
    random_batches: Any = None

    def __post_init__(self) -> None:
        if not self.expects:
            object.__setattr__(self, "expects", _in_words(self.schema))


def number(
    default: float | None,
    low: float,
    high: float,
    description: str,
    *,
    above: bool = False,
    below: bool = False,
    **more: Any,
) -> Any:
    """An option whose value is a finite number from `low` (not itself, where `above`) to `high` (so `below`)."""
    ends = {"exclusiveMinimum" if above else "minimum": low, "exclusiveMaximum" if below else "maximum": high}
    return Option(default, {"type": "number", **ends}, description, **more)


def whole(default: int | None, low: int, high: int, description: str, **more: Any) -> Any:
    """An option whose value is a whole number from `low` to `high`."""
    return Option(default, {"type": "integer", "minimum": low, "maximum": high}, description, **more)


def flag(default: bool, description: str, **more: Any) -> Any:
    """An option that is true or false."""
    return Option(default, {"type": "boolean"}, description, **more)


def choice(default: str, names: Sequence[str], description: str, **more: Any) -> Any:
    """An option that is one of several texts."""
    return Option(default, {"type": "string", "enum": list(names)}, description, **more)


def _in_words(schema: Mapping[str, Any]) -> str:
    """What a schema accepts, in words ("a number from 0 to 1")."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    match schema.get("type"):
        case "integer":
            return f"a whole number from {low} to {high}"
        case "number" if above is not None:
            return (
                f"a number between {above:g} and {below:g}"
                if high is None
                else f"a number over {above:g}, at most {high:g}"
            )
        case "number":
            return (
                f"a number from {low:g} to {high:g}"
                if below is None
                else f"a number from {low:g} to less than {below:g}"
            )
        case "boolean":
            return "true or false"
    raise TypeError(f"no words for {schema}: give `expects`")
