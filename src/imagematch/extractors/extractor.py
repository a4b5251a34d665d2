"""A feature extractor that the settings chose: what it is called, what it gives, and how it is built."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imagematch.errors import ConfigError, ModelError
from imagematch.extractors.kerashub import PREFIX, preset_spec
from imagematch.extractors.registry import SPECS, Spec
from imagematch.extractors.weights import load_weights, weights_digest
from imagematch.files import digest_json

if TYPE_CHECKING:
    import keras

Trainable = bool | int | Mapping[str, int]
"""False (frozen), True, the number of last layers with weights, or {"blocks": the number of last blocks}."""

NETWORK_VERSION = 1
"""Raised whenever the same settings would give other features: a change in the preprocessing or in our own network."""


class Network(Protocol):
    """What engines run and the store keeps features of: an `Extractor`, or a saved network that looks like one."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def image_size(self) -> int:
        """Side of the square it sees, in pixels: pictures are decoded to at most this size."""

    @property
    def feature_dim(self) -> int:
        """Length of its features."""

    @property
    def digest(self) -> str:
        """What identifies its features: network, weights, image size, preprocessing."""

    def build(self, precision: str = "float32") -> keras.Model:
        """(batch, h, w, 3) uint8 or float 0..255 -> (batch, feature_dim) float32."""


@dataclass(frozen=True)
class Extractor:
    """A feature extractor; making one is cheap and does not import TensorFlow.

    Attributes:
        spec: its row in the registry, or that of a preset.
        image_size: side of the square the network sees, in pixels.
        weights: `imagenet`, `random` or a path.
        weights_digest: identifies the weights by content.
        seed: what random weights are drawn with.
        trainable: what of it is trained.
    """

    spec: Spec
    image_size: int
    weights: str
    weights_digest: str
    seed: int = 0
    trainable: Trainable = False

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.spec.name

    @property
    def feature_dim(self) -> int:
        """Length of its features."""
        return self.spec.feature_dim or self.image_size * self.image_size * 3

    @property
    def frozen(self) -> bool:
        """Whether nothing in it is trained, so that its features can be kept."""
        return self.trainable is False

    @property
    def trains_norms(self) -> bool:
        """Whether its batch norms are trained with the rest: only in a network that starts from random weights."""
        return self.weights_digest.startswith("random:")

    @property
    def digest(self) -> str:
        """32 hex digits that change whenever its features would: network, weights, image size, preprocessing."""
        return digest_json([NETWORK_VERSION, self.spec.architecture, self.image_size, self.weights_digest])

    def build(self, precision: str = "float32") -> keras.Model:
        """Builds the Keras model: resizing, preprocessing, network and average in one.

        Args:
            precision: `float32`, or `bfloat16` for Keras's mixed_bfloat16 inside the network.

        Returns:
            (batch, h, w, 3) uint8 or float in 0..255, any h and w -> (batch, feature_dim) float32.

        Raises:
            ModelError: the weights cannot be fetched, read or fitted.
        """
        from imagematch.extractors.cut import freeze
        from imagematch.extractors.networks import build_network, dtype_policy, whole_network

        with dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32"):
            network = build_network(self.spec, self.image_size, self.seed)
            load_weights(self.spec, network, self.weights)
            model = whole_network(self.spec, network, self.image_size)
        freeze(model, self)
        return model


def find_spec(name: str) -> Spec:
    """What is known of the extractor of this name: its row in the registry, or what a KerasHub preset says of itself.

    Raises:
        ConfigError: there is no such extractor.
        ModelError: the preset cannot be had.
    """
    if name.startswith(PREFIX):
        return preset_spec(name)
    if name in SPECS:
        return SPECS[name]
    near = difflib.get_close_matches(name, SPECS, 1)
    do = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(SPECS)} or {PREFIX}PRESET"
    raise ConfigError(f"there is no extractor {name!r}", where="feature_extractor", do=do)


def make_extractor(settings: Any) -> Extractor:
    """The extractor that the settings choose. One without published weights is trained, unless `weights` is a path.

    Args:
        settings: with `feature_extractor`, `weights`, `image_size` (None: its own), `trainable` and `seed`.

    Raises:
        ConfigError: there is no such extractor, or the image size is too small for it.
        ModelError: `weights` is a path without a file of weights, or a KerasHub preset cannot be had.
    """
    name = str(settings.feature_extractor)
    spec = find_spec(name)
    image_size = int(settings.image_size or spec.image_size)
    if image_size < spec.min_image_size:
        raise ConfigError(
            f"{name} needs images of at least {spec.min_image_size} px, not {image_size}", where="image_size"
        )
    seed = int(settings.seed)
    weights = str(settings.weights)
    trainable = settings.trainable
    if name == "pixels" or (isinstance(trainable, int) and trainable <= 0):  # pixels have nothing to train
        trainable = False
    if spec.preset and not isinstance(trainable, bool):
        what = f"{name} cannot be trained in part: its layers are hidden inside"
        raise ConfigError(what, where="trainable", do="give true or false")
    if spec.from_scratch and weights in ("imagenet", "random"):
        trainable = trainable or True
    return Extractor(spec, image_size, weights, weights_digest(spec, weights, seed), seed, trainable)


__all__ = ["NETWORK_VERSION", "Extractor", "ModelError", "Network", "find_spec", "make_extractor"]
