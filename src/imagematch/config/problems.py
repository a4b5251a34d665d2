"""What is wrong with a configuration, one line for each mistake, with the nearest valid name to what was typed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from imagematch.errors import ConfigError, first_of

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


_ABBREVIATION = 3
"""Letters from which on the start of one name alone is that name."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong: the key as the user wrote it, what is wrong with it, what to do."""

    key: str
    what: str
    do: str = ""


def validation_error(*problems: Problem) -> PydanticCustomError:
    """Builds a validation error with custom messages; a problem without a key is about the field that is checked."""
    return PydanticCustomError(
        "imagematch", "{what}", {"what": "; ".join(p.what for p in problems), "problems": problems}
    )


def invalid(what: str, do: str = "") -> PydanticCustomError:
    """Builds a validation error with a custom message, about the field that is checked."""
    return validation_error(Problem("", what, do))


def shown(value: Any) -> str:
    """A value as a short, harmless text, as YAML has it."""
    words = {None: "nothing (null)", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems that pydantic found, the first of each key, in the words of this package.

    A field's description says what it expects ("a whole number from 1 to 10").
    """
    problems: dict[str, Problem] = {}
    for details in error.errors(include_url=False):
        location = str(details["loc"][0]) if details["loc"] else ""
        for problem in _in_our_words(details, location, model):
            problems.setdefault(problem.key, problem)
    return list(problems.values())


def _in_our_words(details: Any, key: str, model: type[BaseModel]) -> list[Problem]:
    if details["type"] == "imagematch":
        return [Problem(p.key or key, p.what, p.do) for p in details["ctx"]["problems"]]
    if details["type"] == "missing":
        return [Problem(key, f"{key} is missing", f"add a line `{key}: ...`")]
    if details["type"] == "extra_forbidden":
        return [Problem(key, f"unknown key {key!r}")]
    expected = model.model_fields[key].description or "something else"
    value = f", not {shown(details['input'])}" if model.model_fields[key].repr else ""
    return [Problem(key, f"{key} must be {expected}{value}")]


def refuse(problems: Sequence[Problem], location: Callable[[str], tuple[int, str]]) -> None:
    """Raises one ConfigError for all problems, in the order of their lines, if there are any.

    Args:
        problems: what was found.
        location: key -> (rank by line, "FILE:LINE").
    """
    if not problems:
        return
    ordered = sorted(problems, key=lambda problem: location(problem.key)[0])
    raise first_of([ConfigError(problem.what, where=location(problem.key)[1], do=problem.do) for problem in ordered])


def closest_name(typed: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `typed`, whatever its case and with '-' for '_'; None where none is near.

    A name that alone begins so is meant, too: `val` is validation.
    """
    names, start = list(valid), typed[:100].lower().replace("-", "_").replace(" ", "_")
    begun = [name for name in names if len(start) >= _ABBREVIATION and name.startswith(start)]
    matches = begun if len(begun) == 1 else difflib.get_close_matches(start, names, n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(typed: str, valid: Iterable[str]) -> str:
    """ "did you mean NAME?", or an empty text where no valid name is near."""
    name = closest_name(typed, valid)
    return f"did you mean {name}?" if name else ""
