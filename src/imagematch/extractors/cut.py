"""Which layers of a network are trained, and the cut below them: what is under it stays as it is, and can be kept."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.errors import ConfigError
from imagematch.extractors.extractor import Extractor
from imagematch.files import digest_json

if TYPE_CHECKING:
    import keras

_BLOCK = re.compile(
    r"(?:stage_?\d+_)?block_?\d+[a-z]?(?![a-z\d])|conv\d+_block\d+|conv_[dp]w_\d+|expanded_conv_\d+", re.I
)
_NOT_BLOCKS = ("InceptionResNetV2",)


@dataclass(frozen=True)
class Cut:
    """The lower part of an extractor whose upper part is trained: a network whose features engines run and stores keep.

    Attributes:
        extractor: the whole.
        place: the operation of the bare network, counted from 0, whose output is the one tensor the upper part sees.
        layer: its name, for people: some are numbered anew whenever a network is built.
        shape: of that tensor, without the batch.
    """

    extractor: Extractor
    place: int
    layer: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.extractor.name} up to operation {self.place}"

    @property
    def image_size(self) -> int:
        """The extractor's."""
        return self.extractor.image_size

    @property
    def feature_dim(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def digest(self) -> str:
        """Changes with the extractor's features, and with the place of the cut."""
        return digest_json([self.extractor.digest, "cut", self.place, self.shape])

    def build(self, precision: str = "float32") -> keras.Model:
        """(batch, h, w, 3) uint8 or float 0..255 -> (batch, feature_dim) float32."""
        return self.lower_part(self.extractor.build(precision))

    def lower_part(self, whole: keras.Model) -> keras.Model:
        """What is below the cut of a built extractor, sharing its weights; the tensor comes out flat."""
        import keras

        from imagematch.extractors.networks import whole_network

        network = network_inside(whole)
        flat = keras.layers.Flatten(dtype="float32", name="flat")(_output_of(network.operations[self.place]))
        lower = keras.Model(network.inputs, flat, name=f"{network.name}_below")
        return whole_network(self.extractor.spec, lower, self.image_size)

    def upper_part(self, whole: keras.Model) -> keras.Model:
        """What is above the cut of a built extractor, sharing its weights: flat tensor -> (batch, feature_dim)."""
        import keras

        network = network_inside(whole)
        seen = _output_of(network.operations[self.place])
        upper = keras.Model(seen, network.outputs[0], name=f"{network.name}_above")
        inputs = keras.Input((self.feature_dim,), name="cut")
        return keras.Model(inputs, upper(keras.layers.Reshape(self.shape, name="unflat")(inputs)), name="upper")


def find_cut(extractor: Extractor) -> Cut | None:
    """The single tensor below all layers that are trained which is best kept. Imports Keras.

    It is the highest of at most a quarter as many numbers as the picture the network sees: the highest leaves the least
    to compute at every step, but inside a block tensors are wide. Where there is none, the highest that is no larger
    than the picture; else the highest of all. None where everything is trained, or all from the first block on.
    """
    from imagematch.extractors.networks import build_network

    if extractor.trainable is True or extractor.frozen:
        return None
    network = build_network(extractor.spec, extractor.image_size, extractor.seed)
    trained = {id(layer) for layer in trained_layers(network, extractor)}
    operations = network.operations  # in an order in which everything stands behind what it needs
    last_use: dict[int, int] = {}
    for place, operation in enumerate(operations):
        for tensor in _inputs_of(operation):
            last_use[id(tensor)] = place
    found: list[Cut] = []
    reach, begun = 0, False
    for place, operation in enumerate(operations):
        if id(operation) in trained:
            break
        output = _output_of(operation)
        single = reach <= place and not isinstance(output, (list, tuple))
        outputs = output if isinstance(output, (list, tuple)) else [output]
        reach = max([reach, *(last_use.get(id(tensor), len(operations)) for tensor in outputs)])
        begun = begun or any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
        if begun and single and None not in output.shape[1:]:
            found.append(Cut(extractor, place, operation.name, tuple(int(side) for side in output.shape[1:])))
    picture = 3 * extractor.image_size**2
    for limit in (picture / 4, picture, math.inf):
        small = [cut for cut in found if cut.feature_dim <= limit]
        if small:
            return small[-1]
    return None


def trained_layers(network: keras.Model, extractor: Extractor) -> list[keras.layers.Layer]:
    """The layers that are trained, of the bare network, from the lowest to the highest.

    The batch norms of a pretrained network are never among them: their statistics are worth more than what a few
    epochs of small batches would make of them.

    Raises:
        ConfigError: the network has no blocks by name, or only batch norms would be trained.
    """
    import keras

    trainable = extractor.trainable
    if trainable is False:
        return []
    weighted = [layer for layer in network.layers if layer.weights]
    chosen = weighted
    if isinstance(trainable, Mapping):
        chosen = _last_blocks(weighted, int(trainable["blocks"]), extractor)
    elif trainable is not True:
        chosen = weighted[max(len(weighted) - trainable, 0) :]
    norms = keras.layers.BatchNormalization
    layers = [layer for layer in chosen if extractor.trains_norms or not isinstance(layer, norms)]
    if not layers and weighted:
        raise ConfigError(
            f"the last {len(chosen)} layers of {extractor.name} are batch norms, which stay as they are",
            where="trainable",
            do="train more layers",
        )
    return layers


def freeze(whole: keras.Model, extractor: Extractor) -> None:
    """Marks what may be trained. A frozen BatchNormalization runs in inference mode, also while the rest is trained.

    Those of a pretrained network are frozen wherever they are: the backbone of a KerasHub preset is one layer here.
    """
    import keras

    if extractor.frozen:
        whole.trainable = False
        return
    network = network_inside(whole)
    trained = {id(layer) for layer in trained_layers(network, extractor)}
    for layer in network.layers:
        if layer.weights:
            layer.trainable = id(layer) in trained
    if not extractor.trains_norms:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def network_inside(whole: keras.Model) -> Any:
    """The bare network in a built extractor."""
    import keras

    return [layer for layer in whole.layers if isinstance(layer, keras.Model)][-1]


def _last_blocks(weighted: list[Any], blocks: int, extractor: Extractor) -> list[Any]:
    """From the first layer of the block `blocks` before the end to the last layer of all."""
    names = [match.group(0) if (match := _BLOCK.search(layer.name)) else "" for layer in weighted]
    names = [re.sub(r"conv_[dp]w_", "conv_", name) for name in names]  # MobileNet's depthwise and pointwise halves
    known = list(dict.fromkeys(name for name in names if name))
    if not known or extractor.spec.application in _NOT_BLOCKS:
        raise ConfigError(
            f"{extractor.name} has no blocks that its layers are named after", where="trainable", do="give trainable: N"
        )
    return weighted[names.index(known[-min(blocks, len(known))]) :]


def _output_of(operation: Any) -> Any:
    """The output where it was first used: cutting a network uses its layers once more."""
    node = operation._inbound_nodes[0]
    return node.outputs[0] if len(node.outputs) == 1 else node.outputs


def _inputs_of(operation: Any) -> list[Any]:
    return list(operation._inbound_nodes[0].input_tensors)
