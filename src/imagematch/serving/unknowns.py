"""Unknowns that keep coming back: what several searches were for, and nothing in the gallery matched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from imagematch.files import digest_bytes
from imagematch.matching import ImageMatcher
from imagematch.retrieval import IMAGE_SIDE, Hits, small_image
from imagematch.serving.answers import UnknownAnswer, UnknownsAnswer
from imagematch.serving.received import RequestError

_MOST = 500
_MOST_IMAGES = 1000
_OFTEN = 2


@dataclass
class _Unknown:
    id: int
    embedding: np.ndarray
    data: bytes
    digests: set[str] = field(default_factory=set)
    last: str = ""
    dismissed: bool = False


class Unknowns:
    """The unknowns of a server's searches, in its memory alone: the 500 that were searched for last.

    Searches belong together where their images match the first of them. Threads may share it.

    Args:
        matcher: that of the gallery.
    """

    def __init__(self, matcher: ImageMatcher) -> None:
        self._matcher = matcher
        self._lock = threading.Lock()
        self._found: dict[int, _Unknown] = {}
        self._next = 1

    def remember(self, images: Sequence[bytes], hits: Sequence[Hits]) -> None:
        """Remembers the images of searches that were answered with unknown."""
        images = [image for image, found in zip(images, hits, strict=True) if found.unknown]
        if not images:
            return
        decoding = self._matcher.card.embedding.decoding
        for image, embedding in zip(images, self._matcher.embed(images), strict=True):
            with self._lock:
                one = self._nearest(embedding) or self._new(embedding, small_image(image, IMAGE_SIDE, **decoding))
                if len(one.digests) < _MOST_IMAGES:
                    one.digests.add(digest_bytes(image))
                one.last = datetime.now(UTC).isoformat(timespec="seconds")
                self._found[one.id] = self._found.pop(one.id)  # the last one is at the end

    def _nearest(self, embedding: np.ndarray) -> _Unknown | None:
        known = list(self._found.values())
        if not known:
            return None
        distances = np.linalg.norm(np.stack([one.embedding for one in known]) - embedding, axis=1)
        nearest = int(distances.argmin())
        return known[nearest] if distances[nearest] < self._matcher.threshold else None

    def _new(self, embedding: np.ndarray, data: bytes) -> _Unknown:
        made = self._found[self._next] = _Unknown(self._next, embedding, data)
        self._next += 1
        if len(self._found) > _MOST:
            del self._found[next(iter(self._found))]
        return made

    def often(self) -> UnknownsAnswer:
        """Those that were searched for with two different images or more, and were not dismissed."""
        with self._lock:
            shown = [one for one in self._found.values() if len(one.digests) >= _OFTEN and not one.dismissed]
            shown.sort(key=lambda one: -len(one.digests))
            return UnknownsAnswer(
                unknowns=[UnknownAnswer(id=one.id, searches=len(one.digests), last=one.last) for one in shown]
            )

    def image_file(self, number: int) -> bytes:
        """The small image of the first search. Raises RequestError where there is none of this number."""
        return self._of(number).data

    def dismiss(self, number: int, dismissed: bool) -> None:
        """Shows one no more, or again. Raises RequestError where there is none of this number."""
        self._of(number).dismissed = dismissed

    def _of(self, number: int) -> _Unknown:
        with self._lock:
            found = self._found.get(number)
        if found is None:
            raise RequestError(404, f"there is no unknown {number}")
        return found
