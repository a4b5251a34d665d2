"""Streaming: batches of pictures decoded as they are needed, for data sets larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from imagematch.data.augmentation import N_DRAWS, augment, draw_augmentations
from imagematch.data.dataset import Dataset
from imagematch.errors import DataError

_KEYS_PER_BATCH = 1 << 24


def stream_batches(
    dataset: Dataset,
    batches: Iterable[np.ndarray],
    image_size: int,
    *,
    augment_seed: int | None = None,
    prefetch: int = 1,
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Decodes batches ahead of their use, in parallel, in the order given.

    Each picture is the decoder's; sides shorter than `image_size` are enlarged bilinearly in float32, as the network's
    own first layer does. No more than `prefetch` + 3 batches are in memory at a time.

    Args:
        dataset: gives the pictures.
        batches: arrays of rows, (batch,) integers; they may differ in length, and be drawn as they are needed.
        image_size: side of the pictures, pixels.
        augment_seed: augments every picture, by this seed and its place in the stream; None leaves them as they are.
        prefetch: batches to have ready.

    Yields:
        images (batch, image_size, image_size, 3) float32 tensor, 0 to 255; labels (batch,) int32; rows (batch,) int64.

    Raises:
        DataError: a file has gone or has changed since the manifest was made; names it.
    """
    import tensorflow as tf

    failures: list[DataError] = []

    def planned() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, batch in enumerate(batches):
            rows = np.asarray(batch, dtype=np.int64)
            if augment_seed is None:
                yield rows, np.zeros((len(rows), N_DRAWS), np.float32)
            else:
                yield rows, draw_augmentations(augment_seed, number * _KEYS_PER_BATCH + np.arange(len(rows)))

    def picture(row: np.ndarray) -> np.ndarray:
        try:
            return dataset.picture(int(row), image_size)
        except DataError as error:
            failures.append(error)  # told by the loop below: raised in here, TensorFlow would print it and a traceback
            return np.zeros((1, 1, 3), np.uint8)

    def square(row: Any) -> Any:
        pixels = tf.numpy_function(picture, [row], tf.uint8, stateful=False)
        pixels.set_shape((None, None, 3))
        return tf.ensure_shape(tf.image.resize(pixels, (image_size, image_size)), (image_size, image_size, 3))

    def loaded(rows: Any, draws: Any) -> Any:
        pictures = tf.data.Dataset.from_tensor_slices(rows).map(square, tf.data.AUTOTUNE, deterministic=True)
        batch = pictures.batch(tf.size(rows, tf.int64))
        if augment_seed is not None:
            batch = batch.map(lambda images: augment(images, draws))
        return batch.map(lambda images: (images, rows))

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, N_DRAWS), tf.float32))
    plan = tf.data.Dataset.from_generator(planned, output_signature=signature)
    # Two at a time, so that decoding goes on across the end of a batch.
    stream = plan.interleave(loaded, cycle_length=2, block_length=1, num_parallel_calls=2, deterministic=True)
    for images, rows in stream.prefetch(prefetch):
        if failures:
            raise failures[0]
        numbers = rows.numpy()
        yield images, dataset.labels[numbers].astype(np.int32), numbers
