"""What the endpoints of a server share: the matcher, the gallery, the measured rates, and who may work now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response

from imagematch.errors import ImagematchError
from imagematch.matching import ImageMatcher, read_card
from imagematch.retrieval import GALLERY_STORES, Gallery, GalleryStore
from imagematch.serving.answers import DecisionRates, MeasuredRates
from imagematch.serving.batching import BatchingMatcher, BatchingStore
from imagematch.serving.monitoring import ServerMetrics
from imagematch.serving.received import Allowance, Received, RequestError, received
from imagematch.serving.settings import ServerSettings
from imagematch.serving.unknowns import Unknowns

_T = TypeVar("_T")

_THREADS = 64
"""Requests that are worked on at a time: as many images as the engine takes in a batch."""


class Service:
    """A matcher and its gallery, served.

    Args:
        settings: the server's.
        matcher: the matcher of `settings.model`.
        metrics: where batches are counted.

    Raises:
        DataError: the gallery is not there.
        ModelError: it belongs to another matcher.
        StudyError: it cannot be read.
    """

    def __init__(self, settings: ServerSettings, matcher: ImageMatcher, metrics: ServerMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.matcher = BatchingMatcher(matcher, metrics.batch)
        try:
            self._gallery = None if settings.gallery is None else _opened(settings.gallery, self.matcher)
        except BaseException:
            self.matcher.close()
            raise
        recorded = settings.corrections is not None and settings.workers == 1
        self.unknowns = Unknowns(self.matcher) if recorded and self.has_gallery else None
        self.rates = MeasuredRates(matcher.card, settings.model)
        self.waiting = Allowance(settings.max_waiting)
        self.memory = Allowance(settings.max_memory_mb * 1_000_000)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")

    @property
    def gallery(self) -> Gallery:
        """The gallery. Raises RequestError where none is served."""
        if self._gallery is None:
            raise RequestError(404, "no gallery is served; start the server with --gallery")
        return self._gallery

    @property
    def has_gallery(self) -> bool:
        """A gallery is served."""
        return self._gallery is not None

    def received(
        self, request: Request, *fields: str, names: tuple[str, ...] = ("image",)
    ) -> AbstractAsyncContextManager[Received]:
        """The images and fields of a request; see `received`."""
        return received(request, self.settings, self.memory, names, fields)

    def decision(self, given: Received) -> DecisionRates:
        """The threshold that a request wants (`threshold` or `far`), with its measured rates."""
        distance = self.rates.distance(given.number("threshold", 0, 2), given.number("far", -1e-300, 1))
        return self.rates.at(distance)

    async def work(self, images: int, function: Callable[[], _T]) -> _T:
        """Runs a function that embeds so many images in a thread. Raises RequestError (503) where too many wait."""
        with self.waiting.taken(images):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def look(self, function: Callable[[], _T]) -> _T:
        """Runs a function that reads or changes the gallery in a thread; it counts as one image."""
        return await self.work(1, function)

    def changed_on_disk(self) -> bool:
        """The matcher's folder holds another one by now, or none."""
        try:
            return read_card(self.settings.model).digest != self.matcher.card.digest
        except ImagematchError:
            return True

    async def metrics_text(self) -> str:
        """For Prometheus."""
        gauges = {"waiting_images": ("Images that are waiting or embedded now.", float(self.waiting.used))}
        gauges["body_bytes"] = ("Memory that the bodies of requests take now.", float(self.memory.used))
        if self._gallery is not None:
            count = await self.look(partial(len, self._gallery))
            gauges["gallery_images"] = ("Images of the gallery.", float(count))
        return self.metrics.text(gauges)

    def close(self) -> None:
        """Finishes what was begun, then closes everything."""
        self._threads.shutdown()
        self.matcher.close()
        if self._gallery is not None:
            self._gallery.close()


def image_response(data: bytes) -> Response:
    """A small image that is stored."""
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})


def _opened(location: str, matcher: BatchingMatcher) -> Gallery:
    store = BatchingStore(GALLERY_STORES.of(location).open(location))
    try:
        return Gallery(cast("GalleryStore", store), location, matcher)
    except BaseException:
        store.close()
        raise
