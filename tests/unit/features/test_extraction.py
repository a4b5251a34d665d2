"""Extraction: pictures of any shapes, in order, few of them in memory at a time."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest

from imagematch.extractors import Engine
from imagematch.features import extraction
from imagematch.features.extraction import extract


class FirstValue(Engine):
    """The first value of each picture."""

    name, precision, feature_dim, batch_size = "first", "float32", 1, 32

    def start(self, pictures: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        out[rows] = pictures[:, 0, 0, :1]

    def finish(self) -> None:
        pass


class Decoder:
    """Makes pictures of no shape twice, and counts those that are still in use."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.alive = self.most = 0
        self._counting = threading.Lock()

    def __call__(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._picture(int(row)) for row in rows]

    def _picture(self, row: int) -> np.ndarray:
        picture = np.full((self.side, self.side - row, 3), row, np.uint8)
        self._count(1)
        weakref.finalize(picture, self._count, -1)
        return picture

    def _count(self, change: int) -> None:
        with self._counting:
            self.alive += change
            self.most = max(self.most, self.alive)


def test_pictures_in_memory_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, count = Decoder(side=500), 100
    monkeypatch.setattr(extraction, "_BYTES_AHEAD", 2_000_000)
    monkeypatch.setattr(extraction, "_BYTES_WAITING", 2_000_000)
    out = np.empty((count, 1), np.float32)
    rows = np.arange(count)
    done: list[int] = []
    extract(FirstValue(), decode, 500 * 500 * 3, rows, out, rows, done.append)
    np.testing.assert_array_equal(out[:, 0], rows)
    assert sum(done) == count
    assert decode.most <= 16  # eight tasks of one picture each, three that wait, and what is in hand


def test_small_pictures_wait_for_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(FirstValue, "start", lambda self, pictures, out, rows: sizes.append(len(pictures)))
    rows = np.arange(96)
    shapes = [(5, 5 + row % 3, 3) for row in rows]
    out = np.empty((96, 1), np.float32)
    extract(FirstValue(), lambda some: [np.zeros(shapes[row], np.uint8) for row in some], 105, rows, out, rows, abs)
    assert sizes == [32, 32, 32]
