"""Runs images through a network: decoding and augmentation go ahead in threads, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from imagematch.data import augment, draw_augmentations, thread_count
from imagematch.events import Advance
from imagematch.extractors import Engine
from imagematch.files import digest_bytes
from imagematch.framing import SQUASHED, Framing

_IMAGES_A_TASK = 16
_TASKS_AHEAD = 8
_BYTES_AHEAD = 1 << 27
_BYTES_WAITING = 1 << 27

Decode = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]
"""Rows of the data set -> images, (h, w, 3) uint8 each."""
MIRROR = "mirror"
"""The view that is every image's mirror image, left and right exchanged."""


class ImageRows(Protocol):
    """The part of a data set's interface that the store needs."""

    @property
    def digests(self) -> np.ndarray:
        """(n,) digests of the content, as text."""

    def pixels(self, row: int, max_size: int, framing: Framing) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`."""


def extract(
    engine: Engine,
    decode: Decode,
    image_bytes: int,
    rows: np.ndarray,
    out: np.ndarray,
    out_rows: np.ndarray,
    done: Advance,
) -> None:
    """Fills `out[out_rows[i]]` with the features of image `rows[i]`.

    Threads decode: Pillow lets go of the interpreter's lock, and the engine holds it only between batches. Besides the
    engine's own batches, images of at most 256 MB are in memory, or a few images where these are larger.

    Args:
        engine: runs the network.
        decode: makes images; called in several threads.
        image_bytes: of the largest image that `decode` may make.
        rows: (n,) rows of the data set.
        out: (m, feature_dim) float32.
        out_rows: (n,) where each image's features go.
        done: told how many images have been handed to the engine.

    Raises:
        DataError: a image cannot be read any more (whatever `decode` raises).
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    held = 0

    def size(shape: tuple[int, ...]) -> int:
        return len(waiting[shape]) * math.prod(shape)

    def flush(shape: tuple[int, ...]) -> None:
        nonlocal held
        held -= size(shape)
        group = waiting.pop(shape)
        engine.start(np.stack([image for _row, image in group]), out, np.array([row for row, _ in group]))
        done(len(group))

    try:
        for row, image in _decoded(decode, image_bytes, rows, out_rows):
            group = waiting.setdefault(image.shape, [])
            group.append((row, image))
            held += image.nbytes
            if len(group) == engine.batch_size:
                flush(image.shape)
            elif held > _BYTES_WAITING:
                flush(max(waiting, key=size))
        for shape in list(waiting):
            flush(shape)
    finally:
        engine.finish()


def _decoded(
    decode: Decode, image_bytes: int, rows: np.ndarray, out_rows: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """(row, image) in order, decoded a few tasks ahead."""
    count = max(1, min(_IMAGES_A_TASK, _BYTES_AHEAD // (_TASKS_AHEAD * image_bytes)))

    def task(first: int) -> Sequence[np.ndarray] | np.ndarray:
        return decode(rows[first : first + count])

    pool = ThreadPoolExecutor(max(2, thread_count()), thread_name_prefix="decode")
    ahead: deque[Future[Sequence[np.ndarray] | np.ndarray]] = deque()
    try:
        first = 0
        for start in range(0, len(rows), count):
            ahead.append(pool.submit(task, start))
            if len(ahead) >= _TASKS_AHEAD:
                images = ahead.popleft().result()
                yield from zip(out_rows[first : first + len(images)].tolist(), images, strict=True)
                first += len(images)
        while ahead:
            images = ahead.popleft().result()
            yield from zip(out_rows[first : first + len(images)].tolist(), images, strict=True)
            first += len(images)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decoder(dataset: ImageRows, image_size: int, view: int | str, seed: int, framing: Framing = SQUASHED) -> Decode:
    """Makes images of one view.

    Args:
        dataset: the images.
        image_size: side of the square the network sees.
        view: 0 for the images as they are, MIRROR for their mirror images, else the number of the augmented view.
        seed: of the augmentation. A view of a image depends on the seed, the view and the image's content alone.
        framing: what is made of images that are not square.
    """

    def plain(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [dataset.pixels(int(row), image_size, framing) for row in rows]

    def mirrored(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [image[:, ::-1] for image in plain(rows)]

    if isinstance(view, str):
        return mirrored
    return plain if view == 0 else _augmented(dataset, plain, image_size, view, seed)


def _augmented(dataset: ImageRows, plain: Decode, image_size: int, view: int, seed: int) -> Decode:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, image_size, image_size, 3)), tf.TensorSpec((None, None))])
    def rounded(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.round(augment(images, draws)), tf.uint8)

    def augmented(rows: np.ndarray) -> np.ndarray:
        keys = [int(digest_bytes(f"{view}:{dataset.digests[row]}".encode())[:15], 16) for row in rows]
        images = np.empty((len(rows), image_size, image_size, 3), np.float32)
        for some, of_one_shape in _by_shape(plain(rows)):
            images[some] = tf.image.resize(of_one_shape, (image_size, image_size))
        return np.asarray(rounded(images, draw_augmentations(seed, np.array(keys, np.uint64))))

    return augmented


def _by_shape(images: Sequence[np.ndarray] | np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """Images of one shape together: (their positions, themselves stacked)."""
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        rows_of.setdefault(image.shape, []).append(row)
    return [(some, np.stack([images[row] for row in some])) for some in rows_of.values()]
