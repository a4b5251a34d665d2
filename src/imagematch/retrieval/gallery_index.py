"""The FAISS index of a gallery: a cache of its store's embeddings, brought up to date before each search."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import StudyError
from imagematch.files import digest_file, recovered_dir, replacing_dir, write_json
from imagematch.reading import KB, check_file, read_file
from imagematch.retrieval.distances import Euclidean, import_faiss
from imagematch.retrieval.index_files import FILE_BYTES, check_faiss_file, write_faiss_file
from imagematch.retrieval.search import nearest

SAVED_AFTER = 20_000
"""Changes after which the cache is written again; at least a tenth of the images, so that writing stays cheap."""

_VECTORS, _FACTS = "faiss.index", "index.json"


@dataclass(frozen=True, eq=False)
class Changes:
    """What has happened to a store since the generation that an index has.

    Attributes:
        generation: that of the store now.
        token: drawn when that generation was written: a store that was restored from a backup has others.
        whole: the index begins anew, and `added` has everything.
        removed: ids of images that are gone.
        added: (n,) int64 ids and (n, dim) float32 embeddings, block by block, the ids ascending.
    """

    generation: int
    token: str
    whole: bool
    removed: np.ndarray
    added: Iterable[tuple[np.ndarray, np.ndarray]]


class GalleryIndex:
    """Embeddings by id, compared exactly (IndexIDMap2 of IndexFlatL2).

    It is an exact child of the store: both have a generation and its token. What is on the disk is believed only where
    the store knows both; else, and where it is damaged, the index is made anew.

    Args:
        folder: where it is cached.
        dim: length of an embedding.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self.generation, self.token = 0, ""
        self._unsaved = 0
        self._reach = 0.0
        self._index: Any = None
        self._ids = np.empty(0, np.int64)
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, StudyError):
            self._read()

    def __len__(self) -> int:
        return len(self._ids)

    def _read(self) -> None:
        facts = json.loads(read_file(recovered_dir(self._folder) / _FACTS, max_bytes=64 * KB))
        path, faiss = self._folder / _VECTORS, import_faiss()
        check_file(path, max_bytes=FILE_BYTES, dense=True)
        if digest_file(path) != facts["digest"]:
            raise ValueError("was changed")
        check_faiss_file(path, "gallery", self._dim)
        index = faiss.read_index(str(path))
        ids = faiss.vector_to_array(index.id_map)
        if len(ids) != index.ntotal or (np.diff(ids) <= 0).any() or not isinstance(facts["generation"], int):
            raise ValueError("its parts do not fit")
        self._index, self._ids, self._reach = index, ids, float(facts["reach"])
        self.generation, self.token = facts["generation"], str(facts["token"])

    def update(self, changes: Changes) -> None:
        """Takes in what has happened since `generation`."""
        faiss = import_faiss()
        self.token = ""  # where this is broken off, the next one begins anew
        if self._index is None or changes.whole:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatL2(self._dim))
        if len(changes.removed):
            self._index.remove_ids(changes.removed)
            self._unsaved += len(changes.removed)
        for ids, embeddings in changes.added:
            self._index.add_with_ids(embeddings, ids)
            self._reach = max(self._reach, Euclidean().reach(embeddings))
            self._unsaved += len(ids)
        self._ids = faiss.vector_to_array(self._index.id_map)
        self.generation, self.token = changes.generation, changes.token

    def save_after_many_changes(self) -> None:
        """Writes the cache where it has become old; a folder that cannot be written does without."""
        if self._unsaved >= max(SAVED_AFTER, len(self) // 10):
            with contextlib.suppress(StudyError):
                self.save()

    def save(self) -> None:
        """Writes it, whole or not at all. Raises StudyError where it cannot be written."""
        with replacing_dir(self._folder) as fresh:
            write_faiss_file(self._index, fresh / _VECTORS)
            facts = {"token": self.token, "generation": self.generation, "reach": self._reach}
            facts["digest"] = digest_file(fresh / _VECTORS)
            write_json(fresh / _FACTS, facts)
        self._unsaved = 0

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See GalleryStore."""
        k = min(k, len(self))
        if not k:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        faiss = import_faiss()
        flat = faiss.downcast_index(self._index.index)
        vectors = np.asarray(faiss.rev_swig_ptr(flat.get_xb(), len(self) * self._dim)).reshape(len(self), self._dim)
        found = nearest(queries, vectors, k, reach=self._reach)
        return self._ids[found.rows], found.distances
