"""The table of feature extractors: name, default image size, feature dimension, preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Spec:
    """What is known of a feature extractor before it is built.

    Attributes:
        name: what the user writes as `feature_extractor`.
        image_size: side in pixels of the square image it was made for.
        min_image_size: the smallest side it can take.
        feature_dim: length of its features; 0 where that follows from the image size (`pixels`).
        preprocessing: what is done to pixels of 0 to 255, as `networks.preprocessing` knows it.
        application: its function in `keras.applications`; empty where the network is not Keras's.
        arguments: what that function needs besides the input shape.
        from_scratch: it has no published weights and is meant to be trained, all of it.
        preset: where its KerasHub preset lies, a folder; empty for all others.
    """

    name: str
    image_size: int
    min_image_size: int
    feature_dim: int
    preprocessing: str
    application: str = ""
    arguments: tuple[tuple[str, object], ...] = ()
    from_scratch: bool = False
    preset: str = ""

    @property
    def architecture(self) -> tuple[object, ...]:
        """What tells it from other networks: two names of one network, or a preset that was moved, have the same."""
        if self.preset:
            return ("kerashub",)  # the digest of its weights covers its configuration, too
        return (self.application, *map(list, self.arguments)) if self.application else (self.name,)


_OWN = (
    Spec("pixels", 32, 1, 0, "unit"),
    Spec("small_cnn", 32, 8, 256, "symmetric", from_scratch=True),
    Spec("bit_m_r50x1", 224, 32, 2048, "symmetric"),
)

_APPLICATIONS = (
    # name, image size, smallest, features, preprocessing ("none": the network holds its own), function, its arguments
    ("efficientnet", 224, 32, 1280, "none", "EfficientNetV2B0"),
    ("efficientnet_v2_b0", 224, 32, 1280, "none", "EfficientNetV2B0"),
    ("efficientnet_v2_b1", 240, 32, 1280, "none", "EfficientNetV2B1"),
    ("efficientnet_v2_b2", 260, 32, 1408, "none", "EfficientNetV2B2"),
    ("efficientnet_v2_b3", 300, 32, 1536, "none", "EfficientNetV2B3"),
    ("efficientnet_v2_s", 384, 32, 1280, "none", "EfficientNetV2S"),
    ("efficientnet_v2_m", 480, 32, 1280, "none", "EfficientNetV2M"),
    ("efficientnet_v2_l", 480, 32, 1280, "none", "EfficientNetV2L"),
    ("efficientnet_b0", 224, 32, 1280, "none", "EfficientNetB0"),
    ("efficientnet_b1", 240, 32, 1280, "none", "EfficientNetB1"),
    ("efficientnet_b2", 260, 32, 1408, "none", "EfficientNetB2"),
    ("efficientnet_b3", 300, 32, 1536, "none", "EfficientNetB3"),
    ("efficientnet_b4", 380, 32, 1792, "none", "EfficientNetB4"),
    ("efficientnet_b5", 456, 32, 2048, "none", "EfficientNetB5"),
    ("efficientnet_b6", 528, 32, 2304, "none", "EfficientNetB6"),
    ("efficientnet_b7", 600, 32, 2560, "none", "EfficientNetB7"),
    ("mobilenet", 224, 32, 1024, "symmetric", "MobileNet"),
    ("mobilenet_025", 128, 32, 256, "symmetric", "MobileNet", (("alpha", 0.25),)),
    ("mobilenet_v2", 224, 32, 1280, "symmetric", "MobileNetV2"),
    ("mobilenet_v3_small", 224, 32, 576, "none", "MobileNetV3Small"),
    ("mobilenet_v3_large", 224, 32, 960, "none", "MobileNetV3Large"),
    ("convnext_tiny", 224, 32, 768, "none", "ConvNeXtTiny"),
    ("convnext_small", 224, 32, 768, "none", "ConvNeXtSmall"),
    ("convnext_base", 224, 32, 1024, "none", "ConvNeXtBase"),
    ("convnext_large", 224, 32, 1536, "none", "ConvNeXtLarge"),
    ("convnext_xlarge", 224, 32, 2048, "none", "ConvNeXtXLarge"),
    ("resnet50", 224, 32, 2048, "caffe", "ResNet50"),
    ("resnet101", 224, 32, 2048, "caffe", "ResNet101"),
    ("resnet152", 224, 32, 2048, "caffe", "ResNet152"),
    ("resnet50_v2", 224, 32, 2048, "symmetric", "ResNet50V2"),
    ("resnet101_v2", 224, 32, 2048, "symmetric", "ResNet101V2"),
    ("resnet152_v2", 224, 32, 2048, "symmetric", "ResNet152V2"),
    ("densenet121", 224, 32, 1024, "imagenet", "DenseNet121"),
    ("densenet169", 224, 32, 1664, "imagenet", "DenseNet169"),
    ("densenet201", 224, 32, 1920, "imagenet", "DenseNet201"),
    ("inception_v3", 299, 75, 2048, "symmetric", "InceptionV3"),
    ("inception_resnet_v2", 299, 75, 1536, "symmetric", "InceptionResNetV2"),
    ("xception", 299, 71, 2048, "symmetric", "Xception"),
    ("nasnet_mobile", 224, 32, 1056, "symmetric", "NASNetMobile"),
    ("nasnet_large", 331, 32, 4032, "symmetric", "NASNetLarge"),
    ("vgg16", 224, 32, 512, "caffe", "VGG16"),
    ("vgg19", 224, 32, 512, "caffe", "VGG19"),
)

SPECS: Mapping[str, Spec] = MappingProxyType(
    {spec.name: spec for spec in (*_OWN, *(Spec(*row) for row in _APPLICATIONS))}
)
"""Every feature extractor by its name, in the order they are listed to people; KerasHub's presets are not here."""
