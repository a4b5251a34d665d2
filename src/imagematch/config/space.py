"""The dimensions of a search space: choices and ranges; and what tells two spaces apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagematch.config.problems import shown

Label = str | int | float | bool

_DIGITS = 12  # a value of a stepped range is rounded so: 3 x 0.1 is 0.3
_ROUNDING = 1e-9


def with_lists(value: Any) -> Any:
    """A value with lists for tuples, at any depth, as JSON gives it back."""
    return [with_lists(one) for one in value] if isinstance(value, (tuple, list)) else value


def with_tuples(value: Any) -> Any:
    """A value with tuples for lists, at any depth, as settings have it."""
    return tuple(with_tuples(one) for one in value) if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class Choices:
    """One of several values, in the order of the file.

    Attributes:
        options: the values as settings have them (tuples for lists).
    """

    options: tuple[Any, ...]

    @property
    def labels(self) -> tuple[Label, ...]:
        """What a study stores for each option: the plain value, and JSON for what is not (lists, null).

        Where truth values and numbers stand side by side all are JSON, since 1 and true would be taken for the same.
        """
        booleans = [isinstance(option, bool) for option in self.options]
        mixed = any(booleans) and not all(booleans)
        return tuple(
            option if isinstance(option, Label) and not mixed else json.dumps(option) for option in self.options
        )

    def value_of(self, label: Any) -> Any:
        """The option that has this label. Raises ValueError where none has."""
        for option, own in zip(self.options, self.labels, strict=True):
            if own == label and isinstance(own, bool) == isinstance(label, bool):
                return option
        raise ValueError(f"{label!r} is none of {', '.join(map(str, self.labels))}")

    def label_of(self, value: Any) -> Label:
        """The label of an option; lists and tuples are the same. Raises ValueError for what is no option."""
        return self.labels[self._index(value)]

    def at(self, share: float) -> Any:
        """The option that lies at a share, 0 to under 1, of the way through the list."""
        return self.options[int(share * len(self.options))]

    def canonical(self, value: Any) -> Any:
        """The option that `value` is. Raises ValueError where it is none."""
        return self.options[self._index(value)]

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the options."""
        try:
            self._index(value)
        except ValueError:
            return False
        return True

    def _index(self, value: Any) -> int:
        wanted = with_tuples(value)
        for index, option in enumerate(self.options):
            if option == wanted and isinstance(option, bool) == isinstance(wanted, bool):
                return index
        raise ValueError(f"{value!r} is none of {', '.join(map(str, self.labels))}")

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.options)

    def values(self) -> tuple[Any, ...]:
        """Every value."""
        return self.options

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that rules are tried on: all of them."""
        return self.options

    def to_json(self) -> dict[str, Any]:
        """A JSON object that tells this dimension from any other."""
        return {"choices": with_lists(self.options)}

    def __str__(self) -> str:
        return ", ".join(json.dumps(option) if not isinstance(option, str) else option for option in self.options)


@dataclass(frozen=True)
class FloatRange:
    """A number from `low` to `high`, both included.

    Attributes:
        step: the distance between two values; None for any number.
        log: drawn by its logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def size(self) -> int | None:
        """The number of values; None where any number is one."""
        if self.low == self.high:
            return 1
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def values(self) -> tuple[float, ...]:
        """Every value of a stepped range. Raises ValueError for one without a step."""
        if self.size is None:
            raise ValueError("a range without a step has no list of values")
        step = self.step or 0.0
        return tuple(round(self.low + index * step, _DIGITS) for index in range(self.size))

    def at(self, share: float) -> float:
        """The value that lies at a share, 0 to under 1, of the way from `low` to `high`."""
        if self.size is not None:
            return self.values()[int(share * self.size)]
        if self.log:
            return min(self.high, math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))
        return self.low + share * (self.high - self.low)

    def canonical(self, value: float) -> float:
        """`value` without the rounding errors of a stepped range (0.30000000000000004 is 0.3)."""
        if self.step is None:
            return float(value)
        return round(self.low + round((value - self.low) / self.step) * self.step, _DIGITS)

    def contains(self, value: Any) -> bool:
        """Whether `value` is one that can be drawn."""
        return _is_number(value) and self.low <= value <= self.high and abs(self.canonical(value) - value) < _ROUNDING

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that rules are tried on: the lowest and the highest."""
        return (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that tells this dimension from any other."""
        return {"low": self.low, "high": self.high, "step": self.step, "log": self.log}

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + _manner(self.step, self.log)


@dataclass(frozen=True)
class IntRange:
    """A whole number from `low` to `high`, both included, in steps of `step`.

    Attributes:
        log: drawn by its logarithm.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def size(self) -> int:
        """The number of values."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> tuple[int, ...]:
        """Every value."""
        return tuple(range(self.low, self.high + 1, self.step))

    def at(self, share: float) -> int:
        """The value that lies at a share, 0 to under 1, of the way from `low` to `high`."""
        if not self.log:
            return self.low + self.step * int(share * self.size)
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return min(self.high, max(self.low, round(math.exp(low + share * (high - low)))))

    def canonical(self, value: float) -> int:
        """`value` as a whole number."""
        return int(value)

    def contains(self, value: Any) -> bool:
        """Whether `value` is one that can be drawn."""
        return _is_number(value) and self.low <= value <= self.high and (value - self.low) % self.step == 0

    @property
    def ends(self) -> tuple[int, ...]:
        """The values that rules are tried on: the lowest and the highest."""
        return (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that tells this dimension from any other."""
        return {"low": self.low, "high": self.high, "step": self.step, "log": self.log}

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" + _manner(self.step if self.step != 1 else None, self.log)


Dimension = Choices | FloatRange | IntRange

DEFAULT_DROPOUT = FloatRange(0.0, 0.9, 0.1)
"""What a study searches that names no dropout, where some head has blocks."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _manner(step: float | None, log: bool) -> str:
    return f" in steps of {step:g}" if step is not None else " by logarithm" if log else ""


def space_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two `space_json`, one readable line for each difference; empty where nothing does."""
    lines = [
        f"{key}: {shown(old.get(key))} became {shown(new.get(key))}"
        for key in ("objective", "max_parameters", "seed", "folds")
        if old.get(key) != new.get(key)
    ]
    before, after = _by_field(old), _by_field(new)
    for field in dict.fromkeys((*before, *after)):
        was, now = before.get(field, "the default"), after.get(field, "the default")
        if was != now:
            lines.append(f"{field}: {was} became {now}")
    return lines


def _by_field(space: Mapping[str, Any]) -> dict[str, str]:
    texts = {field: f"fixed {_plain_json(value)}" for field, value in space.get("fixed", {}).items()}
    for field, dimension in space.get("space", {}).items():
        if "choices" in dimension:
            texts[field] = "choices " + ", ".join(_plain_json(choice) for choice in dimension["choices"])
        else:
            manner = f" step {dimension['step']:g}" if dimension["step"] else " log" if dimension["log"] else ""
            texts[field] = f"range {dimension['low']:g} to {dimension['high']:g}{manner}"
    return texts


def _plain_json(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, (list, dict)) else shown(value)
