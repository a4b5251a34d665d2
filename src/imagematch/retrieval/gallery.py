"""A gallery: images that stay, under labels, to be searched by a matcher; added to and removed from at any time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from imagematch.errors import DataError, ModelError
from imagematch.matching import ImageMatcher, as_list
from imagematch.retrieval.gallery_hits import Hit, Hits
from imagematch.retrieval.gallery_images import IMAGE_SIDE, checked_label, image_digest, small_image, unchanged
from imagematch.retrieval.gallery_store import GALLERY_STORES, GalleryFacts, GalleryImage, GalleryStore, NewImage
from imagematch.retrieval.saved_index import model_identity

_AT_ONCE = 256
_SECRET = re.compile(r"//.*@")  # user and password of a URL, which are not shown


class Gallery:
    """Images with labels, stored with their embeddings. Use `Gallery.create` or `Gallery.open`, in a `with` block.

    An image is in a gallery once, by the digest of its content: adding it again gives its id, and the new label, where
    there is one, replaces the old. Ids are never given to another image. What is added is found by the next search, in
    any process; what writes happens whole or not at all, whenever the process is killed. Threads may share a gallery.
    `location` is its folder, or its URL without a password.
    """

    def __init__(self, store: GalleryStore, location: str, matcher: ImageMatcher | None) -> None:
        self._store = store
        self.location = _SECRET.sub("//", location)
        self._matcher = matcher
        if matcher is not None and model_identity(matcher.card) != store.facts.matcher:
            raise ModelError(
                f"belongs to another matcher, which is called {store.facts.matcher_name}",
                where=self.location,
                do=f"use that one, or embed its images again: imagematch gallery rebuild {self.location} --model DIR",
            )

    @classmethod
    def create(
        cls, location: str | Path, matcher: ImageMatcher | str | Path, *, image_side: int = IMAGE_SIDE
    ) -> Gallery:
        """A new, empty gallery.

        Args:
            location: a folder that is not there yet, or the URL of a store.
            matcher: whose embeddings it will hold, or that one's folder.
            image_side: images are stored with their longer side at most so long, for `rebuild`, `export` and pages; 0
                stores none.

        Raises:
            DataError: there is something already.
            ConfigError: no store has the URL's scheme.
            StudyError: it cannot be written.
        """
        matcher = _loaded(matcher)
        store = GALLERY_STORES.of(str(location)).create(str(location), _facts(matcher, image_side))
        return cls(store, str(location), matcher)

    @classmethod
    def open(cls, location: str | Path, matcher: ImageMatcher | str | Path | None = None) -> Gallery:
        """Opens an existing gallery.

        Args:
            location: as for `create`.
            matcher: needed to add and to search.

        Raises:
            DataError: no gallery is there.
            ModelError: it belongs to another matcher.
            ConfigError: no store has the URL's scheme.
            StudyError: it cannot be read.
        """
        store = GALLERY_STORES.of(str(location)).open(str(location))
        try:
            return cls(store, str(location), None if matcher is None else _loaded(matcher))
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its files."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.count()

    @property
    def facts(self) -> GalleryFacts:
        """Its matcher, the length of an embedding, and the size of its stored images."""
        return self._store.facts

    @property
    def matcher(self) -> ImageMatcher:
        """The matcher it was opened with. Raises ModelError where it was opened without one."""
        if self._matcher is None:
            raise ModelError("was opened without its matcher", where=self.location, do="give the matcher")
        return self._matcher

    def add(
        self,
        images: Any,
        labels: str | Sequence[str | None] | None = None,
        *,
        digests: Sequence[str | None] | None = None,
        unusable: Callable[[int, DataError], None] | None = None,
    ) -> list[int]:
        """Adds one or many images, all of them or none.

        Args:
            images: as for `ImageMatcher.embed`.
            labels: one for all, or one for each; None and "" are no label.
            digests: of their content, as a data set knows images that are parts of files; None: their own.
            unusable: told the place of every image that cannot be used, and why; the others are added. None raises at
                the first one.

        Returns:
            The ids of the images that were added or were there already, in their order.

        Raises:
            DataError: an image cannot be used, or a label is too long or no text.
            ValueError: the numbers of images and labels differ.
            ModelError: the gallery was rebuilt for another matcher meanwhile.
            StudyError: it cannot be written.
        """
        images = as_list(images)
        if isinstance(labels, str) or labels is None:
            labels = [labels] * len(images)
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images cannot have {len(labels)} labels")
        checked = [checked_label(label) for label in labels]
        new, failed, decoding = [], dict[int, DataError](), self.matcher.card.embedding.decoding
        contents = [image_digest(image, **decoding) for image in images]
        embeddings = self.matcher.embed(images, unreadable=failed.__setitem__)
        for row, image in enumerate(images):
            try:
                if row in failed:
                    raise failed[row]
                source = str(image) if isinstance(image, str | Path) else ""
                small = small_image(unchanged(image, contents[row]), self.facts.image_side, **decoding)
                given = digests[row] if digests else None
                new.append(NewImage(given or contents[row], checked[row], source, embeddings[row], small))
            except DataError as error:
                if unusable is None:
                    raise
                unusable(row, error)
        return self._store.add(new)

    def search(self, image: Any, k: int = 10, *, threshold: float | None = None, by_label: bool = False) -> Hits:
        """The k nearest of the gallery to one image, exactly.

        Args:
            image: as for `ImageMatcher.embed`.
            k: how many, 1 or more.
            threshold: where a match begins, instead of the matcher's own.
            by_label: each label once, by the example that is nearest; images without a label are left out.

        Raises:
            DataError: the image cannot be used.
            ModelError: the gallery was rebuilt for another matcher meanwhile.
            StudyError: it cannot be read.
        """
        return self.search_many([image], k, threshold=threshold, by_label=by_label)[0]

    def search_many(
        self, images: Sequence[Any], k: int = 10, *, threshold: float | None = None, by_label: bool = False
    ) -> list[Hits]:
        """The same for each of many images."""
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        threshold = self.matcher.threshold if threshold is None else threshold
        queries = self.matcher.embed(as_list(images))
        if by_label:
            return [self._labels_found(query[None], k, threshold) for query in queries]
        return self._found(queries, k, threshold)

    def neighbours(self, ids: Sequence[int], k: int = 10) -> list[Hits]:
        """The k nearest of the gallery to each of its images, which must be there, without itself."""
        found = self._found(self.embeddings(ids), k + 1, self.matcher.threshold)
        return [Hits([hit for hit in hits if hit.id != own][:k]) for own, hits in zip(ids, found, strict=True)]

    def _found(self, queries: np.ndarray, k: int, threshold: float) -> list[Hits]:
        ids, distances = self._store.search(queries, k)
        images = self.find(np.unique(ids).tolist())
        return [
            Hits(
                Hit(one, images[one].label or None, near, self.matcher.probability(near), near < threshold)
                for one, near in zip(*row, strict=True)
                if one in images
            )
            for row in zip(ids.tolist(), distances.tolist(), strict=True)
        ]

    def _labels_found(self, query: np.ndarray, k: int, threshold: float) -> Hits:
        count, depth = len(self), 4 * k
        while True:
            nearest: dict[str | None, Hit] = {}
            for hit in self._found(query, depth, threshold)[0]:
                if hit.label is not None:
                    nearest.setdefault(hit.label, hit)
            if len(nearest) >= k or depth >= count:
                return Hits(list(nearest.values())[:k])
            depth *= 4

    def remove(self, ids: int | Sequence[int]) -> int:
        """Removes images; how many of them were there. Their ids are never used again."""
        return self._store.remove(one for one in ([ids] if isinstance(ids, int) else ids) if 0 < one < 2**63)

    def remove_label(self, label: str) -> int:
        """Removes every image of a label; how many there were."""
        return self.remove([image.id for image in self.images(label)])

    def labels(self, *, start: str = "", contains: str = "", limit: int | None = None) -> dict[str, int]:
        """Labels and the numbers of their images, as `GalleryStore.labels`; "" stands for none."""
        return self._store.labels(start=start, contains=contains, limit=limit)

    def images(self, label: str | None = None) -> Iterator[GalleryImage]:
        """Every image, by id; of one label where one is given ("": of none)."""
        return itertools.chain.from_iterable(self._pages(label))

    def _pages(self, label: str | None = None) -> Iterator[list[GalleryImage]]:
        after = 0
        while page := self._store.images(label=label, after=after, limit=_AT_ONCE):
            yield page
            after = page[-1].id

    def page(self, label: str | None = None, *, after: int = 0, limit: int = _AT_ONCE) -> list[GalleryImage]:
        """At most `limit` images with an id over `after`, by id; of one label where one is given ("": of none)."""
        return self._store.images(label=label, after=after, limit=limit)

    def find(self, ids: Sequence[int]) -> dict[int, GalleryImage]:
        """Images by id; those that are not there are left out."""
        return self._store.find(ids)

    def relabel(self, image_id: int, label: str) -> bool:
        """Puts another label in place of an image's; False where there is no such image.

        Raises:
            DataError: the label is empty, too long or no text.
            StudyError: it cannot be written.
        """
        text = checked_label(label)
        if not text:
            raise DataError("a label cannot be removed", do="remove the image and add it again")
        found = self._store.find([image_id]).get(image_id)
        if found is None:
            return False
        data, embedding = self._store.image_file(image_id) or b"", self._store.embeddings([image_id])[0]
        self._store.add([NewImage(found.digest, text, found.source, embedding, data)])  # known by its digest
        return True

    def image_file(self, image_id: int) -> bytes | None:
        """The stored small image as a file's bytes, JPEG or PNG; None where there is none."""
        return self._store.image_file(image_id)

    def embeddings(self, ids: Sequence[int]) -> np.ndarray:
        """(n, dim) float32 of images that are there."""
        return self._store.embeddings(ids)

    def rebuild(self, matcher: ImageMatcher | str | Path) -> int:
        """Embeds every stored image anew, for another matcher; how many there were.

        What is embedded is the small image that is stored: distances may differ a little from those of the originals.

        Raises:
            DataError: an image was stored without its file, or that cannot be used by this matcher.
            StudyError: the gallery was changed meanwhile, or cannot be written; it is as it was before.
        """
        matcher, seen = _loaded(matcher), self._store.generation()
        embeddings: list[tuple[int, np.ndarray]] = []
        for page in self._pages():
            ids = [image.id for image in page]
            embeddings += zip(ids, matcher.embed([self._stored(image_id) for image_id in ids]), strict=True)
        self._store.replace(_facts(matcher, self.facts.image_side), embeddings, seen=seen)
        self._matcher = matcher
        return len(embeddings)

    def _stored(self, image_id: int) -> bytes:
        if data := self.image_file(image_id):
            return data
        raise DataError(f"image {image_id} is stored without its file", where=self.location, do="add it again")


def _facts(matcher: ImageMatcher, image_side: int) -> GalleryFacts:
    return GalleryFacts(model_identity(matcher.card), matcher.card.name, matcher.card.embedding.dim, image_side)


def _loaded(matcher: ImageMatcher | str | Path) -> ImageMatcher:
    return matcher if isinstance(matcher, ImageMatcher) else ImageMatcher.load(matcher)
