"""The table of feature extractors: name, default image size, feature dimension, preprocessing, published weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_EFFICIENTNET_B0 = "https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5"


@dataclass(frozen=True)
class Spec:
    """What is known of a feature extractor before it is built.

    Attributes:
        name: what the user writes as `feature_extractor`.
        image_size: side in pixels of the square image it was made for.
        min_image_size: the smallest side it can take.
        feature_dim: length of its features; 0 where that follows from the image size (`pixels`).
        preprocessing: what is done to pixels of 0 to 255, a key of `preprocessing.LAYERS`.
        application: its function in `keras.applications`; empty where the network is our own.
        arguments: what that function needs besides the input shape.
        imagenet_url: its published ImageNet weights without the top; empty where there are none.
        imagenet_md5: their MD5 where the publisher gives one.
        from_scratch: it has no published weights and is meant to be trained, all of it.
    """

    name: str
    image_size: int
    min_image_size: int
    feature_dim: int
    preprocessing: str
    application: str = ""
    arguments: tuple[tuple[str, object], ...] = ()
    imagenet_url: str = ""
    imagenet_md5: str = ""
    from_scratch: bool = False


_SPECS = (
    Spec("pixels", 32, 1, 0, "unit"),
    Spec("small_cnn", 32, 8, 256, "symmetric", from_scratch=True),
    Spec(
        "efficientnet",
        224,
        32,
        1280,
        "none",
        "EfficientNetV2B0",
        (("include_preprocessing", True),),
        _APPLICATIONS + "efficientnet_v2/efficientnetv2-b0_notop.h5",
        "893217f2bb855e2983157299931e43ff",
    ),
    Spec(
        "efficientnet_b0",
        224,
        32,
        1280,
        "none",
        "EfficientNetB0",
        (),
        _EFFICIENTNET_B0,
        "50bc09e76180e00e4465e1a485ddc09d",
    ),
    Spec(
        "resnet50",
        224,
        32,
        2048,
        "caffe",
        "ResNet50",
        (),
        _APPLICATIONS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    Spec(
        "vgg16",
        224,
        32,
        512,
        "caffe",
        "VGG16",
        (),
        _APPLICATIONS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    Spec(
        "inception_v3",
        299,
        75,
        2048,
        "symmetric",
        "InceptionV3",
        (),
        _APPLICATIONS + "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    Spec(
        "mobilenet",
        224,
        32,
        1024,
        "symmetric",
        "MobileNet",
        (("alpha", 1.0),),
        _APPLICATIONS + "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
    ),
    Spec(
        "mobilenet_025",
        128,
        32,
        256,
        "symmetric",
        "MobileNet",
        (("alpha", 0.25),),
        _APPLICATIONS + "mobilenet/mobilenet_2_5_128_tf_no_top.h5",
    ),
    Spec(
        "mobilenet_v2",
        224,
        32,
        1280,
        "symmetric",
        "MobileNetV2",
        (("alpha", 1.0),),
        _APPLICATIONS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
)

SPECS: Mapping[str, Spec] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every feature extractor by its name, in the order they are listed to people."""
