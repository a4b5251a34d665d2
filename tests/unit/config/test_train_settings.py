"""The settings of a training run: defaults, types, ranges, and what several fields must keep to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from imagematch import config
from imagematch.config import DEFAULTS, TrainSettings, parse_train
from imagematch.errors import ConfigError


def _train(**values: Any) -> TrainSettings:
    return parse_train({"experiment_name": "x", **values})


def test_defaults() -> None:
    expected = {
        "seed": 0,
        "dataset": "tiny_imagenet",
        "data_dir": None,
        "split": (0.7, 0.2, 0.1),
        "split_by": "image",
        "calibration_share": 0.25,
        "min_images_per_class": 2,
        "max_classes": None,
        "face_crop": "none",
        "face_margin": 0.2,
        "face_align": False,
        "face_missing": "whole",
        "image_size": None,
        "feature_extractor": "efficientnet",
        "weights": "imagenet",
        "trainable": False,
        "image_augmentation": False,
        "augmented_views": 0,
        "intermediate_ff_block_units": (),
        "dropout": 0.0,
        "embedding_dim": 128,
        "engine": "auto",
        "feature_precision": "auto",
        "feature_dir": Path("exp/features"),
        "loss": "triplet_semihard",
        "batch_classes": 64,
        "batch_images": 4,
        "batch_size": None,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "lr_schedule": "constant",
        "weight_decay": 0.0,
        "epochs": 50,
        "early_stopping_patience": 10,
        "objective": "val_map_at_r",
        "validation_max_images": 5000,
        "threshold": "balanced_accuracy",
    }
    made = dict(_train())
    assert {key: made[key] for key in expected if key != "data_dir"} == {
        k: v for k, v in expected.items() if k != "data_dir"
    }
    assert {key: DEFAULTS[key] for key in expected} == expected


def test_every_default_passes_its_own_check() -> None:
    for key, value in DEFAULTS.items():
        if key not in ("data_dir", "training_seed") and not config.KEYS[key].losses:
            assert getattr(_train(**{key: value}), key) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "5"),
        ("epochs", True),
        ("epochs", 1.0),
        ("epochs", -1),
        ("epochs", None),
        ("seed", -1),
        ("seed", 2**32),
        ("face_margin", -0.1),
        ("face_margin", 2.1),
        ("face_align", 1),
        ("dropout", "0.5"),
        ("dropout", True),
        ("dropout", float("nan")),
        ("dropout", float("inf")),
        ("dropout", 1.1),
        ("dropout", -0.1),
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("learning_rate", 10**400),
        ("calibration_share", 0),
        ("calibration_share", 1),
        ("proxy_rate", 0),
        ("proxy_rate", 10_001),
        ("image_augmentation", 1),
        ("image_augmentation", "no"),
        ("trainable", 0),
        ("trainable", -1),
        ("trainable", "all"),
        ("trainable", 1.5),
        ("intermediate_ff_block_units", "[512, 256]"),
        ("intermediate_ff_block_units", [512, 0]),
        ("intermediate_ff_block_units", [512, 1.5]),
        ("intermediate_ff_block_units", [True]),
        ("intermediate_ff_block_units", 512),
        ("intermediate_ff_block_units", [1] * 33),
        ("split", [0.5, 0.6]),
        ("split", [1.0]),
        ("split", [0.5, 0.5, 0.0]),
        ("split", [0.25, 0.25, 0.25, 0.25]),
        ("split", 0.7),
        ("split", ["0.5", "0.5"]),
        ("data_dir", ""),
        ("data_dir", "a\0b"),
        ("data_dir", 5),
        ("feature_dir", None),
        ("weights", "imagnet"),
        ("weights", ""),
        ("weights", None),
        ("image_size", 4),
        ("max_classes", 1),
        ("batch_size", 1),
        ("embedding_dim", 0),
        ("dataset", "tiny-imagenet"),
        ("loss", "triplet"),
        ("objective", "val_accuracy_at_1"),
        ("engine", None),
        ("experiment_name", "../up"),
        ("experiment_name", ""),
        ("experiment_name", 5),
        ("threshold", "eerr"),
        ("threshold", 0.5),
        ("threshold", {"far": 0}),
        ("threshold", {"far": True}),
        ("threshold", {"far": float("nan")}),
        ("threshold", {"far": 0.1, "frr": 0.1}),
        ("threshold", {"confidence": 0.95}),
        ("threshold", {"far": 0.1, "confidence": 0.5}),
        ("threshold", {"far": 0.1, "confidence": 1}),
        ("threshold", {"cost": {"false_match": 1, "false_non_match": 1}, "confidence": 0.95}),
        ("threshold", {"cost": 3}),
        ("threshold", {"cost": {"false_match": 1}}),
        ("threshold", {"cost": {"false_match": 1, "false_non_match": 1, "prior": 1}}),
        ("threshold", {"cost": {"false_match": 1, "false_non_match": 1, "priors": 0.5}}),
        ("threshold", {"cost": {"false_match": 1, "false_non_match": "x"}}),
        ("threshold", {}),
        ("threshold", None),
        ("value_range", "ful"),
        ("value_range", [4095]),
        ("value_range", [4095, 0]),
        ("value_range", [0, True]),
        ("value_range", [0, float("inf")]),
        ("value_range", None),
        ("max_megapixels", 0),
        ("max_megapixels", 4296),
    ],
)
def test_refused_in_one_line_that_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        _train(**{field: value})
    text = str(refusal.value)
    assert text.startswith("settings: ")
    assert field in text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("field", "value", "read_as"),
    [
        ("dropout", 1, 1.0),
        ("dropout", 0, 0.0),
        ("face_crop", "haar", "haar"),
        ("learning_rate", 1, 1.0),
        ("trainable", True, True),
        ("trainable", 1, 1),
        ("split", [0.8, 0.2], (0.8, 0.2)),
        ("intermediate_ff_block_units", [512, 256], (512, 256)),
        ("intermediate_ff_block_units", [], ()),
        ("data_dir", "a/b", Path("a/b")),
        ("data_dir", Path("a"), Path("a")),
        ("weights", "w.h5", "w.h5"),
        ("weights", Path("/w/x"), "/w/x"),
        ("threshold", "eer", "eer"),
        ("threshold", {"far": 1e-3}, {"far": 0.001}),
        ("threshold", {"frr": 0.01}, {"frr": 0.01}),
        ("image_size", None, None),
    ],
)
def test_accepted(field: str, value: Any, read_as: Any) -> None:
    read = getattr(_train(**{field: value}), field)
    assert read == read_as
    assert type(read) is type(read_as)


def test_threshold_by_cost() -> None:
    cost = {"false_match": 10, "false_non_match": 1}
    assert _train(threshold={"cost": cost}).threshold == {"cost": {"false_match": 10.0, "false_non_match": 1.0}}
    with_prior = {"cost": {**cost, "prior": 0.01}}
    assert _train(threshold=with_prior).threshold == with_prior


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        _train().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize("values", [{"loss": "arcface"}, {"batch_size": 8, "margin": 0.1}, {"threshold": {"far": 0.1}}])
def test_settings_survive_json(values: dict[str, Any]) -> None:
    made = _train(data_dir="d", intermediate_ff_block_units=[8], dropout=0.5, **values)
    assert parse_train(json.loads(json.dumps(made.model_dump(mode="json", exclude_unset=True)))) == made


def test_loss_options_hold_what_was_given() -> None:
    assert _train(loss="arcface", angle=0.3).loss_options == {"scale": 64.0, "angle": 0.3, "proxy_rate": 1.0}
    assert _train(loss="triplet_hard", margin=0).loss_options["margin"] == 0.0


def test_margin() -> None:
    assert _train().margin == 0.2
    assert _train(batch_size=256).margin == 1.0
    assert _train(batch_size=256, margin=0.4).margin == 0.4
    assert _train(batch_size=256, loss="cosface").margin == 0.35
    assert _train(loss="arcface").margin is None
    assert _train(triplet_hinge="softplus").margin is None


UNFREEZING = [{"trainable": False}, {"trainable": 2}]
NOT_AUGMENTED = [{"image_augmentation": False}]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"loss": "arcface", "margin": 0.1}, "margin belongs to contrastive, .*triplet; arcface has `scale`, `angle`"),
        ({"loss": "triplet_hard", "temperature": 0.1}, "temperature belongs to normalised_softmax, nt_xent"),
        ({"loss": "cosface", "loss_distance": "squared_euclidean"}, "loss_distance belongs to triplet"),
        ({"loss": "cosface", "cross_batch_memory": 8}, "cross_batch_memory belongs to"),
        ({"loss": "nt_xent", "proxy_rate": 2}, "proxy_rate belongs to arcface, cosface.*; nt_xent has `temperature"),
        ({"triplet_hinge": "softplus", "margin": 0.1}, "margin has no effect with triplet_hinge: softplus"),
        ({"batch_size": 8, "batch_classes": 4}, "batch_classes does not go with batch_size"),
        ({"batch_size": 8, "batch_images": 8}, "batch_images does not go with batch_size"),
        (
            {"loss": "triplet_offline", "batch_classes": 4},
            "batch_classes does not go with triplet_offline",
        ),
        ({"loss": "triplet_offline", "cross_batch_memory": 8}, "cross_batch_memory belongs to circle, contrastive"),
        ({"lr_schedule": "bit_hyperrule", "epochs": 51}, "epochs does not go with lr_schedule: bit_hyperrule"),
        ({"lr_schedule": "bit_hyperrule", "early_stopping_patience": 3}, "early_stopping_patience does not go with"),
        ({"training_precision": "float16"}, "training_precision must be one of float32, bfloat16, not 'float16'"),
        ({"face_margin": 0.3}, "face_margin has no effect without face_crop: haar"),
        ({"face_align": True}, "face_align has no effect without face_crop: haar"),
        ({"face_crop": "none", "face_missing": "skip"}, "face_missing has no effect without face_crop: haar"),
        ({"face_crop": "haar", "face_missing": "skipp"}, "face_missing must be one of whole, skip, error, not 'skipp'"),
        ({"augmented_views": 3}, "augmented_views has no effect without image_augmentation"),
        ({"dataset": "folder"}, "dataset: folder needs data_dir"),
        ({"dataset": "csv"}, "dataset: csv needs data_dir"),
        ({"image_augmentation": True, "augmented_views": 3, "stages": NOT_AUGMENTED}, "augmented_views has no effect"),
        ({"feature_whitening": 8, "stages": UNFREEZING}, "feature_whitening needs a frozen extractor"),
        ({"epochs": 3, "stages": [{"lr_schedule": "bit_hyperrule"}]}, "epochs does not go with lr_schedule"),
        (
            {"feature_extractor": "kerashub:./vit", "trainable": True, "layer_decay": 0.8},
            "layer_decay does not reach into kerashub:./vit, whose layers are hidden inside",
        ),
        ({"feature_extractor": "small_cnn", "trainable": False}, "trainable: false has no effect with small_cnn"),
        ({"feature_extractor": "small_cnn", "stages": UNFREEZING}, "stage 1: trainable: false has no effect with"),
        ({"feature_extractor": "small_cnn", "feature_whitening": 8}, r"needs a frozen extractor \(weights: PATH\)"),
        ({"batch_images": 1}, "compares images of one class"),
        ({"batch_images": 1, "cross_batch_memory": 8, "objective": "val_loss"}, "val_loss of triplet_semihard needs"),
        ({"loss": "arcface", "split_by": "class", "objective": "val_loss"}, "val_loss has no meaning"),
    ],
)
def test_fields_that_do_not_go_together(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _train(**values)
    with pytest.raises(ValidationError, match=says):
        TrainSettings(experiment_name="x", **values)


@pytest.mark.parametrize(
    "values",
    [
        {"loss": "arcface", "margin": None},
        {"loss": "arcface", "cross_batch_memory": 0},  # the defaults of keys may be spelt out wherever they are
        {"loss": "contrastive", "loss_distance": "euclidean", "triplet_hinge": "hinge", "proxy_rate": 1},
        {"layer_decay": 1.0, "augmented_views": 0, "face_margin": 0.2, "face_missing": "whole"},
        {"batch_size": 8, "batch_classes": 64, "batch_images": 4},
        {"lr_schedule": "bit_hyperrule", "epochs": 50, "early_stopping_patience": 10},
        {"stages": [{"layer_decay": 1.0, "augmented_views": 0}]},
        {"batch_size": None, "batch_classes": 4},
        {"loss": "arcface", "batch_images": 1, "proxy_rate": 100},
        {"batch_images": 1, "cross_batch_memory": 1024},
        {"batch_size": 8},
        {"augmented_views": 3, "stages": [{"image_augmentation": False}, {"image_augmentation": True}]},
        {"feature_whitening": 8, "trainable": 2, "stages": [{"trainable": False}]},
        {"lr_schedule": "bit_hyperrule", "epochs": 3, "stages": [{"lr_schedule": "cosine"}, {}]},
        {"dropout": 0.5},
        {"feature_extractor": "pixels", "weights": "imagenet"},
        {"feature_extractor": "kerashub:./preset"},
        {"feature_extractor": "small_cnn"},
        {"feature_extractor": "small_cnn", "layer_decay": 0.5},
        {"feature_extractor": "small_cnn", "weights": "a.weights.h5", "trainable": False},
        {"feature_extractor": "small_cnn", "weights": "a.weights.h5", "feature_whitening": 8},
        {"feature_extractor": "pixels", "trainable": True, "layer_decay": 0.5, "feature_whitening": 8},
        {"dataset": "folder", "data_dir": "photos"},
    ],
)
def test_fields_that_go_together(values: dict[str, Any]) -> None:
    assert isinstance(_train(**values), TrainSettings)


def test_training_seed() -> None:
    assert _train(seed=3).training_seed == 3
    assert _train(seed=3, training_seed=5).training_seed == 5


def test_data_dir_by_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _train().data_dir == Path("data/tiny-imagenet-200")
    (tmp_path / "tiny-imagenet-200").mkdir()
    assert _train().data_dir == Path("tiny-imagenet-200")
    assert _train(data_dir="mine").data_dir == Path("mine")
    assert _train(dataset="digits").data_dir is None
    assert _train(dataset="omniglot").data_dir == Path("data/omniglot")


def test_describe_tells_what_runs() -> None:
    text = "\n".join(_train(dataset="digits", loss="arcface").describe())
    for part in ("digits", "arcface", "scale 64.0", "64 classes x 4", "val_map_at_r"):
        assert part in text


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = _train(dataset="folder", data_dir="~/photos", weights="~/a.weights.h5", feature_dir="~/features")
    assert settings.data_dir == Path("/home/someone/photos")
    assert settings.weights == "/home/someone/a.weights.h5"
    assert settings.feature_dir == Path("/home/someone/features")
    assert _train(dataset="folder", data_dir="photos/~").data_dir == Path("photos/~")
