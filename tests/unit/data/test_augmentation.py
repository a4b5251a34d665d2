"""Augmentation: reproducible by image, bounded, and each kind does what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from imagematch.data import N_DRAWS, augment, draw_augmentations

ZOOM, FLIP, TURN, RIGHT, DOWN, LIGHT, SPREAD = range(N_DRAWS)


def batch(count: int = 4, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, height, width, 3)).astype(np.float32)


def augmented(images: np.ndarray, draws: ArrayLike) -> np.ndarray:
    return np.asarray(augment(images, np.asarray(draws, np.float32)))


def only(kind: int, value: float, count: int = 4) -> np.ndarray:
    draws = np.full((count, N_DRAWS), 0.5, np.float32)
    draws[:, kind] = value
    return draws


def test_the_middle_of_every_draw_changes_nothing() -> None:
    assert np.allclose(augmented(batch(), only(ZOOM, 0.5)), batch(), atol=1e-3)


def test_flip_mirrors() -> None:
    assert np.allclose(augmented(batch(), only(FLIP, 0.9)), batch()[:, :, ::-1], atol=1e-2)


def test_translation_moves() -> None:
    images = batch(width=40)
    assert np.allclose(augmented(images, only(RIGHT, 1.0))[:, :, :-4], images[:, :, 4:], atol=1e-2)
    images = batch(height=40)
    assert np.allclose(augmented(images, only(DOWN, 0.0))[:, 4:], images[:, :-4], atol=1e-2)


def test_rotation_and_zoom_keep_the_centre() -> None:
    images = np.zeros((4, 21, 21, 3), np.float32)
    images[:, 10, 10] = 200
    for kind in (TURN, ZOOM):
        changed = augmented(images, only(kind, 1.0))
        assert np.allclose(changed[:, 10, 10], 200, atol=1)
        assert not np.allclose(augmented(batch(), only(kind, 1.0)), batch(), atol=5)


def test_brightness_and_contrast() -> None:
    images = np.random.default_rng(0).uniform(100, 150, (4, 8, 8, 3)).astype(np.float32)
    assert np.allclose(augmented(images, only(LIGHT, 1.0)), images + 51, atol=1e-2)
    flatter = augmented(images, only(SPREAD, 0.0))
    assert np.allclose(flatter.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), atol=1e-2)
    assert np.allclose(flatter.std(axis=(1, 2, 3)), 0.8 * images.std(axis=(1, 2, 3)), rtol=1e-3)


def test_values_stay_in_range() -> None:
    changed = augmented(batch(64), draw_augmentations(1, np.arange(64)))
    assert changed.dtype == np.float32
    assert changed.shape == (64, 20, 24, 3)
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_an_image_is_augmented_alike_in_any_batch() -> None:
    images, keys = batch(8), np.arange(100, 108)
    whole = augmented(images, draw_augmentations(7, keys))
    part = augmented(images[3:5], draw_augmentations(7, keys[3:5]))
    assert np.allclose(part, whole[3:5], atol=1e-3)


def test_draws_are_uniform_independent_and_fixed() -> None:
    draws = np.concatenate([draw_augmentations(seed, np.arange(2000)) for seed in range(3)])
    assert draws.dtype == np.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.allclose(draws.mean(axis=0), 0.5, atol=0.02)
    assert np.allclose(draws.std(axis=0), 12**-0.5, atol=0.01)
    assert np.abs(np.corrcoef(draws.T) - np.eye(N_DRAWS)).max() < 0.06
    assert abs(np.corrcoef(draws[:2000, 0], draws[2000:4000, 0])[0, 1]) < 0.06  # seeds 0 and 1
    assert abs(np.corrcoef(draws[:1999, 0], draws[1:2000, 0])[0, 1]) < 0.06  # neighbouring images


def test_draws_equal_splitmix64_in_plain_integers() -> None:
    golden, modulus = 0x9E3779B97F4A7C15, 2**64

    def mixed(number: int) -> int:
        z = (number + golden) % modulus
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % modulus
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % modulus
        return z ^ (z >> 31)

    for seed, key in ((0, 0), (3, 5), (2**32 - 1, 2**40)):
        stream = mixed((mixed(seed) + key) % modulus)
        expected = [(mixed((stream + index * golden) % modulus) >> 40) / 2**24 for index in range(N_DRAWS)]
        assert draw_augmentations(seed, np.array([key]))[0].tolist() == expected
