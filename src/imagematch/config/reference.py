"""The reference of all keys, and JSON Schemas for editors, written from what is known about each key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagematch.config.fields import GROUPS, REQUIRED, KeyFacts
from imagematch.config.study_settings import STUDY_FACTS
from imagematch.config.train_keys import KEYS, STAGE_KEYS, TUNABLE
from imagematch.config.yaml_files import to_yaml
from imagematch.files import write_text
from imagematch.options import Option
from imagematch.registry import LOSS_REGISTRY, LossSpec

_TITLES = {
    "name": "Name",
    "data": "Data",
    "model": "Model",
    "features": "Features",
    "training": "Training",
    "matching": "Matching",
    "study": "Study",
}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class ReferenceRow:
    """What the reference says about a key.

    Attributes:
        key: its name.
        group: where the reference lists it.
        takes: its type and range, in words.
        default: as YAML; "required" for a key without one.
        description: one sentence, and when the key counts.
        forms: how a study may vary it: "_grid, _range", "_grid", or empty.
        per_stage: whether a stage may have a value of its own.
        loss: the loss that it is an option of; empty for the keys of all.
        source: where the default was published or seen.
    """

    key: str
    group: str
    takes: str
    default: str
    description: str
    forms: str
    per_stage: bool
    loss: str = ""
    source: str = ""


def reference_rows() -> list[ReferenceRow]:
    """A row for each key, by group, and for each option of each loss."""
    facts = {**STUDY_FACTS, **KEYS}  # the two keys of both stand among those of train files
    rows = [_row(key, about, about.option) for key, about in facts.items() if about.group != "loss"]
    rows.sort(key=lambda row: GROUPS.index(row.group))
    return [*rows, *(row for spec in LOSS_REGISTRY.all().values() for row in _rows_of_loss(spec))]


def _rows_of_loss(spec: LossSpec) -> list[ReferenceRow]:
    return [_row(name, KEYS[name], option, spec) for name, option in spec.options.items()]


def _exceptions(option: Option, spec: LossSpec | None) -> str:
    """Where an option of a loss has another default, or no effect."""
    other_default = option.random_batches is not None and spec is not None and spec.kind == "pair"
    random = f" {option.random_batches:g} with batch_size." if other_default else ""
    return random + (" Not with {}: {}.".format(*option.unless) if option.unless else "")


def _row(key: str, facts: KeyFacts, option: Option, spec: LossSpec | None = None) -> ReferenceRow:
    when = f" Counts {facts.condition.when}." if facts.condition is not None and spec is None else ""
    ranges = ", _range" if facts.kind in ("int", "float") else ""
    return ReferenceRow(
        key,
        facts.group,
        option.expects,
        "required" if option.default is REQUIRED else to_yaml({"": option.default})[2:].strip(),
        option.description + when + _exceptions(option, spec),
        f"_grid{ranges}" if facts.tunable is True else "",
        facts.per_stage,
        spec.name if spec is not None else "",
        option.source,
    )


def reference_markdown() -> str:
    """The page docs/reference.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    rows = reference_rows()
    yield "# Every key of a configuration file"
    yield ""
    yield "Written by `make reference` from the table of keys; `imagematch.config.reference_rows()` gives it in Python."
    yield "*Study* gives the forms in which a study may vary the key (`dropout_grid: [0, 0.5]`,"
    yield "`dropout_range: {low: 0, high: 0.5}`), *stage* whether a mapping under `stages` may have a value of its own."
    yield "`null` stands for a value that is found elsewhere. The default may be spelt out wherever the key is."
    yield "Editors complete and check files whose first line names `docs/schema/train.schema.json` or"
    yield "`docs/schema/study.schema.json`, as those in configs/ do."
    for group, title in _TITLES.items():
        yield from (
            "",
            f"## {title}",
            "",
            "| key | default | takes | study | stage | what it does |",
            "|---|---|---|---|---|---|",
        )
        for row in rows:
            if row.group == group:
                stage = "yes" if row.per_stage else ""
                takes, default = _cell(row.takes), _cell(row.default)
                yield f"| `{row.key}` | {default} | {takes} | {row.forms} | {stage} | {_cell(row.description)} |"
    yield from ("", "## Losses", "")
    yield "`loss: NAME` chooses one. Its options are keys of the file; each has the default of its paper or code."
    for name, spec in LOSS_REGISTRY.all().items():
        yield from ("", f"### `{name}`", "", f"{spec.summary} {_KINDS[spec.kind]} Source: {spec.source}.", "")
        yield from ("| option | default | takes | what it does | default from |", "|---|---|---|---|---|")
        for row in _rows_of_loss(spec):
            cells = (f"`{row.key}`", row.default, row.takes, row.description, row.source)
            yield f"| {' | '.join(map(_cell, cells))} |"


_KINDS = {
    "pair": "Compares the images of a batch with each other.",
    "offline": "A batch is made of triplets that are drawn before each epoch.",
    "proxy": "Compares each image with one learnt vector for each training class.",
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def train_schema() -> dict[str, Any]:
    """JSON Schema of a train file."""
    properties = {key: _property(key, facts) for key, facts in KEYS.items()}
    return _file_schema("An imagematch train file", properties, "experiment_name")


def study_schema() -> dict[str, Any]:
    """JSON Schema of a study file."""
    properties = {key: _property(key, facts) for key, facts in KEYS.items() if key != "experiment_name"}
    properties |= {key: _property(key, facts) for key, facts in STUDY_FACTS.items()}
    for key in TUNABLE:
        properties |= _dimensions(key, KEYS[key])
    return _file_schema("An imagematch study file", properties, "study_name")


def _file_schema(title: str, properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {
        "$schema": _DRAFT,
        "title": title,
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }


def _value_schema(facts: KeyFacts) -> dict[str, Any]:
    schema = dict(facts.option.schema)
    if schema.get("items") == {"type": "object"}:  # stages
        stage = {key: _value_schema(KEYS[key]) for key in STAGE_KEYS}
        schema["items"] = {"type": "object", "properties": stage, "additionalProperties": False}
    return {"anyOf": [schema, {"type": "null"}]} if facts.option.default is None else schema


def _property(key: str, facts: KeyFacts) -> dict[str, Any]:
    defaults = {loss: LOSS_REGISTRY.all()[loss].options[key].default for loss in facts.losses}
    losses = ", ".join(f"{loss} (default {default})" for loss, default in defaults.items())
    having = f" An option of {losses}." if losses else ""
    counts = f" Counts {facts.condition.when}." if facts.condition is not None and not facts.losses else ""
    found = {"description": facts.option.description + counts + having, **_value_schema(facts)}
    default = facts.option.default
    return found if default is REQUIRED else {**found, "default": json.loads(json.dumps(default, default=str))}


def _dimensions(key: str, facts: KeyFacts) -> dict[str, Any]:
    value = _value_schema(facts)
    item: Mapping[str, Any] = {"anyOf": [value, {"type": "string"}]} if facts.kind == "list" else value
    what = f"{facts.option.description} A study tries"
    grid = {"description": f"{what} each of these.", "type": "array", "items": item, "minItems": 1}
    if facts.kind not in ("int", "float"):
        return {f"{key}_grid": grid}
    number = dict(facts.option.schema)
    parts = {
        "low": number,
        "high": number,
        "step": {"type": number["type"], "exclusiveMinimum": 0},
        "log": {"type": "boolean"},
    }
    span = {"type": "object", "properties": parts, "required": ["low", "high"], "additionalProperties": False}
    return {f"{key}_grid": grid, f"{key}_range": {"description": f"{what} values of this range.", **span}}


def write_reference(docs: Path) -> None:
    """Writes reference.md, schema/train.schema.json and schema/study.schema.json into a folder."""
    for name, text in reference_files().items():
        path = Path(docs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def reference_files() -> dict[str, str]:
    """What `write_reference` writes: path inside the folder -> text."""
    schemas = {"train": train_schema(), "study": study_schema()}
    texts = {f"schema/{kind}.schema.json": json.dumps(schema, indent=1) + "\n" for kind, schema in schemas.items()}
    return {"reference.md": reference_markdown(), **texts}
