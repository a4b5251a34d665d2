"""Pictures -> embeddings, the way the matcher's threshold was chosen: same network, engine and precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from imagematch.events import SILENT, RunLog
from imagematch.extractors import Engine, open_engine
from imagematch.matching.card import EmbeddingCard

if TYPE_CHECKING:
    import keras

_BATCH = 64
_GOLDEN_PICTURES = 3


class Embedder(Protocol):
    """Turns pictures into embeddings."""

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """n pictures (h, w, 3) uint8, each side at most the image size -> (n, dim) float32, L2-normalised."""


class HeadOnEngine:
    """A frozen extractor on its engine, the head in Keras behind it."""

    def __init__(self, engine: Engine, head: keras.Model) -> None:
        self._engine = engine
        self._head = head

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See Embedder."""
        blocks = [
            np.asarray(self._head(self._engine.run(pictures[start : start + _BATCH]), training=False))
            for start in range(0, len(pictures), _BATCH)
        ]
        return np.concatenate(blocks)


class WholeModel:
    """A feature model that was trained end to end, run as one by Keras."""

    def __init__(self, model: keras.Model, image_size: int) -> None:
        self._model = model
        self._image_size = image_size

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See Embedder."""
        blocks = []
        for start in range(0, len(pictures), _BATCH):
            images = np.stack([self._enlarged(picture) for picture in pictures[start : start + _BATCH]])
            blocks.append(np.asarray(self._model(images, training=False)))
        return np.concatenate(blocks)

    def _enlarged(self, picture: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        return np.asarray(tf.image.resize(picture, (self._image_size, self._image_size), method="bilinear"))


@dataclass(frozen=True)
class SavedNetwork:
    """The extractor inside a saved feature model, as an engine wants it."""

    name: str
    image_size: int
    feature_dim: int
    digest: str
    model: keras.Model

    def build(self, precision: str = "float32") -> keras.Model:
        """The network itself; its precision was fixed when it was built."""
        return self.model


def make_embedder(
    card: EmbeddingCard, model: keras.Model, *, network_dir: Path | None = None, log: RunLog = SILENT
) -> Embedder:
    """The embedder that the card describes.

    Args:
        card: engine and precision, as the threshold was chosen with.
        model: the feature model.
        network_dir: where converted networks are kept.
        log: told if the engine had to be replaced.
    """
    from imagematch.model import split_feature_model

    if card.whole_model:
        return WholeModel(model, card.image_size)
    extractor, head = split_feature_model(model)
    network = SavedNetwork(card.extractor, card.image_size, card.feature_dim, card.network_digest, extractor)
    wanted = "auto" if card.engine == "numpy" else card.engine
    return HeadOnEngine(open_engine(network, wanted, card.precision, network_dir, log), head)


def golden_pictures(image_size: int) -> list[np.ndarray]:
    """Three pictures made from numbers alone, (image_size, image_size, 3) uint8, the same on every machine."""
    axis = np.linspace(0.0, 1.0, image_size)
    down, across = np.meshgrid(axis, axis, indexing="ij")
    pictures = []
    for number in range(1, _GOLDEN_PICTURES + 1):
        waves = [np.sin(2 * np.pi * (number * across + channel * down + 0.3 * number)) for channel in range(3)]
        pictures.append(np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8))
    return pictures
