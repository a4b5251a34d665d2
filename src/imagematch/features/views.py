"""The pictures a network sees: those of the data set, or augmented views of them that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from imagematch.data import augment, draw_augmentations
from imagematch.features.extraction import Decode
from imagematch.files import digest_bytes

MIRROR = "mirror"
"""The view that is every picture's mirror image, left and right exchanged."""


class Pictures(Protocol):
    """What the store needs of a data set."""

    @property
    def digests(self) -> np.ndarray:
        """(n,) digests of the content, as text."""

    def picture(self, row: int, max_size: int) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`."""


def decoder(dataset: Pictures, image_size: int, view: int | str, seed: int) -> Decode:
    """Makes pictures of one view.

    Args:
        dataset: the pictures.
        image_size: side of the square the network sees.
        view: 0 for the pictures as they are, MIRROR for their mirror images, else the number of the augmented view.
        seed: of the augmentation. A view of a picture depends on the seed, the view and the picture's content alone.
    """

    def plain(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [dataset.picture(int(row), image_size) for row in rows]

    def mirrored(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [picture[:, ::-1] for picture in plain(rows)]

    if isinstance(view, str):
        return mirrored
    return plain if view == 0 else _augmented(dataset, plain, image_size, view, seed)


def _augmented(dataset: Pictures, plain: Decode, image_size: int, view: int, seed: int) -> Decode:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, image_size, image_size, 3)), tf.TensorSpec((None, None))])
    def rounded(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.round(augment(images, draws)), tf.uint8)

    def augmented(rows: np.ndarray) -> np.ndarray:
        keys = [int(digest_bytes(f"{view}:{dataset.digests[row]}".encode())[:15], 16) for row in rows]
        images = np.empty((len(rows), image_size, image_size, 3), np.float32)
        for places, pictures in _by_shape(plain(rows)):
            images[places] = tf.image.resize(pictures, (image_size, image_size))
        return np.asarray(rounded(images, draw_augmentations(seed, np.array(keys, np.uint64))))

    return augmented


def _by_shape(pictures: Sequence[np.ndarray] | np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """Pictures of one shape together: (their places, themselves stacked)."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    return [(some, np.stack([pictures[place] for place in some])) for some in places.values()]
