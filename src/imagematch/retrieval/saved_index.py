"""A gallery's index on disk: its vectors, the images they are of, and the model that made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imagematch.errors import ModelError
from imagematch.events import SILENT, RunLog
from imagematch.files import digest_file, digest_json, recovered_dir, replacing_dir, write_json
from imagematch.matching import MatcherCard
from imagematch.reading import KB, check_file, read_file
from imagematch.retrieval.index import NeighbourIndex
from imagematch.retrieval.index_files import FILE_BYTES
from imagematch.retrieval.search import LeftOut, Neighbours

_FORMAT = 2
_FILE = "index.json"
_VECTORS = "faiss.index"
_FILES = (_VECTORS, "images.json")
_FACTS_BYTES = 64 * KB
_IMAGE_BYTES = 16 * KB
"""Of an image's path, each letter escaped, and its digest."""
_AGAIN = "remove it: it will be built again"


class IndexedImage(NamedTuple):
    """An image of a gallery: its path, POSIX, relative to the gallery's folder, and the digest of its content."""

    path: str
    digest: str


def model_identity(card: MatcherCard) -> str:
    """Tells models apart: a digest of the digests of the matcher's files, and of how it embeds, new keys left out."""
    embedding = card.embedding.model_dump(
        mode="json", exclude_defaults=True
    )  # a key that is added later changes nothing
    return digest_json([card.files, embedding])


class SavedIndex:
    """An index that knows its images and its model.

    Args:
        index: the vectors.
        model: the model's identity, see `model_identity`.
        space: "embedding" or "features": what the vectors are.
        dim: length of a vector.
    """

    def __init__(self, index: NeighbourIndex, *, model: str, space: str, dim: int) -> None:
        self._index = index
        self._model = model
        self._space = space
        self._dim = dim
        self.ids: list[IndexedImage] = []

    def __len__(self) -> int:
        return len(self._index)

    @property
    def kind(self) -> str:
        """One of INDEXES."""
        return self._index.kind

    def add(self, ids: Sequence[IndexedImage], vectors: np.ndarray, log: RunLog = SILENT) -> None:
        """Appends images with their vectors, (n, dim) float32. Raises ValueError where the two do not fit."""
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"{len(ids)} images of {self._dim} values have vectors of shape {vectors.shape}")
        self._index.add(vectors, log)
        self.ids.extend(ids)

    def search(self, queries: np.ndarray, k: int, left_out: LeftOut | None = None) -> Neighbours:
        """The k nearest of each query; rows count as `ids` does."""
        return self._index.search(queries, k, left_out)

    def save(self, folder: Path) -> None:
        """Writes it, whole or not at all; what was in the folder stays until then.

        Raises:
            StudyError: the folder cannot be written.
        """
        with replacing_dir(folder) as fresh:
            self._index.write(fresh / _VECTORS)
            write_json(fresh / "images.json", [list(image) for image in self.ids])
            description = {
                **self._facts(),
                "format": _FORMAT,
                "count": len(self),
                "files": {name: digest_file(fresh / name) for name in _FILES if (fresh / name).exists()},
            }
            write_json(fresh / _FILE, description)

    def _facts(self) -> dict[str, Any]:
        return {
            "kind": self._index.kind,
            "metric": self._index.metric,
            "space": self._space,
            "dim": self._dim,
            "model": self._model,
        }

    @classmethod
    def create(cls, kind: str, metric: str, *, model: str, space: str, dim: int) -> SavedIndex:
        """An empty one; arguments and errors as in `NeighbourIndex`."""
        return cls(NeighbourIndex(kind, metric, dim), model=model, space=space, dim=dim)

    def reopened(self, folder: Path) -> SavedIndex | None:
        """The index saved in `folder` for the same question as this one, an empty one; None where there is none.

        One of an older version is none: it is built again.

        Raises:
            ModelError: it was built by another model or for another question, is damaged, or comes from a newer
                version.
        """
        path = recovered_dir(folder) / _FILE
        if not folder.exists():
            return None
        made = SavedIndex.create(self.kind, self._index.metric, model=self._model, space=self._space, dim=self._dim)
        try:
            saved = json.loads(read_file(path, max_bytes=_FACTS_BYTES))
            if saved["format"] > _FORMAT:
                raise ModelError("was written by a newer imagematch", where=str(path), do="update imagematch")
            if saved["format"] < _FORMAT:
                return None
            if saved["model"] != self._model:
                raise ModelError("was built by another model", where=str(folder), do=_AGAIN)
            if different := [name for name, value in made._facts().items() if saved[name] != value]:
                raise ModelError(f"is an index of another {different[0]}", where=str(folder), do=_AGAIN)
            for name, digest in saved["files"].items():
                if name not in _FILES:
                    raise ValueError(f"{name} is not one of its files")
                check_file(folder / name, max_bytes=FILE_BYTES, dense=True)
                if digest_file(folder / name) != digest:
                    raise ValueError(f"{name} was changed")
            if _VECTORS in saved["files"]:
                made._index.read(folder / _VECTORS)
            most = len(made) * _IMAGE_BYTES + _FACTS_BYTES
            images = json.loads(read_file(folder / "images.json", max_bytes=most))
            if len(images) != len(made):
                raise ValueError("its parts do not fit")
            made.ids = [IndexedImage(str(path), str(digest)) for path, digest in images]
            if not len(made._index) == len(made.ids) == saved["count"]:
                raise ValueError("its parts do not fit")
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, MemoryError) as error:
            raise ModelError("is damaged", where=str(folder), do=_AGAIN) from error
        return made
