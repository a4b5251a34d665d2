"""What is known about a key stands beside it; what trials share, resume and compare follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from imagematch.config import DEFAULTS, KEYS, STAGE_KEYS, STUDY_FACTS, TUNABLE, Affects, parse_study, parse_train, rules
from imagematch.config.fields import facts_of, key
from imagematch.options import flag

DIGESTS = json.loads((Path(__file__).parents[2] / "fixtures" / "study_digests_0_1.json").read_text())
DATA = {"group": "data", "affects": Affects.DATA, "tunable": "trials on other data cannot be compared"}


def test_every_key_says_what_it_is() -> None:
    for facts in (*KEYS.values(), *STUDY_FACTS.values()):
        assert facts.option.description.endswith((".", "default."))
        assert facts.option.expects


@pytest.mark.parametrize("forgotten", DATA)
def test_a_key_that_forgets_something_is_a_type_error(forgotten: str) -> None:
    assert key(flag(False, "Something."), **DATA)
    with pytest.raises(TypeError, match=forgotten):
        key(flag(False, "Something."), **{name: value for name, value in DATA.items() if name != forgotten})


def test_a_key_without_facts_is_a_type_error() -> None:
    class Forgetful(BaseModel):
        new_key: bool = Field(False)

    with pytest.raises(TypeError, match="Forgetful declares new_key without its facts"):
        facts_of(Forgetful)


@pytest.mark.parametrize("wrong", [{"group": "dta"}, {"tunable": False}])
def test_a_key_of_no_group_or_fixed_for_no_reason_is_a_type_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        key(flag(False, "Something."), **{**DATA, **wrong})


def test_data_and_features_are_shared_only_by_trainings_that_agree_about_them() -> None:
    for name, facts in KEYS.items():
        if facts.group in ("data", "features"):
            assert facts.affects.shared, name
    shared = {name for name, facts in KEYS.items() if facts.affects.shared}
    assert shared == {
        *("seed", "dataset", "data_dir", "split", "split_by", "calibration_share", "min_images_per_class"),
        *(
            "max_classes",
            "layout",
            "missing_files",
            "corrections",
            "near_duplicates",
            "value_range",
            "max_megapixels",
            "face_crop",
            "face_margin",
        ),
        *("face_align", "face_missing", "image_size"),
        *("feature_extractor", "input", "weights", "trainable", "image_augmentation", "augmented_views"),
        *("test_time_flip", "engine", "feature_precision", "feature_dir"),
    }


@pytest.mark.parametrize(
    ("values", "agree"),
    [
        ({"image_size": 64}, False),
        ({"feature_dir": "elsewhere"}, False),
        ({"test_time_flip": True}, False),
        ({"stages": [{"trainable": 2}]}, False),
        ({"stages": [{"epochs": 3}]}, True),
        ({"embedding_dim": 8, "loss": "circle", "threshold": "eer", "training_seed": 9}, True),
    ],
)
def test_what_trainings_share(values: dict[str, Any], agree: bool) -> None:
    plain = parse_train({"experiment_name": "x"})
    assert (parse_train({"experiment_name": "y", **values}).shared_values == plain.shared_values) is agree


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"data_dir": "d", "feature_dir": "f", "test_time_flip": True, "threshold": {"far": 0.01}}, True),
        ({"engine": "openvino"}, False),
        ({"embedding_dim": 8}, False),
        ({"embedding_dim": 128, "margin": None}, True),
        ({"stages": [{"epochs": 3}]}, False),
    ],
)
def test_what_decides_the_outcome_of_a_training(values: dict[str, Any], same: bool) -> None:
    plain = parse_train({"experiment_name": "x"})
    other = parse_train({"experiment_name": "y", **values})
    assert (other.trained_values == plain.trained_values) is same
    assert json.loads(json.dumps(other.trained_values)) == other.trained_values


@pytest.mark.parametrize("case", DIGESTS, ids=lambda case: case["digest"][:8])
def test_studies_of_version_0_1_are_recognised(case: dict[str, Any]) -> None:
    """Where they named no dropout they searched it up to 1, which is to be written now."""
    study = case["study"]
    if not any(key.startswith("dropout") for key in study):
        study = {**study, "dropout_range": {"low": 0.0, "high": 1.0, "step": 0.1}}
    assert parse_study(study).digest == case["digest"]


def test_lists_that_follow_from_the_facts() -> None:
    assert set(TUNABLE) | {name for name, facts in KEYS.items() if isinstance(facts.tunable, str)} == set(KEYS)
    assert {name for name, facts in KEYS.items() if not facts.affects.compared} == {
        *("experiment_name", "data_dir", "feature_dir", "engine", "refit", "test_time_flip", "threshold"),
        "callbacks",
    }
    assert set(STAGE_KEYS) <= set(TUNABLE)
    unranked = {name for name, facts in KEYS.items() if facts.changes_val_loss}
    assert {"loss", "margin", "batch_size", "cross_batch_memory"} <= unranked
    assert "proxy_rate" not in unranked


class Recorded(Mapping[str, Any]):
    """Values that remember which of them were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_, self.read = values, set[str]()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


SITUATIONS = [
    {},
    {"dataset": "folder", "feature_extractor": ("pixels", "vgg16"), "batch_images": 1, "objective": "val_loss"},
    {"loss": "arcface", "objective": "val_loss", "split_by": "class", "triplet_hinge": "softplus"},
    {"stages": ({"trainable": 2},), "feature_extractor": "kerashub:x", "batch_size": 8, "face_crop": "haar"},
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_rules_and_conditions_read_only_what_they_declare(situation: dict[str, Any]) -> None:
    values = {**DEFAULTS, **situation}
    for rule, reads in rules.RULES:
        recorded = Recorded(values)
        list(rule(recorded))
        assert recorded.read <= set(reads)
    for name, facts in KEYS.items():
        if facts.condition is not None:
            recorded = Recorded(values)
            if not facts.condition.holds(recorded) and facts.condition.otherwise is not None:
                facts.condition.otherwise(recorded)
            assert recorded.read <= set(facts.condition.depends_on), name
