"""The table of extractors against Keras's own sources and preprocessing; no network is built here."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from imagematch.extractors import SPECS, Spec
from imagematch.extractors.networks import build_application, preprocessing

APPLICATIONS = {name: spec for name, spec in SPECS.items() if spec.application}
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
    assert {spec.application for spec in APPLICATIONS.values()} == functions


@pytest.mark.parametrize("spec", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_sizes_are_keras_s_own(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):  # noqa: N818
        pass

    def stop(_shape: Any, **sizes: Any) -> None:
        raise Asked(sizes["default_size"], sizes["min_size"])

    if spec.application.startswith("MobileNetV3"):  # checks for itself, and its files are named after 224 px
        with pytest.raises(ValueError, match="at least 32x32"):
            build_application(spec, spec.min_image_size - 1, None)
        assert spec.image_size == 224
        return
    monkeypatch.setattr("keras.src.applications.imagenet_utils.obtain_input_shape", stop)
    with pytest.raises(Asked) as asked:
        build_application(spec, spec.image_size, None)
    assert (spec.image_size, spec.min_image_size) == asked.value.args


@pytest.mark.parametrize("spec", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_preprocessing_is_keras_s_own(spec: Spec) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = module_of(spec.application).preprocess_input(images.copy())
    np.testing.assert_allclose(np.asarray(preprocessing(spec, images)), expected, atol=1e-4)


def test_two_names_of_one_network_share_features() -> None:
    assert SPECS["efficientnet"].architecture == SPECS["efficientnet_v2_b0"].architecture
    distinct = {str(spec.architecture) for spec in SPECS.values()}
    assert len(distinct) == len(SPECS) - 1
