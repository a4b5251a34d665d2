"""MobileNetV2 with the averages of four of its layers side by side, instead of the last one's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.extractors.networks.keras_applications import build_application, keras_version, load_application
from imagematch.registry import register_extractor

if TYPE_CHECKING:
    import keras

_LAYERS = ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")
"""The last activation at 1/4, 1/8, 1/16 and 1/32 of the image's side: 144, 192, 576 and 1280 channels."""
_FEATURE_DIM = 2_192


@register_extractor(
    "mobilenet_v2_layers",
    image_size=224,
    min_image_size=32,
    feature_dim=_FEATURE_DIM,
    preprocessing="symmetric",
    parameters=2_257_984,
    published=f"MobileNetV2 of keras-{keras_version()}",
    load_published=lambda network: load_application(network, "mobilenet_v2_layers", "MobileNetV2", 224, {}),
)
def build_mobilenet_v2_layers(image_size: int) -> keras.Model:
    """(batch, image_size, image_size, 3) in -1 to 1 -> (batch, 2192): each layer's average, of one length.

    It costs what MobileNetV2 costs and reads the same weights. Low layers know strokes and textures, which the last one
    has given up for the classes of ImageNet.
    """
    import keras

    from imagematch.extractors.feature_scaling import part_length
    from imagematch.extractors.layers import FixedLength

    network = build_application("MobileNetV2", image_size, None)
    length, parts = part_length(_FEATURE_DIM, len(_LAYERS)), []
    for name in _LAYERS:
        average = keras.layers.GlobalAveragePooling2D(name=f"{name}_average")(network.get_layer(name).output)
        parts.append(FixedLength(length, name=f"{name}_scaled")(average))
    return keras.Model(network.input, keras.layers.Concatenate(name="side_by_side")(parts), name="mobilenet_v2_layers")
