"""Which layers of a network are trained: all, the last few, or the last blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagematch.errors import ConfigError
from imagematch.keras_internals import all_layers

if TYPE_CHECKING:
    import keras

Trainable = bool | int | Mapping[str, int]
"""False (frozen), True, the number of last layers with weights, or {"blocks": the number of last blocks}."""

_BLOCK = re.compile(
    r"(?:stage_?\d+_)?block_?\d+[a-z]?(?![a-z\d])|conv\d+_block\d+|conv_[dp]w_\d+|expanded_conv_\d+", re.I
)
_NOT_BLOCKS = ("inception_resnet_v2",)
"""Their layers carry the numbers of layers, not of blocks."""


def trained_layers(
    network: keras.Model, name: str, trainable: Trainable, *, with_norms: bool
) -> list[keras.layers.Layer]:
    """The layers that are trained, of the bare network, from the lowest to the highest.

    The batch norms of a pretrained network are never among them: their statistics are worth more than what a few
    epochs of small batches would make of them.

    Args:
        network: the bare network.
        name: what the user calls it.
        trainable: what of it is trained.
        with_norms: train its batch norms, too.

    Raises:
        ConfigError: the network has no blocks by name, or only batch norms would be trained.
    """
    import keras

    if trainable is False:
        return []
    weighted = [layer for layer in network.layers if layer.weights]
    chosen = weighted
    if isinstance(trainable, Mapping):
        chosen = _last_blocks(weighted, int(trainable["blocks"]), network.name, name)
    elif trainable is not True:
        chosen = weighted[max(len(weighted) - trainable, 0) :]
    norms = keras.layers.BatchNormalization
    layers = [layer for layer in chosen if with_norms or not isinstance(layer, norms)]
    if not layers and weighted:
        raise ConfigError(
            f"the last {len(chosen)} layers of {name} are batch norms, which stay as they are",
            where="trainable",
            do="train more layers",
        )
    return layers


def freeze(whole: keras.Model, name: str, trainable: Trainable, *, with_norms: bool) -> None:
    """Marks what may be trained. A frozen BatchNormalization runs in inference mode, also while the rest is trained.

    Those of a pretrained network are frozen wherever they are: the backbone of a KerasHub preset is one layer here.
    The arguments are those of `trained_layers`, but for the built extractor.
    """
    import keras

    if trainable is False:
        whole.trainable = False
        return
    network = network_inside(whole)
    trained = {id(layer) for layer in trained_layers(network, name, trainable, with_norms=with_norms)}
    for layer in network.layers:
        if layer.weights:
            layer.trainable = id(layer) in trained
    if not with_norms:
        for layer in all_layers(network):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def network_inside(whole: keras.Model) -> Any:
    """The bare network in a built extractor."""
    import keras

    return [layer for layer in whole.layers if isinstance(layer, keras.Model)][-1]


def _last_blocks(weighted: list[Any], blocks: int, network: str, name: str) -> list[Any]:
    """From the first layer of the block `blocks` before the end to the last layer of all."""
    names = [match.group(0) if (match := _BLOCK.search(layer.name)) else "" for layer in weighted]
    names = [re.sub(r"conv_[dp]w_", "conv_", name) for name in names]  # MobileNet's depthwise and pointwise halves
    known = list(dict.fromkeys(name for name in names if name))
    if not known or network in _NOT_BLOCKS:
        raise ConfigError(
            f"{name} has no blocks that its layers are named after", where="trainable", do="give trainable: N"
        )
    return weighted[names.index(known[-min(blocks, len(known))]) :]
