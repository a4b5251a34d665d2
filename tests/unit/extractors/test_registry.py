"""The table of extractors against Keras's own sources and preprocessing; no network is built here."""

from __future__ import annotations

import inspect
import math
from typing import Any

import keras
import numpy as np
import pytest

from imagematch.errors import ConfigError
from imagematch.extractors.extractor import preprocess
from imagematch.registry import EXTRACTOR_REGISTRY, ExtractorSpec, Registry

SPECS = EXTRACTOR_REGISTRY.all()
APPLICATIONS = {name: spec for name, spec in SPECS.items() if spec.published.startswith("keras-")}
MODULES = {
    "ConvNeXt": "convnext",
    "DenseNet": "densenet",
    "EfficientNetV2": "efficientnet_v2",
    "EfficientNetB": "efficientnet",
    "InceptionResNet": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNetV3": "mobilenet_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNet": "mobilenet",
    "NASNet": "nasnet",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
}


def module_of(application: str) -> Any:
    if application.startswith("ResNet"):
        return keras.applications.resnet_v2 if application.endswith("V2") else keras.applications.resnet
    return getattr(keras.applications, next(name for start, name in MODULES.items() if application.startswith(start)))


def test_every_application_of_keras_has_a_name() -> None:
    public = vars(keras.applications).items()
    functions = {name for name, value in public if inspect.isfunction(value) and not name.startswith("_")}
    assert {spec.architecture[0] for spec in APPLICATIONS.values()} == functions


@pytest.mark.parametrize("spec", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_sizes_are_keras_s_own(spec: ExtractorSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):  # noqa: N818
        pass

    def stop(_shape: Any, **sizes: Any) -> None:
        raise Asked(sizes["default_size"], sizes["min_size"])

    if str(spec.architecture[0]).startswith("MobileNetV3"):  # checks for itself, and its files are named after 224 px
        with pytest.raises(ValueError, match="at least 32x32"):
            spec.build(spec.min_image_size - 1)
        assert spec.image_size == 224
        return
    monkeypatch.setattr("keras.src.applications.imagenet_utils.obtain_input_shape", stop)
    with pytest.raises(Asked) as asked:
        spec.build(spec.image_size)
    assert (spec.image_size, spec.min_image_size) == asked.value.args


@pytest.mark.parametrize("spec", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_preprocessing_is_keras_s_own(spec: ExtractorSpec) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = module_of(str(spec.architecture[0])).preprocess_input(images.copy())
    np.testing.assert_allclose(np.asarray(preprocess(spec, images)), expected, atol=1e-4)


def test_two_names_of_one_network_share_features() -> None:
    assert SPECS["efficientnet"].architecture == SPECS["efficientnet_v2_b0"].architecture
    distinct = {str(spec.architecture) for spec in SPECS.values()}
    assert len(distinct) == len(SPECS) - 1


@pytest.mark.parametrize("name", ["pixels", "small_cnn", "mobilenet_025", "bit_m_r50x1"])
def test_the_stated_number_of_parameters_is_the_network_s(name: str) -> None:
    assert sum(math.prod(weight.shape) for weight in SPECS[name].build(32).weights) == SPECS[name].parameters


def test_a_network_that_is_registered_names_all_that_is_needed() -> None:
    """Its description needs no Keras: nothing is built to read it."""
    registry: Registry[ExtractorSpec] = Registry("feature extractor", package="none", group="none")
    with pytest.raises(ConfigError, match="'My Net' cannot name a feature extractor"):
        registry.register("My Net", SPECS["pixels"])
    registry.register("mine", SPECS["pixels"])
    with pytest.raises(ConfigError, match="a feature extractor called 'mine' is already in none"):
        registry.register("mine", SPECS["pixels"])
