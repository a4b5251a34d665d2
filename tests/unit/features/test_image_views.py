"""Views of pictures: made in batches, the same whatever the batch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from imagematch.data import augment, draw_augmentations
from imagematch.features.extraction import MIRROR, decoder
from imagematch.files import digest_bytes


def pictures_of(count: int) -> SimpleNamespace:
    """Pictures of three shapes, one of them the network's own."""
    random = np.random.default_rng(0)
    shapes = ((20, 20), (13, 20), (9, 7))
    made = [random.integers(0, 256, (*shapes[row % 3], 3), np.uint8) for row in range(count)]
    digests = np.array([digest_bytes(picture.tobytes()) for picture in made])
    return SimpleNamespace(digests=digests, pixels=lambda row, _size, _framing=None: made[row])


def test_the_mirror_view_exchanges_left_and_right() -> None:
    dataset = pictures_of(4)
    for row, made in enumerate(decoder(dataset, 20, MIRROR, 0)(np.arange(4))):
        picture = dataset.pixels(row, 20)
        width = picture.shape[1]
        expected = np.stack([picture[:, width - 1 - column] for column in range(width)], axis=1)
        np.testing.assert_array_equal(made, expected)


def test_the_pictures_as_they_are_come_in_the_order_of_the_rows() -> None:
    dataset = pictures_of(7)
    rows = np.array([5, 0, 5])
    for made, row in zip(decoder(dataset, 20, 0, 0)(rows), rows, strict=True):
        np.testing.assert_array_equal(made, dataset.pixels(row, 20))


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_view_has_the_same_pixels_whatever_the_batch(batch: int) -> None:
    dataset = pictures_of(40)
    rows = np.random.default_rng(1).permutation(40)
    together = np.asarray(decoder(dataset, 20, 2, 7)(np.arange(40)))
    apart = decoder(dataset, 20, 2, 7)
    for start in range(0, 40, batch):
        some = rows[start : start + batch]
        np.testing.assert_array_equal(np.asarray(apart(some)), together[some])


def test_a_view_is_the_augmentation_of_the_enlarged_picture_drawn_by_its_content() -> None:
    tf = pytest.importorskip("tensorflow")
    dataset = pictures_of(6)
    found = decoder(dataset, 20, 3, 11)(np.arange(6))
    for row in range(6):
        key = int(digest_bytes(f"3:{dataset.digests[row]}".encode())[:15], 16)
        picture = tf.image.resize(dataset.pixels(row, 20)[None], (20, 20))
        expected = augment(picture, draw_augmentations(11, np.array([key], np.uint64)))[0]
        np.testing.assert_array_equal(found[row], np.round(expected).astype(np.uint8))
