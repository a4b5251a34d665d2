"""The tables of conditional fields and of the losses' own fields."""

from __future__ import annotations

from imagematch.config import CONDITIONS, DEFAULTS, KEYS, is_active, parse_train
from imagematch.config.train_keys import idle_reason
from imagematch.registry import LOSS_REGISTRY


def test_options_of_losses_are_keys_with_a_condition() -> None:
    for option in LOSS_REGISTRY.options():
        assert option in DEFAULTS
        assert "loss" in CONDITIONS[option].depends_on
        assert KEYS[option].losses


def test_memory_goes_with_pair_losses_only() -> None:
    assert KEYS["cross_batch_memory"].losses == LOSS_REGISTRY.names("pair")


def test_conditions_are_about_settings() -> None:
    for field, condition in CONDITIONS.items():
        assert field in DEFAULTS
        assert set(condition.depends_on) <= set(DEFAULTS)


def test_published_defaults_are_valid_values() -> None:
    for loss, spec in LOSS_REGISTRY.all().items():
        defaults = {name: option.default for name, option in spec.options.items()}
        assert parse_train({"experiment_name": "x", "loss": loss}).loss_options == defaults
        assert parse_train({"experiment_name": "x", "loss": loss, **defaults}).loss_options == defaults


def test_dropout_without_blocks_is_idle_but_let_pass() -> None:
    assert not is_active("dropout", DEFAULTS)
    assert is_active("dropout", {**DEFAULTS, "intermediate_ff_block_units": (8,)})
    assert idle_reason("dropout", DEFAULTS) is None
    assert is_active("epochs", DEFAULTS)


def test_pixels_have_no_weights() -> None:
    assert not is_active("weights", {**DEFAULTS, "feature_extractor": "pixels"})
    assert is_active("weights", {**DEFAULTS, "feature_extractor": "small_cnn"})


def test_fields_of_faces_count_where_faces_are_cut_out() -> None:
    for field in ("face_margin", "face_align", "face_missing"):
        assert not is_active(field, DEFAULTS)
        assert is_active(field, {**DEFAULTS, "face_crop": "haar"})
        assert idle_reason(field, {**DEFAULTS, "face_crop": "haar"}) is None
    made = parse_train({"experiment_name": "x", "face_crop": "haar", "face_margin": 0, "face_align": True})
    assert (made.face_margin, made.face_align, made.face_missing) == (0.0, True, "whole")
