"""What keeps a gallery's embeddings, labels and small images: the interface of a store, and the registry of them all.

A store is registered by the scheme of its location: `postgresql` of `postgresql+psycopg://...`, `sqlite` of a path. An
installed package adds one by an entry point of the group `imagematch.galleries`, the name of a module that calls
`GALLERY_STORES.register`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from imagematch.errors import ConfigError
from imagematch.registry import Registry

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(\+[A-Za-z0-9_]+)?://")


@dataclass(frozen=True)
class GalleryFacts:
    """What a gallery is.

    Attributes:
        matcher: identity of the matcher whose embeddings it holds; see `model_identity`.
        matcher_name: what that matcher is called.
        dim: length of an embedding.
        image_side: the longer side of the stored images, pixels; 0 where none are stored.
    """

    matcher: str
    matcher_name: str
    dim: int
    image_side: int


class NewImage(NamedTuple):
    """An image to be stored: its content's digest, its label ("" for none), where it came from, its embedding (dim,)
    float32, and the small image as the bytes of a JPEG or PNG (b"" for none)."""

    digest: str
    label: str
    source: str
    embedding: np.ndarray
    data: bytes


class GalleryImage(NamedTuple):
    """A stored image: its id, which is never given to another one, its label ("" for none), the digest of its content,
    where it came from, and when it was added (ISO 8601, UTC)."""

    id: int
    label: str
    digest: str
    source: str
    added: str


class GalleryStore(Protocol):
    """A gallery's storage. `tests/contract/test_gallery_stores.py` is what each must pass.

    Threads may share a store, and processes a location. What writes happens whole or not at all, whenever the process
    is killed, and is found by the next search of any process. What fails raises StudyError in one line.
    """

    @property
    def facts(self) -> GalleryFacts:
        """What the gallery is, as it was when the store was opened or replaced."""

    @classmethod
    def create(cls, location: str, facts: GalleryFacts) -> Self:
        """A new, empty one. Raises DataError where there is something already."""

    @classmethod
    def open(cls, location: str) -> Self:
        """The one that is there. Raises DataError where there is none, or something else."""

    def close(self) -> None:
        """Closes it."""

    def add(self, images: Sequence[NewImage]) -> list[int]:
        """Their ids. An image whose digest already exists keeps its id and embedding; a label, where one is given,
        replaces its label. Raises ModelError where the gallery was rebuilt for another matcher meanwhile."""

    def remove(self, ids: Iterable[int]) -> int:
        """Removes images; how many there were of them."""

    def count(self) -> int:
        """How many images there are."""

    def labels(self, *, start: str = "", contains: str = "", limit: int | None = None) -> dict[str, int]:
        """Labels by code point, and how many images have each: from one on, those that contain a text in any case, at
        most `limit`."""

    def images(self, *, label: str | None = None, after: int = 0, limit: int = 1000) -> list[GalleryImage]:
        """The images with an id over `after`, by id; of one label where one is given."""

    def find(self, ids: Sequence[int]) -> dict[int, GalleryImage]:
        """Images by id; those that are not there are left out."""

    def image_file(self, image_id: int) -> bytes | None:
        """A stored small image; None where there is none."""

    def embeddings(self, ids: Sequence[int]) -> np.ndarray:
        """(n, dim) float32 of images that are there."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the k nearest of each query, (q, k) int64, and their Euclidean distances, (q, k) float32.

        They ascend; equal ones by id. Of a smaller gallery all are given. Raises ModelError as `add`.
        """

    def replace(self, facts: GalleryFacts, embeddings: Iterable[tuple[int, np.ndarray]], *, seen: int) -> None:
        """Puts other embeddings in place of all, and another matcher.

        Args:
            facts: the new ones.
            embeddings: (id, embedding) of every image.
            seen: what `generation` was before the images were read. Raises StudyError where it is another one now.
        """

    def generation(self) -> int:
        """A number that grows with every change."""


class _GalleryStores(Registry[type[GalleryStore]]):
    def __init__(self) -> None:
        super().__init__("gallery store", package="imagematch.retrieval", group="imagematch.galleries")

    def of(self, location: str) -> type[GalleryStore]:
        """The store for a location. Raises ConfigError where none has its scheme."""
        scheme = _SCHEME.match(location)
        name = scheme[1].lower() if scheme else "sqlite"
        if name not in self.all():
            known = ", ".join(f"{other}://" for other in self.all() if other != "sqlite")
            raise ConfigError(
                f"no gallery is stored at {name}://", where="gallery", do=f"give a path{known and ' or ' + known}"
            )
        return self.all()[name]


GALLERY_STORES = _GalleryStores()
