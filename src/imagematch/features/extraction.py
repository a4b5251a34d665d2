"""Runs pictures through a network: decoding goes ahead in threads while the engine works, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from imagematch.events import Advance
from imagematch.extractors import Engine

_PICTURES_A_TASK = 16
_TASKS_AHEAD = 8
_PICTURES_WAITING = 512

Decode = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]
"""Rows of the data set -> pictures, (h, w, 3) uint8 each."""


def extract(
    engine: Engine, decode: Decode, rows: np.ndarray, out: np.ndarray, places: np.ndarray, done: Advance
) -> None:
    """Fills `out[places[i]]` with the features of picture `rows[i]`.

    Threads decode: Pillow lets go of the interpreter's lock, and the engine holds it only between batches.

    Args:
        engine: runs the network.
        decode: makes pictures; called in several threads.
        rows: (n,) rows of the data set.
        out: (m, feature_dim) float32.
        places: (n,) where each picture's features go.
        done: told how many pictures have been handed to the engine.

    Raises:
        DataError: a picture cannot be read any more (whatever `decode` raises).
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}

    def flush(shape: tuple[int, ...]) -> None:
        group = waiting.pop(shape)
        engine.start(np.stack([picture for _place, picture in group]), out, np.array([place for place, _ in group]))
        done(len(group))

    try:
        for place, picture in _decoded(decode, rows, places):
            group = waiting.setdefault(picture.shape, [])
            group.append((place, picture))
            if len(group) == engine.batch_size:
                flush(picture.shape)
            elif sum(map(len, waiting.values())) > _PICTURES_WAITING:
                flush(max(waiting, key=lambda shape: len(waiting[shape])))
        for shape in list(waiting):
            flush(shape)
    finally:
        engine.finish()


def _decoded(decode: Decode, rows: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(place, picture) in order, decoded a few tasks ahead."""

    def task(first: int) -> Sequence[np.ndarray] | np.ndarray:
        return decode(rows[first : first + _PICTURES_A_TASK])

    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="decode")
    ahead: deque[Future[Sequence[np.ndarray] | np.ndarray]] = deque()
    try:
        starts = iter(range(0, len(rows), _PICTURES_A_TASK))
        first = 0
        for start in starts:
            ahead.append(pool.submit(task, start))
            if len(ahead) >= _TASKS_AHEAD:
                pictures = ahead.popleft().result()
                yield from zip(places[first : first + len(pictures)].tolist(), pictures, strict=True)
                first += len(pictures)
        while ahead:
            pictures = ahead.popleft().result()
            yield from zip(places[first : first + len(pictures)].tolist(), pictures, strict=True)
            first += len(pictures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
