"""The pictures a network sees: those of the data set, or augmented views of them that are always the same."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from imagematch.data import augment, draw_augmentations
from imagematch.features.extraction import Decode
from imagematch.files import digest_bytes


class Pictures(Protocol):
    """What the store needs of a data set."""

    @property
    def digests(self) -> np.ndarray:
        """(n,) digests of the content, as text."""

    def picture(self, row: int, max_size: int) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`."""


def decoder(dataset: Pictures, image_size: int, view: int, seed: int) -> Decode:
    """Makes pictures of one view.

    Args:
        dataset: the pictures.
        image_size: side of the square the network sees.
        view: 0 for the pictures as they are, else the number of the augmented view.
        seed: of the augmentation. A view of a picture depends on the seed, the view and the picture's content alone.
    """
    if view == 0:
        return lambda row: dataset.picture(row, image_size)

    def augmented(row: int) -> np.ndarray:
        import tensorflow as tf

        picture = tf.image.resize(dataset.picture(row, image_size)[None], (image_size, image_size))
        key = int(digest_bytes(f"{view}:{dataset.digests[row]}".encode())[:15], 16)
        draws = draw_augmentations(seed, np.array([key], np.uint64))
        return np.asarray(tf.round(augment(picture, draws)), np.float32)[0].astype(np.uint8)

    return augmented
