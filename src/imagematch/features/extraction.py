"""Runs pictures through a network: decoding goes ahead in threads while the engine works, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from imagematch.data import thread_count
from imagematch.events import Advance
from imagematch.extractors import Engine

_PICTURES_A_TASK = 16
_TASKS_AHEAD = 8
_BYTES_AHEAD = 1 << 27
_BYTES_WAITING = 1 << 27

Decode = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]
"""Rows of the data set -> pictures, (h, w, 3) uint8 each."""


def extract(
    engine: Engine,
    decode: Decode,
    picture_bytes: int,
    rows: np.ndarray,
    out: np.ndarray,
    places: np.ndarray,
    done: Advance,
) -> None:
    """Fills `out[places[i]]` with the features of picture `rows[i]`.

    Threads decode: Pillow lets go of the interpreter's lock, and the engine holds it only between batches. Besides the
    engine's own batches, pictures of at most 256 MB are in memory, or a few pictures where these are larger.

    Args:
        engine: runs the network.
        decode: makes pictures; called in several threads.
        picture_bytes: of the largest picture that `decode` may make.
        rows: (n,) rows of the data set.
        out: (m, feature_dim) float32.
        places: (n,) where each picture's features go.
        done: told how many pictures have been handed to the engine.

    Raises:
        DataError: a picture cannot be read any more (whatever `decode` raises).
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    held = 0

    def size(shape: tuple[int, ...]) -> int:
        return len(waiting[shape]) * math.prod(shape)

    def flush(shape: tuple[int, ...]) -> None:
        nonlocal held
        held -= size(shape)
        group = waiting.pop(shape)
        engine.start(np.stack([picture for _place, picture in group]), out, np.array([place for place, _ in group]))
        done(len(group))

    try:
        for place, picture in _decoded(decode, picture_bytes, rows, places):
            group = waiting.setdefault(picture.shape, [])
            group.append((place, picture))
            held += picture.nbytes
            if len(group) == engine.batch_size:
                flush(picture.shape)
            elif held > _BYTES_WAITING:
                flush(max(waiting, key=size))
        for shape in list(waiting):
            flush(shape)
    finally:
        engine.finish()


def _decoded(
    decode: Decode, picture_bytes: int, rows: np.ndarray, places: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """(place, picture) in order, decoded a few tasks ahead."""
    count = max(1, min(_PICTURES_A_TASK, _BYTES_AHEAD // (_TASKS_AHEAD * picture_bytes)))

    def task(first: int) -> Sequence[np.ndarray] | np.ndarray:
        return decode(rows[first : first + count])

    pool = ThreadPoolExecutor(max(2, thread_count()), thread_name_prefix="decode")
    ahead: deque[Future[Sequence[np.ndarray] | np.ndarray]] = deque()
    try:
        first = 0
        for start in range(0, len(rows), count):
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
