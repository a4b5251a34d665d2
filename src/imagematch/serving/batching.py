"""Micro-batching: images of many requests go through the engine together, and queries of many through the gallery."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from imagematch.errors import ModelError
from imagematch.matching import Embedder, ImageMatcher
from imagematch.retrieval import GalleryStore

_MOST = 64
"""Rows of a batch; what the engine runs at a time."""

Columns = tuple[np.ndarray, ...]
"""Arrays of one row for each of what was given."""


class _Call(NamedTuple):
    key: Hashable
    rows: Sequence[np.ndarray]
    result: Future[Columns]


class Batcher:
    """Runs a function for callers in many threads: once for whatever is waiting when it becomes free.

    Nobody waits for a batch to fill. What one caller's rows break is no other's error: each is then run alone.

    Args:
        run: (rows of one or many callers, their key) -> columns. Calls of different keys are not run together.
        name: of the thread.
        batch_done: called with the number of rows after every batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[np.ndarray], Any], Columns],
        name: str,
        batch_done: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._function = run
        self._batch_done = batch_done
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __call__(self, rows: Sequence[np.ndarray], key: Hashable = None) -> Columns:
        """The columns of these rows, when their batch was run. Raises ModelError where it was closed."""
        result: Future[Columns] = Future()
        with self._changed:
            if self._closed:
                raise ModelError("is no longer served: the server is stopping")
            self._waiting.append(_Call(key, rows, result))
            self._changed.notify()
        return result.result()

    @property
    def waiting(self) -> int:
        """Calls whose batch has not begun."""
        return len(self._waiting)

    def close(self) -> None:
        """Runs what is waiting, then ends."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            rows = [row for call in batch for row in call.rows]
            try:
                columns = self._function(rows, batch[0].key)
            except Exception as error:
                self._one_by_one(batch, error)
            else:
                start = 0
                for call in batch:
                    end = start + len(call.rows)
                    call.result.set_result(tuple(column[start:end] for column in columns))
                    start = end
            self._batch_done(len(rows))

    def _next_batch(self) -> list[_Call]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[_Call] = []
            count = 0
            while self._waiting and (
                not batch or (self._waiting[0].key == batch[0].key and count + len(self._waiting[0].rows) <= _MOST)
            ):
                batch.append(self._waiting.popleft())
                count += len(batch[-1].rows)
            return batch

    def _one_by_one(self, batch: Sequence[_Call], error: Exception) -> None:
        for call in batch:
            try:
                if len(batch) == 1:
                    raise error
                call.result.set_result(self._function(call.rows, call.key))
            except Exception as own:
                call.result.set_exception(own)


class BatchingEmbedder(Embedder):
    """An embedder whose callers share the engine's batches.

    Args:
        embedder: what embeds.
        batch_done: called with the number of images after every batch.
    """

    def __init__(self, embedder: Embedder, batch_done: Callable[[int], None]) -> None:
        super().__init__(
            embedder.engine,
            embedder.head,
            test_time_flip=embedder.test_time_flip,
            golden_distance=embedder.golden_distance,
        )
        self.batcher = Batcher(lambda images, _key: (embedder.embed(images),), "embedding", batch_done)

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """As `Embedder.embed`; waits for its batch."""
        return self.batcher(images)[0]


class BatchingMatcher(ImageMatcher):
    """A matcher whose embeddings are computed by a `BatchingEmbedder`; close it at the end."""

    def __init__(self, matcher: ImageMatcher, batch_done: Callable[[int], None] = lambda _count: None) -> None:
        embedder = BatchingEmbedder(matcher._embedder, batch_done)
        super().__init__(matcher.card, matcher._folder, embedder)
        self.batcher = embedder.batcher

    def close(self) -> None:
        """Embeds what is waiting, then ends."""
        self.batcher.close()


class BatchingStore:
    """A gallery's store whose searches run together: many queries read its vectors once."""

    def __init__(self, store: GalleryStore) -> None:
        self._store = store
        self._batcher = Batcher(lambda queries, k: store.search(np.stack(queries), k), "search")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `GalleryStore.search`; waits for its batch."""
        ids, distances = self._batcher(list(queries), k)
        return ids, distances

    def close(self) -> None:
        """Runs the waiting searches, then closes the store."""
        self._batcher.close()
        self._store.close()
