"""Indexes: what holds a gallery's vectors and finds a query's nearest in them; exact in numpy, or FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from imagematch.errors import ConfigError
from imagematch.retrieval.faiss_index import FAISS_KINDS, FaissIndex
from imagematch.retrieval.index_files import read_vectors
from imagematch.retrieval.metrics import make_metric
from imagematch.retrieval.search import LeftOut, Neighbours, nearest

INDEXES = ("exact", *FAISS_KINDS)
"""exact: numpy, every vector compared. flat: the same in FAISS. hnsw: a graph. ivfpq: cells of compressed vectors."""

EXACT_UP_TO = 100_000
FLAT_UP_TO = 1_000_000
HNSW_UP_TO = 4_000_000
"""Vectors up to which each is chosen; above the last it is ivfpq, which takes a twentieth of the memory."""


class Index(Protocol):
    """Vectors that can be searched. `tests/contract/test_indexes.py` is what each must pass."""

    kind: str
    metric: str

    def __len__(self) -> int:
        """How many vectors it holds."""

    def add(self, vectors: np.ndarray) -> None:
        """Appends (n, dim) float32; they get the next rows."""

    def search(self, queries: np.ndarray, k: int, left_out: LeftOut | None = None) -> Neighbours:
        """The k nearest rows for each query, with exact distances; -1 and infinity where fewer are found."""

    def write(self, folder: Path) -> tuple[str, ...]:
        """Writes it into an empty folder; the names of the files."""

    def read(self, folder: Path) -> None:
        """Takes what `write` left. Raises OSError, ValueError or RuntimeError where it is damaged."""


class ExactIndex:
    """Every vector compared with every query, in numpy."""

    kind = "exact"
    _FILE = "vectors.npy"

    def __init__(self, metric: str, dim: int) -> None:
        self.metric = metric
        self._vectors = np.empty((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, vectors: np.ndarray) -> None:
        """See Index; the first ones are kept as they are, not copied."""
        self._vectors = vectors if not len(self._vectors) else np.concatenate([self._vectors, vectors])

    def search(self, queries: np.ndarray, k: int, left_out: LeftOut | None = None) -> Neighbours:
        """See Index."""
        return nearest(queries, self._vectors, k, self.metric, left_out=left_out)

    def write(self, folder: Path) -> tuple[str, ...]:
        """See Index."""
        np.save(folder / self._FILE, self._vectors, allow_pickle=False)
        return (self._FILE,)

    def read(self, folder: Path) -> None:
        """See Index; the vectors are mapped."""
        self._vectors = read_vectors(folder / self._FILE, self._vectors.shape[1])


def choose_index(count: int, metric: str = "euclidean", asked: str | None = None) -> str:
    """The kind of index for so many vectors.

    Args:
        count: vectors of the gallery.
        metric: FAISS has no weighted Jaccard: that is always `exact`.
        asked: a kind that is wanted; None chooses by size.

    Raises:
        ConfigError: no such kind or metric, or it does not know the metric.
    """
    make_metric(metric)
    if asked is not None and asked not in INDEXES:
        raise ConfigError(f"{asked!r} is not one of {', '.join(INDEXES)}", where="index")
    if metric == "jaccard":
        if asked not in (None, "exact"):
            raise ConfigError(f"{asked} does not know the metric jaccard", where="index", do="use exact")
        return "exact"
    if asked is not None:
        return asked
    limits = (("exact", EXACT_UP_TO), ("flat", FLAT_UP_TO), ("hnsw", HNSW_UP_TO))
    return next((kind for kind, limit in limits if count <= limit), "ivfpq")


def make_index(kind: str, metric: str, dim: int) -> Index:
    """An empty index.

    Args:
        kind: one of INDEXES.
        metric: one of METRICS; only `exact` knows `jaccard`.
        dim: length of a vector.

    Raises:
        ConfigError: no such kind or metric, they do not go together, or FAISS is not installed.
    """
    choose_index(0, metric, kind)
    return ExactIndex(metric, dim) if kind == "exact" else FaissIndex(kind, metric, dim)
