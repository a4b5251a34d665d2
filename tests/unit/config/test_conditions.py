"""The tables of conditional fields and of the losses' own fields."""

from __future__ import annotations

from imagematch.config import CONDITIONS, DEFAULTS, LOSS_FIELDS, LOSSES, OPTION_FIELDS, PAIR_LOSSES, parse_train
from imagematch.config.conditions import is_active, refusal


def test_every_loss_has_its_fields() -> None:
    assert tuple(LOSS_FIELDS) == LOSSES


def test_fields_of_losses_are_settings_with_a_condition() -> None:
    for field in OPTION_FIELDS:
        assert field in DEFAULTS
        assert "loss" in CONDITIONS[field].depends_on


def test_memory_goes_with_pair_losses_only() -> None:
    assert {loss for loss in LOSSES if "cross_batch_memory" in LOSS_FIELDS[loss]} == set(PAIR_LOSSES)


def test_conditions_are_about_settings() -> None:
    for field, condition in CONDITIONS.items():
        assert field in DEFAULTS
        assert set(condition.depends_on) <= set(DEFAULTS)


def test_published_defaults_are_valid_values() -> None:
    for loss, fields in LOSS_FIELDS.items():
        made = parse_train({"experiment_name": "x", "loss": loss, **fields})
        assert made.loss_options == fields


def test_dropout_without_blocks_is_idle_but_let_pass() -> None:
    assert not is_active("dropout", DEFAULTS)
    assert is_active("dropout", {**DEFAULTS, "intermediate_ff_block_units": (8,)})
    assert refusal("dropout", DEFAULTS) is None
    assert is_active("epochs", DEFAULTS)


def test_pixels_have_no_weights() -> None:
    assert not is_active("weights", {**DEFAULTS, "feature_extractor": "pixels"})
    assert is_active("weights", {**DEFAULTS, "feature_extractor": "small_cnn"})


def test_fields_of_faces_count_where_faces_are_cut_out() -> None:
    for field in ("face_margin", "face_align", "face_missing"):
        assert not is_active(field, DEFAULTS)
        assert is_active(field, {**DEFAULTS, "face_crop": "haar"})
        assert refusal(field, {**DEFAULTS, "face_crop": "haar"}) is None
    made = parse_train({"experiment_name": "x", "face_crop": "haar", "face_margin": 0, "face_align": True})
    assert (made.face_margin, made.face_align, made.face_missing) == (0.0, True, "whole")
