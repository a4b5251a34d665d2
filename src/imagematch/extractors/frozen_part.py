"""The part of a network below the layers that are trained: it stays as it is, so that its output can be cached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagematch.extractors.extractor import Extractor, build_network, whole_network
from imagematch.extractors.trainable import network_inside
from imagematch.files import digest_json
from imagematch.framing import Framing
from imagematch.keras_internals import inputs_of, output_of

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FrozenPart:
    """The lower part of an extractor whose upper part is trained: a network which engines run and stores cache.

    Attributes:
        extractor: the whole.
        operation: that of the bare network, counted from 0, whose output is the one tensor the upper part sees.
        layer: its name, for people: some are numbered anew whenever a network is built.
        shape: of that tensor, without the batch.
    """

    extractor: Extractor
    operation: int
    layer: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.extractor.name} up to operation {self.operation}"

    @property
    def image_size(self) -> int:
        """The extractor's."""
        return self.extractor.image_size

    @property
    def framing(self) -> Framing:
        """The extractor's."""
        return self.extractor.framing

    @property
    def feature_dim(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)

    @property
    def digest(self) -> str:
        """Changes with the extractor's features, and with the place of the cut."""
        return digest_json([self.extractor.digest, "cut", self.operation, self.shape])

    def build(self, precision: str = "float32") -> keras.Model:
        """(batch, h, w, 3) uint8 or float 0..255 -> (batch, feature_dim) float32."""
        return self.lower_part(self.extractor.build(precision))

    def lower_part(self, whole: keras.Model) -> keras.Model:
        """What is below the cut of a built extractor, sharing its weights; the tensor comes out flat."""
        import keras

        network = network_inside(whole)
        flat = keras.layers.Flatten(dtype="float32", name="flat")(output_of(network.operations[self.operation]))
        lower = keras.Model(network.inputs, flat, name=f"{network.name}_below")
        return whole_network(self.extractor.spec, lower, self.image_size)

    def upper_part(self, whole: keras.Model) -> keras.Model:
        """What is above the cut of a built extractor, sharing its weights: flat tensor -> (batch, feature_dim)."""
        import keras

        network = network_inside(whole)
        seen = output_of(network.operations[self.operation])
        upper = keras.Model(seen, network.outputs[0], name=f"{network.name}_above")
        inputs = keras.Input((self.feature_dim,), name="cut")
        return keras.Model(inputs, upper(keras.layers.Reshape(self.shape, name="unflat")(inputs)), name="upper")


def find_frozen_part(extractor: Extractor) -> FrozenPart | None:
    """The single tensor below all layers that are trained which is best cached. Imports Keras.

    It is the highest of at most a quarter as many numbers as the image the network sees: the highest leaves the least
    to compute at every step, but inside a block tensors are wide. Where there is none, the highest that is no larger
    than the image; else the highest of all. None where everything is trained, or all from the first block on.
    """
    if extractor.trainable is True or extractor.frozen:
        return None
    network = build_network(extractor.spec, extractor.image_size, extractor.seed)
    trained = {id(layer) for layer in extractor.trained_layers(network)}
    operations = network.operations  # in an order in which everything stands behind what it needs
    last_use: dict[int, int] = {}
    for number, operation in enumerate(operations):
        for tensor in inputs_of(operation):
            last_use[id(tensor)] = number
    found: list[FrozenPart] = []
    reach, begun = 0, False
    for number, operation in enumerate(operations):
        if id(operation) in trained:
            break
        output = output_of(operation)
        single = reach <= number and not isinstance(output, (list, tuple))
        outputs = output if isinstance(output, (list, tuple)) else [output]
        reach = max([reach, *(last_use.get(id(tensor), len(operations)) for tensor in outputs)])
        begun = begun or any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
        if begun and single and None not in output.shape[1:]:
            found.append(FrozenPart(extractor, number, operation.name, tuple(int(side) for side in output.shape[1:])))
    pixels = 3 * extractor.image_size**2
    for limit in (pixels / 4, pixels, math.inf):
        small = [cut for cut in found if cut.feature_dim <= limit]
        if small:
            return small[-1]
    return None
