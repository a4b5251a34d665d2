"""The reference and the schemas for editors: current, and of one mind with what files are checked by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from imagematch.config import DEFAULTS, KEYS, STUDY_KEYS, parse_train, read_yaml, reference, reference_rows
from imagematch.errors import ConfigError
from imagematch.registry import LOSS_REGISTRY

ROOT = Path(__file__).parents[3]
SHIPPED = [ROOT / "hpt_config.yaml", *sorted((ROOT / "configs").rglob("*.yaml"))]
TRAIN = Draft202012Validator(reference.train_schema())


@pytest.mark.parametrize("name", reference.reference_files())
def test_what_is_committed_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == reference.reference_files()[name], "run: make reference"


def test_every_key_and_every_option_has_a_row() -> None:
    rows = reference_rows()
    assert {row.key for row in rows} == {*KEYS, *STUDY_KEYS}
    assert {(row.loss, row.key) for row in rows if row.loss} == {
        (loss, option) for loss, spec in LOSS_REGISTRY.all().items() for option in spec.options
    }
    assert len({(row.loss, row.key) for row in rows}) == len(rows)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_name_a_schema_that_they_keep_to(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    schema = (path.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()
    assert schema.parent == ROOT / "docs" / "schema"
    Draft202012Validator(json.loads(schema.read_text())).validate(read_yaml(path).values)


def test_schemas_are_schemas() -> None:
    for schema in (reference.train_schema(), reference.study_schema()):
        Draft202012Validator.check_schema(schema)
        for name, about in schema["properties"].items():
            if "default" in about:
                Draft202012Validator(about).validate(about["default"])
            assert about["description"], name


VALUES: list[tuple[str, Any]] = [
    ("epochs", 5),
    ("epochs", "5"),
    ("epochs", 0),
    ("learning_rate", 0),
    ("learning_rate", 1e-3),
    ("calibration_share", 1),
    ("relaxation", 1),
    ("loss", "circle"),
    ("loss", "circel"),
    ("margin", None),
    ("batch_size", None),
    ("dropout", None),
    ("trainable", {"blocks": 2}),
    ("trainable", {"blocks": 0}),
    ("trainable", 0),
    ("threshold", {"far": 0.1}),
    ("threshold", {"far": 0.1, "confidence": 0.9}),
    ("threshold", {"confidence": 0.9}),
    ("threshold", {"far": 1}),
    ("threshold", {"cost": {"false_match": 1, "false_non_match": 2, "prior": 0.1}}),
    ("threshold", {"cost": {"false_match": 1}}),
    ("intermediate_ff_block_units", [512, 0]),
    ("intermediate_ff_block_units", []),
    ("feature_extractor", ["mobilenet_v2", "vgg16"]),
    ("feature_extractor", "kerashub:dinov2"),
    ("feature_extractor", "mobilnet"),
    ("split", [0.8, 0.2]),
    ("value_range", "full"),
    ("value_range", [-1024, 3071.5]),
    ("value_range", [1]),
    ("value_range", "most"),
    ("split", [1]),
    ("stages", [{"epochs": 3}]),
    ("stages", [{"loss": "circle"}]),
    ("stages", {"epochs": 3}),
]


@pytest.mark.parametrize(("key", "value"), VALUES, ids=str)
def test_schema_and_settings_accept_the_same(key: str, value: Any) -> None:
    values = {"experiment_name": "x", "loss": "circle" if key == "relaxation" else "triplet_hard", key: value}
    try:
        accepted = parse_train(values) is not None
    except ConfigError:
        accepted = False
    assert TRAIN.is_valid(values) is accepted


def test_every_default_keeps_to_the_schema() -> None:
    TRAIN.validate({"experiment_name": "x", **json.loads(json.dumps(DEFAULTS, default=str))})
