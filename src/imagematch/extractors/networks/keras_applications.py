"""The networks of `keras.applications`, one a row, with the weights that Keras publishes."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.registry import EXTRACTOR_REGISTRY, ExtractorSpec, Preprocessing

if TYPE_CHECKING:
    import keras

_ROWS: tuple[tuple[str, int, int, int, Preprocessing, int, str], ...] = (
    # name, image size, smallest, features, preprocessing ("none": the network does its own), parameters, function
    ("efficientnet", 224, 32, 1280, "none", 5_919_312, "EfficientNetV2B0"),
    ("efficientnet_v2_b0", 224, 32, 1280, "none", 5_919_312, "EfficientNetV2B0"),
    ("efficientnet_v2_b1", 240, 32, 1280, "none", 6_931_124, "EfficientNetV2B1"),
    ("efficientnet_v2_b2", 260, 32, 1408, "none", 8_769_374, "EfficientNetV2B2"),
    ("efficientnet_v2_b3", 300, 32, 1536, "none", 12_930_622, "EfficientNetV2B3"),
    ("efficientnet_v2_s", 384, 32, 1280, "none", 20_331_360, "EfficientNetV2S"),
    ("efficientnet_v2_m", 480, 32, 1280, "none", 53_150_388, "EfficientNetV2M"),
    ("efficientnet_v2_l", 480, 32, 1280, "none", 117_746_848, "EfficientNetV2L"),
    ("efficientnet_b0", 224, 32, 1280, "none", 4_049_571, "EfficientNetB0"),
    ("efficientnet_b1", 240, 32, 1280, "none", 6_575_239, "EfficientNetB1"),
    ("efficientnet_b2", 260, 32, 1408, "none", 7_768_569, "EfficientNetB2"),
    ("efficientnet_b3", 300, 32, 1536, "none", 10_783_535, "EfficientNetB3"),
    ("efficientnet_b4", 380, 32, 1792, "none", 17_673_823, "EfficientNetB4"),
    ("efficientnet_b5", 456, 32, 2048, "none", 28_513_527, "EfficientNetB5"),
    ("efficientnet_b6", 528, 32, 2304, "none", 40_960_143, "EfficientNetB6"),
    ("efficientnet_b7", 600, 32, 2560, "none", 64_097_687, "EfficientNetB7"),
    ("mobilenet", 224, 32, 1024, "symmetric", 3_228_864, "MobileNet"),
    ("mobilenet_025", 128, 32, 256, "symmetric", 218_544, "MobileNet"),
    ("mobilenet_v2", 224, 32, 1280, "symmetric", 2_257_984, "MobileNetV2"),
    ("mobilenet_v3_small", 224, 32, 576, "none", 939_120, "MobileNetV3Small"),
    ("mobilenet_v3_large", 224, 32, 960, "none", 2_996_352, "MobileNetV3Large"),
    ("convnext_tiny", 224, 32, 768, "none", 27_820_128, "ConvNeXtTiny"),
    ("convnext_small", 224, 32, 768, "none", 49_454_688, "ConvNeXtSmall"),
    ("convnext_base", 224, 32, 1024, "none", 87_566_464, "ConvNeXtBase"),
    ("convnext_large", 224, 32, 1536, "none", 196_230_336, "ConvNeXtLarge"),
    ("convnext_xlarge", 224, 32, 2048, "none", 348_147_968, "ConvNeXtXLarge"),
    ("resnet50", 224, 32, 2048, "caffe", 23_587_712, "ResNet50"),
    ("resnet101", 224, 32, 2048, "caffe", 42_658_176, "ResNet101"),
    ("resnet152", 224, 32, 2048, "caffe", 58_370_944, "ResNet152"),
    ("resnet50_v2", 224, 32, 2048, "symmetric", 23_564_800, "ResNet50V2"),
    ("resnet101_v2", 224, 32, 2048, "symmetric", 42_626_560, "ResNet101V2"),
    ("resnet152_v2", 224, 32, 2048, "symmetric", 58_331_648, "ResNet152V2"),
    ("densenet121", 224, 32, 1024, "imagenet", 7_037_504, "DenseNet121"),
    ("densenet169", 224, 32, 1664, "imagenet", 12_642_880, "DenseNet169"),
    ("densenet201", 224, 32, 1920, "imagenet", 18_321_984, "DenseNet201"),
    ("inception_v3", 299, 75, 2048, "symmetric", 21_802_784, "InceptionV3"),
    ("inception_resnet_v2", 299, 75, 1536, "symmetric", 54_336_736, "InceptionResNetV2"),
    ("xception", 299, 71, 2048, "symmetric", 20_861_480, "Xception"),
    ("nasnet_mobile", 224, 32, 1056, "symmetric", 4_269_716, "NASNetMobile"),
    ("nasnet_large", 331, 32, 4032, "symmetric", 84_916_818, "NASNetLarge"),
    ("vgg16", 224, 32, 512, "caffe", 14_714_688, "VGG16"),
    ("vgg19", 224, 32, 512, "caffe", 20_024_384, "VGG19"),
)
_ARGUMENTS: dict[str, dict[str, float]] = {"mobilenet_025": {"alpha": 0.25}}
"""What a function needs besides the image size."""

IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue in 0 to 1."""


def build_application(function: str, image_size: int, weights: str | None, **arguments: float) -> keras.Model:
    """A network of `keras.applications`, with random weights (None) or `imagenet`, which Keras fetches."""
    import keras

    constructor = getattr(keras.applications, function)
    shape = (image_size, image_size, 3)
    return constructor(include_top=False, weights=weights, pooling="avg", input_shape=shape, **arguments)


def load_application(
    network: keras.Model, name: str, function: str, image_size: int, arguments: dict[str, Any]
) -> None:
    """Builds the network a second time, at the size it was made for: its file is Keras's to choose."""
    try:
        published = build_application(function, image_size, "imagenet", **arguments)
    except Exception as error:  # get_file raises bare Exception, URLError, OSError
        raise unfetched(name, error) from error
    network.set_weights(published.get_weights())


def unfetched(name: str, error: Exception) -> ModelError:
    """What is said where published weights cannot be had."""
    reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
    return ModelError(
        f"the published weights of {name} cannot be fetched ({reason})",
        where="weights: imagenet",
        do="download that file elsewhere and give `weights: PATH`, or use `weights: random`",
    )


def _divide_by_standard_deviation(network: Any) -> None:
    """What `keras.applications` adds as a layer, but only where it fetches an EfficientNet's weights itself.

    EfficientNets (of the first version) were trained with pixels divided by the standard deviation, while the
    Normalization layer in those files keeps the standard deviation as its variance. Without this the network sees
    pixels of half the contrast.
    """
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_variance.assign(layer.adapt_variance * IMAGENET_DEVIATION)
            layer.finalize_state()


def keras_version() -> str:
    """Keras's version, which names the files of published weights."""
    try:
        return metadata.version("keras")
    except metadata.PackageNotFoundError:  # a server needs none: it builds no network
        return "absent"


def _spec(
    name: str,
    image_size: int,
    smallest: int,
    feature_dim: int,
    preprocessing: Preprocessing,
    parameters: int,
    function: str,
) -> ExtractorSpec:
    arguments = _ARGUMENTS.get(name, {})
    return ExtractorSpec(
        name=name,
        build=lambda size: build_application(function, size, None, **arguments),
        image_size=image_size,
        min_image_size=smallest,
        feature_dim=feature_dim,
        preprocessing=preprocessing,
        parameters=parameters,
        architecture=(function, *map(list, arguments.items())),
        published=f"keras-{keras_version()}",  # this Keras names the file, mostly with its hash
        load_published=lambda network: load_application(network, name, function, image_size, arguments),
        after_loading=_divide_by_standard_deviation if function.startswith("EfficientNetB") else None,
    )


for _row in _ROWS:
    EXTRACTOR_REGISTRY.register(_row[0], _spec(*_row))
