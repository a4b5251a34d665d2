"""Micro-batching: images of many requests go through the engine together, as many as are waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from imagematch.errors import ModelError
from imagematch.matching import Embedder, ImageMatcher

_MOST = 64
"""Images of a batch; what the engine runs at a time."""


class BatchingEmbedder(Embedder):
    """An embedder whose callers, in many threads, share the engine's batches.

    A batch is whatever is waiting when the engine becomes free: nobody waits for a batch to fill.

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
        self._inner = embedder
        self._batch_done = batch_done
        self._waiting: deque[tuple[Sequence[np.ndarray], Future[np.ndarray]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="embedding", daemon=True)
        self._thread.start()

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """As `Embedder.embed`; waits for its batch. Raises ModelError where it was closed."""
        future: Future[np.ndarray] = Future()
        with self._changed:
            if self._closed:
                raise ModelError("is no longer served: the server is stopping")
            self._waiting.append((images, future))
            self._changed.notify()
        return future.result()

    def close(self) -> None:
        """Embeds what is waiting, then ends."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            images = [image for one, _ in batch for image in one]
            try:
                embeddings = self._inner.embed(images)
            except Exception as error:
                self._one_by_one(batch, error)
            else:
                start = 0
                for one, future in batch:
                    future.set_result(embeddings[start : start + len(one)])
                    start += len(one)
            self._batch_done(len(images))

    def _next_batch(self) -> list[tuple[Sequence[np.ndarray], Future[np.ndarray]]]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[tuple[Sequence[np.ndarray], Future[np.ndarray]]] = []
            count = 0
            while self._waiting and (not batch or count + len(self._waiting[0][0]) <= _MOST):
                batch.append(self._waiting.popleft())
                count += len(batch[-1][0])
            return batch

    def _one_by_one(self, batch: Sequence[tuple[Sequence[np.ndarray], Future[np.ndarray]]], error: Exception) -> None:
        """Embeds each request's images alone, so that what one of them breaks is no other's error."""
        for images, future in batch:
            try:
                if len(batch) == 1:
                    raise error
                future.set_result(self._inner.embed(images))
            except Exception as own:
                future.set_exception(own)


class BatchingMatcher(ImageMatcher):
    """A matcher whose embeddings are computed by a `BatchingEmbedder`; close it at the end."""

    def __init__(self, matcher: ImageMatcher, batch_done: Callable[[int], None] = lambda _count: None) -> None:
        self._batching = BatchingEmbedder(matcher._embedder, batch_done)
        super().__init__(matcher.card, matcher._folder, self._batching)

    def close(self) -> None:
        """Embeds what is waiting, then ends."""
        self._batching.close()
