"""Streaming: batches of images decoded as they are needed, for data sets larger than memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from imagematch.data.augmentation import augment, draw_augmentations
from imagematch.data.dataset import Dataset
from imagematch.data.decoding import thread_count

_KEYS_PER_BATCH = 1 << 24
_IMAGES_A_TASK = 16

_ImageBatch = tuple[Any, np.ndarray, np.ndarray]


def stream_batches(
    dataset: Dataset,
    batches: Iterable[np.ndarray],
    image_size: int,
    *,
    augment_seed: int | None = None,
    prefetch: int = 2,
) -> Iterator[_ImageBatch]:
    """Decodes batches ahead of their use, in threads, in the order given.

    Each image is the decoder's; sides shorter than `image_size` are enlarged bilinearly in float32, as the network's
    own first layer does. The CPU does all of it. No more than `prefetch` + 2 batches are in memory at a
    time, the one that is worked on among them.

    Args:
        dataset: gives the images.
        batches: arrays of rows, (batch,) integers; they may differ in length, and be drawn as they are needed.
        image_size: side of the images, pixels.
        augment_seed: augments every image, by this seed and its position in the stream; None leaves them as they are.
        prefetch: batches to have ready, or in the making.

    Yields:
        images (batch, image_size, image_size, 3) float32 tensor, 0 to 255; labels (batch,) int32; rows (batch,) int64.

    Raises:
        DataError: a file has gone or has changed since the manifest was made; names it.
    """

    import tensorflow as tf

    def decoded(rows: np.ndarray) -> list[np.ndarray]:
        return [dataset.pixels(row, image_size) for row in rows.tolist()]

    def assembled(number: int, rows: np.ndarray, parts: Sequence[Future[list[np.ndarray]]]) -> _ImageBatch:
        pixels = [image for part in parts for image in part.result()]
        with tf.device("CPU:0"):  # a GPU has the training's steps to do
            images = _squares(pixels, image_size)
            if augment_seed is not None:
                keys = number * _KEYS_PER_BATCH + np.arange(len(rows))
                images = augment(images, draw_augmentations(augment_seed, keys))
        return images, dataset.labels[rows].astype(np.int32), rows

    decoders = ThreadPoolExecutor(max(2, thread_count()), thread_name_prefix="decode")
    assembler = ThreadPoolExecutor(1, thread_name_prefix="assemble")
    ahead: deque[Future[_ImageBatch]] = deque()
    try:
        for number, batch in enumerate(batches):
            rows = np.asarray(batch, dtype=np.int64)
            cuts = range(0, len(rows), _IMAGES_A_TASK)
            parts = [decoders.submit(decoded, rows[start : start + _IMAGES_A_TASK]) for start in cuts]
            ahead.append(assembler.submit(assembled, number, rows, parts))
            if len(ahead) > prefetch:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        decoders.shutdown(cancel_futures=True)  # first: who assembles waits for them
        assembler.shutdown(cancel_futures=True)


def _squares(pixels: Sequence[np.ndarray], side: int) -> Any:
    """Images (h, w, 3) uint8 of any shapes -> (n, side, side, 3) float32 tensor; those of a shape in one go."""
    import tensorflow as tf

    images = np.empty((len(pixels), side, side, 3), np.float32)
    rows_by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(pixels):
        rows_by_shape.setdefault(image.shape, []).append(row)
    for rows in rows_by_shape.values():
        images[rows] = tf.image.resize(np.stack([pixels[row] for row in rows]), (side, side)).numpy()
    return tf.convert_to_tensor(images)
