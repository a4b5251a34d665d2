"""Images -> embeddings, the way the matcher's threshold was chosen: same network, engine and precision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import DataError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation, Engine, Network, SavedExtractor, open_engine
from imagematch.image_files import file_content
from imagematch.matching.card import MatcherCard, weights_files
from imagematch.matching.embedding_card import EmbeddingCard
from imagematch.model import flip_average

Head = Callable[[np.ndarray], np.ndarray]
"""Features (n, feature_dim) -> embeddings (n, dim) float32, L2-normalised."""

_BATCH = 64
_DECODED_BLOCK = 256
_FEW = 2
_WAVE_ROWS = 64
_SAME_DISTANCE = {"float32": 0.014, "bfloat16": 0.1, "int8": 0.1}
_REPLACED_DISTANCE = {"float32": 0.2, "bfloat16": 0.2, "int8": 0.6}
"""Between an embedding and itself, computed again: cosines of 0.9999, 0.995, 0.98 and 0.82."""


class Embedder:
    """An extractor on its engine, the head behind it, and the mean over mirror images where that is asked for.

    Attributes:
        engine: runs the extractor.
        head: features -> embeddings.
        test_time_flip: embed the mirror image too, and take the mean direction.
        golden_distance: how far golden embeddings may at most be from those that were saved with the matcher.
    """

    def __init__(self, engine: Engine, head: Head, *, test_time_flip: bool = False, golden_distance: float = 0) -> None:
        self.engine = engine
        self.head = head
        self.test_time_flip = test_time_flip
        self.golden_distance = golden_distance
        self._lock = threading.Lock()  # an engine runs one call at a time, on all cores

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """n images (h, w, 3) uint8, each side at most the image size -> (n, dim) float32, L2-normalised.

        Threads may share it.
        """
        with self._lock:
            blocks = [self._block(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(blocks)

    def _block(self, images: Sequence[np.ndarray]) -> np.ndarray:
        features = self.engine.run(images)
        if not self.test_time_flip:
            return self.head(features)
        return flip_average(self.head(features), self.head(self.engine.run([image[:, ::-1] for image in images])))


def saved_network(card: MatcherCard, folder: Path) -> SavedExtractor | Concatenation:
    """The extractor in a matcher's folder; opened when it is needed."""
    members = saved_extractors(card, folder)
    return members[0] if len(members) == 1 else Concatenation(members)


def saved_extractors(card: MatcherCard, folder: Path) -> tuple[SavedExtractor, ...]:
    """The extractors in a matcher's folder, in the order of their features."""
    embedding = card.embedding
    return tuple(
        SavedExtractor(
            name=one.name,
            image_size=embedding.image_size,
            feature_dim=one.feature_dim,
            folder=folder,
            weights_file=file,
            weights_digest="" if file is None else card.files[file],
            network=one.network,
            framing=embedding.framed,
        )
        for one, file in zip(embedding.extractors, weights_files(embedding.extractors), strict=True)
    )


def open_embedder(card: EmbeddingCard, network: Network, head: Head, log: RunLog = SILENT) -> Embedder:
    """The embedder that the card describes.

    Args:
        card: engine and precision, as the threshold was chosen with.
        network: the extractor.
        head: features -> embeddings.
        log: told if the engine or its precision had to be replaced.

    Raises:
        ModelError: the network cannot be run here.
    """
    engine = _open_engine(card, network, log)
    distance = (
        _SAME_DISTANCE[card.precision] if engine.precision == card.precision else _REPLACED_DISTANCE[card.precision]
    )
    return Embedder(engine, head, test_time_flip=card.test_time_flip, golden_distance=distance)


def _open_engine(card: EmbeddingCard, network: Network, log: RunLog) -> Engine:
    """The card's engine; where this machine has none of it, another one in float32, and the log says so."""
    wanted = "auto" if card.engine == "numpy" else card.engine
    try:
        return open_engine(network, wanted, card.precision)
    except (ModelError, ImportError) as error:
        reason = error.what if isinstance(error, ModelError) else str(error)
        engine = open_engine(network, "auto", "float32")
        log.event("engine_replaced", f"{replacement(card, engine)} ({reason})", level="warning")
        return engine


def replacement(card: EmbeddingCard, engine: Engine) -> str | None:
    """The warning to show where another engine or precision is used than the threshold was chosen with; else ""."""
    if (engine.name, engine.precision) == (card.engine, card.precision):
        return None
    return (
        f"The threshold was chosen with {card.engine} in {card.precision}, which cannot be had here: {engine.name} in "
        f"{engine.precision} serves, and distances may differ in the third digit."
    )


def golden_images(image_size: int) -> list[np.ndarray]:
    """Three images made from numbers alone, the same on every machine: (h, w, 3) uint8.

    One of the full size, one half as large and one half as high, so that preprocessing is part of what they check.
    """
    half = max(1, image_size // 2)
    sizes = ((image_size, image_size), (half, half), (half, image_size))
    return [_waves(number, height, width) for number, (height, width) in enumerate(sizes, 1)]


def _waves(number: int, height: int, width: int) -> np.ndarray:
    down, across = np.linspace(0.0, 1.0, height)[:, None], np.linspace(0.0, 1.0, width)
    image = np.empty((height, width, 3), np.uint8)
    for start in range(0, height, _WAVE_ROWS):
        rows = slice(start, start + _WAVE_ROWS)
        for channel in range(3):
            wave = np.sin(2 * np.pi * (number * across + channel * down[rows] + 0.3 * number))
            image[rows, :, channel] = np.round(127.5 + 127.5 * wave)
    return image


def is_many(images: Any) -> bool:
    """Whether these are many images (a list, a tuple, a 4-D array, a 1-D array of paths), and not one."""
    if isinstance(images, (str, bytes, bytearray, memoryview, Path)):
        return False
    return isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) in (1, 4)


def as_list(images: Any) -> Sequence[Any]:
    """One image or many as a list. What is a file open for reading is read: it can be only once.

    Raises:
        DataError: it cannot be read.
    """
    if not is_many(images):
        return [_read_once(images)]
    if hasattr(images, "numpy"):
        images = images.numpy()
    return [_read_once(image) for image in images]


def _read_once(image: Any) -> Any:
    return file_content(image) if hasattr(image, "read") else image


def decoded_blocks(
    images: Sequence[Any], decode: Callable[[Any], np.ndarray]
) -> Iterator[tuple[int, list[np.ndarray | DataError]]]:
    """Yields the position of a block's first image, and each image's pixels or why there are none, named.

    Threads share the work, since Pillow lets go of the interpreter's lock; a pair is read before a thread has started.
    """

    def read(row: int) -> np.ndarray | DataError:
        try:
            return decode(images[row])
        except DataError as error:
            where = error.where or (f"image {row + 1} of {len(images)}" if len(images) > 1 else "")
            return DataError(error.what, where=where, do=error.do)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), _DECODED_BLOCK):
            rows = range(start, min(start + _DECODED_BLOCK, len(images)))
            yield start, list(map(read, rows) if len(images) <= _FEW else pool.map(read, rows))
