"""A feature extractor that the settings chose: what it is called, what it gives, and how it is built."""

from __future__ import annotations

import contextlib
import difflib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imagematch.errors import ConfigError
from imagematch.extractors.kerashub_presets import preset_spec
from imagematch.extractors.network_files import network_file_spec
from imagematch.extractors.trainable import Trainable, freeze, trained_layers
from imagematch.extractors.weights import load_weights, weights_digest
from imagematch.files import digest_json
from imagematch.framing import Framing
from imagematch.registry import EXTRACTOR_REGISTRY, KERASHUB_PREFIX, ONNX_PREFIX, ExtractorSpec

if TYPE_CHECKING:
    import keras

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

NETWORK_VERSION = 1
"""Raised whenever the same settings would give other features: a change in the preprocessing or in our own network."""


class Network(Protocol):
    """What engines run and the store caches features of: an `Extractor`, or a saved network that looks like one."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def image_size(self) -> int:
        """Side of the square it sees, in pixels: images are decoded to at most this size."""

    @property
    def framing(self) -> Framing:
        """What is made of images that are not square."""

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

    spec: ExtractorSpec
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
    def framing(self) -> Framing:
        """What is made of images that are not square."""
        return self.spec.framing

    @property
    def feature_dim(self) -> int:
        """Length of its features."""
        return self.spec.feature_dim or self.image_size * self.image_size * 3

    @property
    def frozen(self) -> bool:
        """Whether nothing in it is trained, so that its features can be cached."""
        return self.trainable is False

    @property
    def trains_norms(self) -> bool:
        """Whether its batch norms are trained with the rest: only in a network that starts from random weights."""
        return self.weights_digest.startswith("random:")

    def trained_layers(self, network: keras.Model) -> list[keras.layers.Layer]:
        """The layers of the bare network that are trained; see `trainable.trained_layers`."""
        return trained_layers(network, self.name, self.trainable, with_norms=self.trains_norms)

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
        with dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32"):
            network = build_network(self.spec, self.image_size, self.seed)
            load_weights(self.spec, network, self.weights)
            model = whole_network(self.spec, network, self.image_size)
        freeze(model, self.name, self.trainable, with_norms=self.trains_norms)
        return model


def find_spec(name: str) -> ExtractorSpec:
    """What is known of the extractor of this name: its row in the registry, or what a KerasHub preset says of itself.

    Raises:
        ConfigError: there is no such extractor.
        ModelError: the preset cannot be had.
    """
    if name.startswith(KERASHUB_PREFIX):
        return preset_spec(name)
    specs = EXTRACTOR_REGISTRY.all()
    if name in specs:
        return specs[name]
    near = difflib.get_close_matches(name, specs, 1)
    names = f"{', '.join(specs)}, {KERASHUB_PREFIX}PRESET or {ONNX_PREFIX}PATH"
    do = f"did you mean {near[0]}?" if near else f"choose one of {names}"
    raise ConfigError(f"there is no extractor {name!r}", where="feature_extractor", do=do)


def make_extractor(settings: Any) -> Extractor:
    """The extractor that the settings choose. One without published weights is trained, unless `weights` is a path.

    Args:
        settings: with `feature_extractor`, `weights`, `image_size` (None: its own), `trainable` and `seed`.

    Raises:
        ConfigError: there is no such extractor, or the image size is too small for it.
        ModelError: `weights` is a path without a file of weights, or a preset or a network file cannot be used.
    """
    name = str(settings.feature_extractor)
    if name.startswith(ONNX_PREFIX):
        spec = network_file_spec(name, getattr(settings, "input", None), settings.image_size)
    else:
        spec = find_spec(name)
    image_size = int(settings.image_size or spec.image_size)
    if image_size < spec.min_image_size:
        raise ConfigError(
            f"{name} needs images of at least {spec.min_image_size} px, not {image_size}", where="image_size"
        )
    seed = int(settings.seed)
    weights = str(settings.weights)
    trainable = settings.trainable
    if spec.parameters == 0 or (isinstance(trainable, int) and trainable <= 0):  # or it has nothing to train
        trainable = False
    if spec.convert is not None and trainable is not False:
        raise ConfigError(f"{name} runs as it is and cannot be trained", where="trainable", do="leave it out")
    if spec.convert is not None and weights != "imagenet":
        raise ConfigError(f"{name} has its weights inside", where="weights", do="leave it out")
    if spec.files and not isinstance(trainable, bool):
        what = f"{name} cannot be trained in part: its layers are hidden inside"
        raise ConfigError(what, where="trainable", do="give true or false")
    if spec.from_scratch and weights in ("imagenet", "random"):
        trainable = trainable or True
    return Extractor(spec, image_size, weights, weights_digest(spec, weights, seed), seed, trainable)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Makes initial weights drawn in the block depend on the seed alone, without changing the global random state.

    Keras draws the seed of every initialiser that has none from Python's own generator.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside get this Keras dtype policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_network(spec: ExtractorSpec, image_size: int, seed: int) -> keras.Model:
    """The bare network with random weights: (batch, image_size, image_size, 3) preprocessed -> (batch, feature_dim)."""
    with seeded(seed):
        return spec.build(image_size)


def preprocess(spec: ExtractorSpec, images: Any) -> Any:
    """Pixels of 0 to 255 -> what the network was trained on; a Keras tensor in and out."""
    import keras

    from imagematch.extractors.layers import CaffePixels

    if spec.preprocessing == "unit":
        return keras.layers.Rescaling(1 / 255, dtype="float32", name="unit_pixels")(images)
    if spec.preprocessing == "symmetric":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="symmetric_pixels")(images)
    if spec.preprocessing == "caffe":
        return CaffePixels(dtype="float32", name="caffe_pixels")(images)
    if spec.preprocessing == "imagenet":
        scale = [1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)]
        return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="imagenet_pixels")(images)
    return spec.preprocessing(images) if callable(spec.preprocessing) else images


def whole_network(spec: ExtractorSpec, network: keras.Model, image_size: int) -> keras.Model:
    """Resizing + preprocessing + network: (batch, h, w, 3) uint8 or float 0..255 -> (batch, feature_dim) float32."""
    import keras

    inputs = keras.Input((None, None, 3), dtype="float32", name="image")
    enlarge = keras.layers.Resizing(image_size, image_size, interpolation="bilinear", dtype="float32", name="enlarge")
    x = enlarge(inputs, training=False)  # it trains by default, and so would every layer behind it
    x = network(preprocess(spec, x))
    if x.dtype != "float32":
        x = keras.layers.Activation("linear", dtype="float32", name="float32")(x)
    return keras.Model(inputs, x, name=re.sub(r"\W+", "_", spec.name) + "_extractor")
