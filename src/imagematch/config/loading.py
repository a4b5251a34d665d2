"""Files and mappings -> checked settings; every error names the file, the line and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from imagematch.config.dimension_parsing import parse_dimension
from imagematch.config.problems import Problem, closest_name, did_you_mean, problems_of, refuse, shown
from imagematch.config.rules import broken_rules
from imagematch.config.space import DEFAULT_DROPOUT, Dimension
from imagematch.config.study_rules import broken_study_rules
from imagematch.config.study_settings import STUDY_KEYS, StudySettings
from imagematch.config.train_keys import KEYS, TRAIN_KEYS, TUNABLE, TrainKeys
from imagematch.config.train_settings import TrainSettings
from imagematch.config.yaml_files import Document, parse_value, read_yaml
from imagematch.errors import ConfigError

Keys = TypeVar("Keys", bound=BaseModel)
_IN_BOTH = ("seed", "objective")
_STUDY_ONLY = tuple(key for key in STUDY_KEYS if key not in _IN_BOTH)
_PLAIN_KEYS = tuple(key for key in TRAIN_KEYS if key not in (*_IN_BOTH, "experiment_name"))
_FORMS = ("", "_grid", "_range")
DIMENSION_KEYS = tuple(
    key + form for key in TUNABLE for form in _FORMS[1:] if form == "_grid" or KEYS[key].kind in ("int", "float")
)
STUDY_FILE_KEYS = (*STUDY_KEYS, *_PLAIN_KEYS, *DIMENSION_KEYS)
_BLOCKS = tuple(key + form for key in ("intermediate_ff_block_units", "parallel_heads") for form in ("", "_grid"))
_SINGLE = ("integer", "number", "boolean", "string")
_KEYS_DOC = "docs/reference.md lists every key"


def load_train(path: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Reads a train file.

    Args:
        path: the YAML file.
        overrides: "key=value" each, the value in YAML; they replace what the file says.

    Raises:
        ConfigError: the file or an override is wrong; names its line.
    """
    return _train(_overridden(read_yaml(path), overrides))


def load_study(path: Path, overrides: Sequence[str] = ()) -> StudySettings:
    """Reads a study file, as `load_train` does. An override replaces every form of its key."""
    return _study(_overridden(read_yaml(path), overrides))


def parse_train(values: Mapping[str, Any], where: str = "settings") -> TrainSettings:
    """Checks settings that a program made. Raises ConfigError naming `where`."""
    return _train(Document(_text_keys(values), where))


def parse_study(values: Mapping[str, Any], where: str = "settings") -> StudySettings:
    """Checks a study that a program made. Raises ConfigError naming `where`."""
    return _study(Document(_text_keys(values), where))


def _text_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items()}


def _overridden(document: Document, overrides: Sequence[str]) -> Document:
    values, keys = dict(document.values), set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"{override!r} is not KEY=VALUE", where="--set", do="write it as --set epochs=10")
        value = parse_value(text, where=f"--set {key}")
        for form in _FORMS:
            values.pop(_field_of(key) + form, None)
        values[key] = value
        keys.add(key)
    return Document(values, document.where, document.lines, frozenset(keys & values.keys()))


def _field_of(key: str) -> str:
    """The train field that `FIELD`, `FIELD_grid` or `FIELD_range` is about; the key itself where there is none."""
    stem = key.removesuffix("_grid").removesuffix("_range")
    return stem if stem in TRAIN_KEYS else key


def _train(document: Document) -> TrainSettings:
    if "study_name" in document.values and "experiment_name" not in document.values:
        raise ConfigError(
            "this is a study file: it has study_name",
            where=document.location("study_name")[1],
            do="run it with hpt.py --hpt-config-filepath",
        )
    known = {key: value for key, value in document.values.items() if key in TRAIN_KEYS}
    problems = [_unknown_in_train(key) for key in document.values if key not in TRAIN_KEYS]
    problems += _choices_given(known, "a study searches {}_grid")
    keys, wrong = _valid(TrainKeys, known, {"experiment_name": "x"})
    if problems := _once([*problems, *wrong]):
        problems += broken_rules(dict(keys), keys.model_fields_set, _doubtful(problems))
        refuse(problems, document.location)
    try:
        return TrainSettings.model_validate(known)
    except ValidationError as error:
        refuse(problems_of(error, TrainSettings), document.location)
        raise


def _valid(model: type[Keys], given: Mapping[str, Any], name: Mapping[str, str]) -> tuple[Keys, list[Problem]]:
    """The given values that are valid, each on its own, as a model, and what is wrong with the others.

    Args:
        model: of the keys.
        given: key -> value.
        name: the required key, with a value that stands for a missing or wrong one.
    """
    try:
        return model.model_validate(given), []
    except ValidationError as error:
        wrong = {str(details["loc"][0]) for details in error.errors(include_url=False) if details["loc"]}
        rest = {key: value for key, value in given.items() if key not in wrong}
        return model.model_validate({**name, **rest}), problems_of(error, model)


def _doubtful(problems: Iterable[Problem]) -> set[str]:
    """The fields that are given wrongly, also where the name is: of a misspelt key the nearest."""
    keys = [problem.key.partition("[")[0] for problem in problems]
    near = (closest_name(key, STUDY_FILE_KEYS) for key in keys if key not in STUDY_FILE_KEYS)
    return {_field_of(key) for key in (*keys, *near) if key}


def _once(problems: list[Problem]) -> list[Problem]:
    """The first problem of each key."""
    return list({problem.key: problem for problem in reversed(problems)}.values())[::-1]


def _choices_given(values: Mapping[str, Any], do: str) -> Iterator[Problem]:
    """The keys that have a list of choices where one value belongs, as `embedding_dim: [64, 128]`."""
    for key, value in values.items():
        if isinstance(value, list) and key in TUNABLE and KEYS[key].option.schema.get("type") in _SINGLE:
            yield Problem(key, f"{key} must be {KEYS[key].option.expects}, not {shown(value)}", do.format(key))


def _unknown_in_train(key: Any) -> Problem:
    if key in _STUDY_ONLY or _field_of(key) != key:
        return Problem(key, f"{key} belongs to study files", "run a study with hpt.py --hpt-config-filepath")
    return Problem(key, f"unknown key {key!r}", did_you_mean(key, TRAIN_KEYS) or _KEYS_DOC)


def _study(document: Document) -> StudySettings:
    given = document.values
    if "experiment_name" in given and "study_name" not in given:
        raise ConfigError(
            "this is a train file: it has experiment_name",
            where=document.location("experiment_name")[1],
            do="run it with train.py --config, or give it a study_name instead",
        )
    problems = [problem for key in given if (problem := _unknown_in_study(key))]
    problems += _given_twice(document)
    about_study = {key: value for key, value in given.items() if key in STUDY_KEYS}
    plain = {key: value for key, value in given.items() if key in _PLAIN_KEYS}
    space, wrong = _space(given)
    problems += wrong
    problems += _choices_given(plain, "did you mean {}_grid?")
    keys, wrong = _valid(TrainKeys, {**plain, "experiment_name": "x"}, {})
    fixed = {key: getattr(keys, key) for key in plain if key in keys.model_fields_set}
    study, wrong_too = _valid(StudySettings, {**about_study, "fixed": fixed, "space": space}, {"study_name": "x"})
    problems = _once([*problems, *wrong, *wrong_too])
    written = {key: key + form for key in TRAIN_KEYS for form in _FORMS if key + form in given}
    problems += broken_study_rules(study, written, _doubtful(problems))
    refuse(problems, document.location)
    return study


def _unknown_in_study(key: Any) -> Problem | None:
    if key in STUDY_FILE_KEYS:
        return None
    if key == "experiment_name":
        return Problem(key, "experiment_name belongs to train files; the study's name is study_name", "leave it out")
    field = _field_of(key)
    if field == key:
        return Problem(key, f"unknown key {key!r}", did_you_mean(key, STUDY_FILE_KEYS) or _KEYS_DOC)
    if field not in TUNABLE:
        return Problem(key, f"{field} cannot vary between trials: {KEYS[field].tunable}", f"give {field}: ... for all")
    return Problem(key, f"{field} is not a number and has no range", f"give {field}_grid: [...]")


def _given_twice(document: Document) -> Iterator[Problem]:
    for field in TRAIN_KEYS:
        keys = [field + form for form in _FORMS if field + form in document.values]
        if len(keys) > 1:
            locations = " and ".join(_key_and_line(document, key) for key in keys)
            yield Problem(keys[-1], f"{field} is given more than once: {locations}", "keep one of them")


def _key_and_line(document: Document, key: str) -> str:
    return f"{key} (line {document.lines[key]})" if key in document.lines else key


def _space(given: Mapping[str, Any]) -> tuple[dict[str, Dimension], list[Problem]]:
    """The dimensions, in the file's order, and what is wrong with them."""
    space: dict[str, Dimension] = {}
    problems = []
    for key, value in given.items():
        if key not in DIMENSION_KEYS:
            continue
        dimension = parse_dimension(key, _field_of(key), value)
        if isinstance(dimension, Problem):
            problems.append(dimension)
        else:
            space[_field_of(key)] = dimension
    if not any("dropout" + form in given for form in _FORMS) and any(_has_blocks(given.get(key)) for key in _BLOCKS):
        space["dropout"] = DEFAULT_DROPOUT
    return space, problems


def _has_blocks(units: Any) -> bool:
    """Whether there is a number of units in lists of them, however deep; a list may be written as text, too."""
    return any(map(_has_blocks, units)) if isinstance(units, list) else any(map(str.isdigit, str(units)))
