"""Several extractors in one configuration: what is taken, what is refused, and as choices of a study."""

from __future__ import annotations

from typing import Any

import pytest

from imagematch.config import parse_study, parse_train
from imagematch.errors import ConfigError


def train(**values: Any) -> Any:
    return parse_train({"experiment_name": "x", "dataset": "digits", **values})


def test_a_list_is_taken_and_written_again() -> None:
    settings = train(feature_extractor=["mobilenet_v2", "efficientnet"], weights=["imagenet", "a/b.h5"])
    assert settings.feature_extractor == ("mobilenet_v2", "efficientnet")
    assert settings.weights == ("imagenet", "a/b.h5")
    assert "feature_extractor: [mobilenet_v2, efficientnet]\n" in settings.to_yaml()
    assert parse_train(settings.model_dump(mode="json", exclude_unset=True)) == settings
    assert any("mobilenet_v2 + efficientnet (imagenet + a/b.h5)" in line for line in settings.describe())


def test_a_list_of_one_is_that_one() -> None:
    assert train(feature_extractor=["vgg16"]) == train(feature_extractor="vgg16")
    alone = train(feature_extractor="vgg16", weights="a/b.h5")
    assert train(feature_extractor=["vgg16"], weights=["a/b.h5"]) == alone
    assert train(feature_extractor="vgg16", weights=["a/b.h5"]) == alone
    study = parse_study({"study_name": "s", "dataset": "digits", "weights": ["a/b.h5"], "dropout_grid": [0, 0.5]})
    assert study.settings_for({"dropout": 0.5}).weights == "a/b.h5"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"feature_extractor": ["pixels", "kerashub:"]}, "feature_extractor must be one of"),
        ({"feature_extractor": []}, "feature_extractor is an empty list"),
        ({"feature_extractor": ["vgg16", "pixels", "vgg16"]}, "feature_extractor names vgg16 twice"),
        ({"feature_extractor": ["vgg16", "mobilnet"]}, "did you mean mobilenet"),
        ({"feature_extractor": ["vgg16", 3]}, "feature_extractor must be one of"),
        ({"feature_extractor": {"a": 1}}, "feature_extractor must be one of"),
        ({"feature_extractor": ["vgg16", "resnet50"], "trainable": True}, "trainable is for one extractor"),
        ({"feature_extractor": ["vgg16", "resnet50"], "trainable": 2}, "trainable is for one extractor"),
        (
            {"feature_extractor": ["vgg16", "resnet50"], "weights": ["random"]},
            "weights is a list of 1, and there are 2",
        ),
        ({"weights": ["imagnet"]}, "weights must be imagenet, random or"),
        ({"weights": []}, "weights is a list of 0, and there is 1 extractor"),
        ({"weights": ["random", "imagenet"]}, "weights is a list of 2, and there is 1 extractor"),
        (
            {"feature_extractor": ["vgg16", "resnet50"], "weights": ["random", "x"]},
            "weights must be imagenet, random or",
        ),
        ({"feature_whitening": 0}, "feature_whitening must be a whole number from 1"),
        ({"feature_whitening": 8, "trainable": True}, "feature_whitening needs a frozen extractor"),
        ({"test_time_flip": 1}, "test_time_flip must be true, false or auto, not 1"),
    ],
)
def test_what_does_not_fit_is_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(**values)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_choice_of_a_study_may_be_a_list() -> None:
    grid = ["pixels", ["pixels", "mobilenet_025"]]
    study = parse_study({"study_name": "s", "dataset": "digits", "feature_extractor_grid": grid})
    dimension = study.space["feature_extractor"]
    assert dimension.values() == ("pixels", ("pixels", "mobilenet_025"))
    label = dimension.labels[1]  # type: ignore[union-attr]
    assert label == '["pixels", "mobilenet_025"]'
    values = study.values_of({"feature_extractor": label})
    assert study.settings_for(values).feature_extractor == ("pixels", "mobilenet_025")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"feature_extractor_grid": [["vgg16", "pixels"], ["vgg16", "pixels"]]}, "given twice"),
        ({"feature_extractor_grid": ["vgg16", []]}, "is an empty list"),
        (
            {"feature_extractor_grid": ["vgg16", ["vgg16", "pixels"]], "weights": ["random", "random"]},
            "weights is a list",
        ),
        ({"feature_extractor": ["vgg16", "pixels"], "trainable_grid": [False, 2]}, "trainable is for one extractor"),
        ({"test_time_flip_grid": [True, False]}, "trials are ranked without it"),
    ],
)
def test_a_study_with_a_list_that_does_not_fit_is_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_study({"study_name": "s", "dataset": "digits", **values})
