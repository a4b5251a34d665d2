"""What is wrong with a configuration, told in one line: the first problem by line, and how many more there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from imagematch.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_SECRET_FIELDS = ("storage",)  # a URL that may hold a password is never shown


@dataclass(frozen=True)
class Problem:
    """One thing wrong: the key as the user wrote it, what is wrong with it, what to do."""

    key: str
    what: str
    do: str = ""


def told(what: str, do: str = "", *, key: str = "") -> PydanticCustomError:
    """What a pydantic validator raises to have its own words shown; `key`, where they are about another field."""
    return PydanticCustomError("told", "{what}", {"what": what, "do": do, "key": key})


def shown(value: Any) -> str:
    """A value as a short, harmless text, as YAML has it."""
    words = {None: "nothing (null)", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems that pydantic found, one for each field, in the words of this package.

    A field's description says what it expects ("a whole number from 1 to 10").
    """
    problems: dict[str, Problem] = {}
    for found in error.errors(include_url=False):
        context = found.get("ctx", {})
        key = context.get("key") or (str(found["loc"][0]) if found["loc"] else "")
        if key in problems:
            continue
        if found["type"] == "told":
            problems[key] = Problem(key, context["what"], context["do"])
        elif found["type"] == "missing":
            problems[key] = Problem(key, f"{key} is missing", f"add a line `{key}: ...`")
        elif found["type"] == "extra_forbidden":
            problems[key] = Problem(key, f"unknown key {key!r}")
        else:
            expected = model.model_fields[key].description or "something else"
            value = "" if key in _SECRET_FIELDS else f", not {shown(found['input'])}"
            problems[key] = Problem(key, f"{key} must be {expected}{value}")
    return list(problems.values())


def refuse(problems: Sequence[Problem], place: Callable[[str], tuple[int, str]]) -> None:
    """Raises ConfigError for the first problem by line, if there is one, and says how many more there are.

    Args:
        problems: what was found.
        place: key -> (rank by line, "FILE:LINE").
    """
    if not problems:
        return
    first = min(problems, key=lambda problem: place(problem.key)[0])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ConfigError(first.what + more, where=place(first.key)[1], do=first.do)
