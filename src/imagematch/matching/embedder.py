"""Pictures -> embeddings, the way the matcher's threshold was chosen: same network, engine and precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from imagematch.errors import ConfigError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation, Engine, Extractor, Network, find_spec, member_network, open_engine
from imagematch.matching.card import EmbeddingCard, MemberCard
from imagematch.model import flip_average

if TYPE_CHECKING:
    import keras

Head = Callable[[np.ndarray], np.ndarray]
"""Features (n, feature_dim) -> embeddings (n, dim) float32, L2-normalised."""

_BATCH = 64
_SAME_DISTANCE = {"float32": 0.014, "bfloat16": 0.1}
_REPLACED_DISTANCE = 0.2
"""Between an embedding and itself, computed again; cosines of 0.9999, 0.995 and 0.98."""


class Embedder(Protocol):
    """Turns pictures into embeddings.

    Attributes:
        golden_distance: how far golden embeddings may at most be from those kept when the matcher was saved.
        head: features -> embeddings; None where extractor and head run as one.
        engine: what runs the extractor in front of it; likewise.
    """

    @property
    def golden_distance(self) -> float:
        """See the class."""

    @property
    def head(self) -> Head | None:
        """See the class."""

    @property
    def engine(self) -> Engine | None:
        """See the class."""

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """n pictures (h, w, 3) uint8, each side at most the image size -> (n, dim) float32, L2-normalised."""


class HeadOnEngine:
    """A frozen extractor on its engine, and the head behind it."""

    def __init__(self, engine: Engine, head: Head, golden_distance: float) -> None:
        self.golden_distance = golden_distance
        self.head = head
        self.engine = engine

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See Embedder."""
        blocks = [
            self.head(self.engine.run(pictures[start : start + _BATCH])) for start in range(0, len(pictures), _BATCH)
        ]
        return np.concatenate(blocks)


class WholeModel:
    """A feature model that was trained end to end, run as one by Keras."""

    golden_distance = _SAME_DISTANCE["float32"]
    head = None
    engine = None

    def __init__(self, model: keras.Model, image_size: int) -> None:
        import tensorflow as tf

        self._image_size = image_size
        signature = [tf.TensorSpec((None, image_size, image_size, 3), tf.float32)]
        self._function = tf.function(lambda images: model(images, training=False), input_signature=signature)

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See Embedder."""
        blocks = []
        for start in range(0, len(pictures), _BATCH):
            images = np.stack([self._enlarged(picture) for picture in pictures[start : start + _BATCH]])
            blocks.append(self._function(images).numpy())
        return np.concatenate(blocks)

    def _enlarged(self, picture: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        return np.asarray(tf.image.resize(picture, (self._image_size, self._image_size), method="bilinear"))


class FlipAveraged:
    """The mean of what another embedder gives for an image and for its mirror image."""

    def __init__(self, embedder: Embedder) -> None:
        self.golden_distance = embedder.golden_distance
        self.head = embedder.head
        self.engine = embedder.engine
        self._embedder = embedder

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See Embedder."""
        mirrored = [picture[:, ::-1] for picture in pictures]
        return flip_average(self._embedder.embed(pictures), self._embedder.embed(mirrored))


@dataclass(frozen=True)
class SavedNetwork:
    """The extractor inside a saved feature model, as an engine wants it.

    Attributes:
        name: the extractor's.
        image_size: side of the square it sees, pixels.
        feature_dim: length of its features.
        digest: identifies its features.
        model: the network in float32, or what opens it when it is needed.
    """

    name: str
    image_size: int
    feature_dim: int
    digest: str
    model: keras.Model | Callable[[], keras.Model]

    def build(self, precision: str = "float32") -> keras.Model:
        """The network itself; for bfloat16 the same architecture anew, with its weights.

        Raises:
            ModelError: the network cannot be opened, or is not one that this version builds.
        """
        import keras

        model = self.model if isinstance(self.model, keras.Model) else self.model()
        if precision == "float32":
            return model
        try:
            spec = find_spec(self.name)
        except ConfigError as error:
            raise ModelError(f"{error.what} to build for {precision}", do="update imagematch") from error
        copy = Extractor(spec, self.image_size, "random", self.digest).build(precision)
        try:
            copy.set_weights(model.get_weights())
        except ValueError as error:
            raise ModelError(
                f"{self.name} is built another way now: its weights do not fit", do="train the model again"
            ) from error
        return copy


def make_embedder(
    card: EmbeddingCard,
    open_model: Callable[[], keras.Model],
    *,
    head: Head | None = None,
    network_dir: Path | None = None,
    log: RunLog = SILENT,
) -> Embedder:
    """The embedder that the card describes.

    Args:
        card: engine and precision, as the threshold was chosen with.
        open_model: gives the feature model, where it is needed.
        head: the feature model's head; None takes it from the feature model.
        network_dir: where converted networks are kept.
        log: told if the engine or its precision had to be replaced.
    """
    embedder = _make_plain_embedder(card, open_model, head, network_dir, log)
    return FlipAveraged(embedder) if card.test_time_flip else embedder


def _make_plain_embedder(
    card: EmbeddingCard, open_model: Callable[[], keras.Model], head: Head | None, network_dir: Path | None, log: RunLog
) -> Embedder:
    if card.whole_model:
        return WholeModel(open_model(), card.image_size)
    engine = _open_engine(card, saved_network(card, open_model), network_dir, log)
    replaced = engine.precision != card.precision
    distance = _REPLACED_DISTANCE if replaced else _SAME_DISTANCE[card.precision]
    return HeadOnEngine(engine, head or keras_head(open_model()), distance)


def saved_network(card: EmbeddingCard, open_model: Callable[[], keras.Model]) -> SavedNetwork | Concatenation:
    """The extractor of the feature model that `open_model` gives."""

    def extractor() -> keras.Model:
        from imagematch.model import split_feature_model

        return split_feature_model(open_model())[0]

    def member(number: int, one: MemberCard) -> SavedNetwork:
        return SavedNetwork(
            one.extractor,
            card.image_size,
            one.feature_dim,
            one.network_digest,
            lambda: member_network(extractor(), number),
        )

    if card.members:
        return Concatenation(tuple(member(number, one) for number, one in enumerate(card.members)))
    return SavedNetwork(card.extractor, card.image_size, card.feature_dim, card.network_digest, extractor)


def keras_head(model: keras.Model) -> Head:
    """The head of a feature model, run by Keras."""
    from imagematch.model import split_feature_model

    _, head = split_feature_model(model)
    return lambda features: np.asarray(head(np.asarray(features, np.float32), training=False))


def _open_engine(card: EmbeddingCard, network: Network, network_dir: Path | None, log: RunLog) -> Engine:
    """The card's engine; where this machine has none of it, another one in float32, and the log says so."""
    wanted = "auto" if card.engine == "numpy" else card.engine
    try:
        return open_engine(network, wanted, card.precision, network_dir, log)
    except ModelError as error:
        engine = open_engine(network, "auto", "float32", network_dir, log)
        log.event("engine_replaced", f"{replacement(card, engine)} ({error.what})")
        return engine


def replacement(card: EmbeddingCard, engine: Engine | None) -> str | None:
    """What a reader must know where another engine or precision serves than the threshold was chosen with."""
    if engine is None or (engine.name, engine.precision) == (card.engine, card.precision):
        return None
    return (
        f"The threshold was chosen with {card.engine} in {card.precision}, which cannot be had here: {engine.name} in "
        f"{engine.precision} serves, and distances may differ in the third digit."
    )


def extraction(engine: Engine) -> tuple[str, str]:
    """The engine and the precision to ask the feature store for, so that it gives what this engine gives."""
    return "auto" if engine.name == "numpy" else engine.name, engine.precision


def golden_pictures(image_size: int) -> list[np.ndarray]:
    """Three pictures made from numbers alone, the same on every machine: (h, w, 3) uint8.

    One of the full size, one half as large and one half as high, so that preprocessing is part of what they check.
    """
    half = max(1, image_size // 2)
    sizes = ((image_size, image_size), (half, half), (half, image_size))
    return [_waves(number, height, width) for number, (height, width) in enumerate(sizes, 1)]


def _waves(number: int, height: int, width: int) -> np.ndarray:
    down, across = np.meshgrid(np.linspace(0.0, 1.0, height), np.linspace(0.0, 1.0, width), indexing="ij")
    waves = [np.sin(2 * np.pi * (number * across + channel * down + 0.3 * number)) for channel in range(3)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)
