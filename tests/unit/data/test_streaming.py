"""Streaming: order, values, augmentation, errors, and memory that does not grow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from imagematch.data import Dataset, augment, draw_augmentations, stream_batches
from imagematch.errors import DataError

from .conftest import write_image

Open = Callable[..., Dataset]


@pytest.fixture
def dataset(make_folder: Any, opened: Open) -> Dataset:
    """40 images of 8 x 8 and two of other sizes."""
    root = make_folder({"a": 20, "b": 20})
    write_image(root / "a" / "big.png", seed=1, height=30, width=40)
    write_image(root / "b" / "flat.png", seed=2, height=3, width=9)
    return opened(data_dir=root)


def collected(batches: Iterator[tuple[Any, np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [(np.asarray(images), labels, rows) for images, labels, rows in batches]


def test_batches_come_in_order_with_their_labels(dataset: Dataset) -> None:
    random = np.random.default_rng(0)
    plan = [random.integers(len(dataset), size=size) for size in [16, 16, 3, 16, 1, 7] * 3]
    for (images, labels, rows), asked in zip(collected(stream_batches(dataset, plan, 12)), plan, strict=True):
        assert np.array_equal(rows, asked)
        assert np.array_equal(labels, dataset.labels[asked])
        assert labels.dtype == np.int32
        assert images.shape == (len(asked), 12, 12, 3)
        assert images.dtype == np.float32


def test_pictures_are_the_decoder_s_enlarged_as_the_network_does(dataset: Dataset) -> None:
    rows = np.arange(len(dataset))
    ((images, _, _),) = collected(stream_batches(dataset, [rows], 24))
    enlarge = keras.layers.Resizing(24, 24, interpolation="bilinear")
    for row in rows:
        picture = dataset.pixels(int(row), 24).astype(np.float32)
        assert np.allclose(images[row], np.asarray(enlarge(picture[None]))[0], atol=1e-3)


def test_augmentation_is_reproducible_and_differs_by_place(dataset: Dataset) -> None:
    plan = np.zeros((3, 4), np.int64)
    plain = collected(stream_batches(dataset, plan, 8))
    first = collected(stream_batches(dataset, plan, 8, augment_seed=5))
    again = collected(stream_batches(dataset, plan, 8, augment_seed=5))
    other = collected(stream_batches(dataset, plan, 8, augment_seed=6))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one[0], two[0])
    assert not np.allclose(first[0][0], other[0][0], atol=5)
    pictures = np.concatenate([images for images, _, _ in first])
    assert len(np.unique(pictures.reshape(12, -1), axis=0)) == 12
    expected = augment(plain[0][0], draw_augmentations(5, np.arange(4)))
    assert np.allclose(first[0][0], np.asarray(expected), atol=1e-3)


def test_an_endless_plan_is_drawn_only_as_needed(dataset: Dataset) -> None:
    drawn = itertools.count()

    def endless() -> Iterator[np.ndarray]:
        for _ in drawn:
            yield np.arange(4)

    stream = stream_batches(dataset, endless(), 8)
    for _ in range(5):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert next(drawn) < 40


def test_a_file_that_has_gone_is_one_data_error(dataset: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    assert dataset.root is not None
    (dataset.root / "a" / "3.png").unlink()
    row = dataset.paths.tolist().index("a/3.png")
    with pytest.raises(DataError, match=r"a/3.png: cannot be read: No such file") as caught:
        collected(stream_batches(dataset, [np.array([0, row])] * 3, 8))
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_no_batches(dataset: Dataset) -> None:
    assert collected(stream_batches(dataset, [], 8)) == []


def test_memory_does_not_grow_with_the_data(tmp_path: Path, opened: Open) -> None:
    for number in range(40):
        write_image(tmp_path / "big" / "ab"[number % 2] / f"{number}.png", seed=number, height=4, width=4)
    dataset = opened(data_dir=tmp_path / "big")
    before = None
    for step, (images, _, _) in enumerate(stream_batches(dataset, itertools.repeat(np.arange(16), 120), 128)):
        assert images.shape == (16, 128, 128, 3)  # 3 MB; the whole stream is 377 MB
        if step == 20:
            before = resident_mb()
    assert before is not None
    assert resident_mb() - before < 100


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
