"""FAISS indexes of a gallery's vectors: flat, HNSW, IVF-PQ; what they find is ranked by exact distances."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import ConfigError, DataError
from imagematch.events import SILENT, RunLog
from imagematch.retrieval.distances import import_faiss, make_distance
from imagematch.retrieval.index_files import check_faiss_file, check_links, write_faiss_file
from imagematch.retrieval.search import LeftOut, Neighbours, batches, nearest, nothing_found, ranked

INDEXES = ("flat", "hnsw", "ivfpq")
"""flat: every vector compared. hnsw: a graph of near vectors. ivfpq: cells of compressed vectors."""

FLAT_UP_TO = 1_000_000
HNSW_UP_TO = 4_000_000
"""Vectors up to which each is chosen; above the last it is ivfpq, whose vectors stay on disk."""

REFINED = 4
"""How many times as many candidates as wanted an ivfpq index ranks by their own vectors."""

_LINKS = 32
_EFFORT_BUILDING = 64
_EFFORT_SEARCHING = 96
_PER_CELL = 39
_CODES = 256
_CELLS_SEARCHED = 1 / 32
_CELLS_AT_LEAST = 8
_BATCH = 65_536


def choose_index(count: int, metric: str = "euclidean", requested: str | None = None) -> str:
    """The kind of index for so many vectors.

    Args:
        count: vectors of the gallery.
        metric: weighted Jaccard is always `flat`.
        requested: a kind that is wanted; None chooses by size.

    Raises:
        ConfigError: no such kind or distance, or the kind does not know the distance.
    """
    make_distance(metric)
    if requested is not None and requested not in INDEXES:
        raise ConfigError(f"{requested!r} is not one of {', '.join(INDEXES)}", where="index")
    if metric == "jaccard":
        if requested not in (None, "flat"):
            raise ConfigError(f"{requested} does not know the metric jaccard", where="index", do="use flat")
        return "flat"
    if requested is not None:
        return requested
    return "flat" if count <= FLAT_UP_TO else "hnsw" if count <= HNSW_UP_TO else "ivfpq"


def check_count(kind: str, count: int) -> None:
    """Raises DataError where an index of that kind cannot begin with so few vectors."""
    if kind == "ivfpq" and count < _CODES:
        raise DataError(
            f"an ivfpq index begins with {_CODES} images or more, not {count}", where="index", do="use flat or hnsw"
        )


class NeighbourIndex:
    """Vectors in FAISS, searched by squared Euclidean distances; for cosine they are brought to length 1.

    flat compares every vector. hnsw follows a graph of near vectors (Malkov and Yashunin, TPAMI 2020). ivfpq looks
    into the nearest cells, at compressed vectors (Jegou et al., Product quantization, TPAMI 2011), and ranks four times
    as many as wanted by the vectors themselves (IndexRefineFlat), which are mapped where the index is read from a file.

    Args:
        kind: one of INDEXES.
        metric: one of SEARCH_DISTANCES; only `flat` knows `jaccard`.
        dim: length of a vector.

    Raises:
        ConfigError: no such kind or distance, or they do not go together.
    """

    def __init__(self, kind: str, metric: str, dim: int) -> None:
        self.kind = choose_index(0, metric, kind)
        self.metric = metric
        self._distance = make_distance(metric)
        self._dim = dim
        self._index: Any = None
        self._mapped = False

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def add(self, vectors: np.ndarray, log: RunLog = SILENT) -> None:
        """Appends (n, dim) vectors; they get the next rows. Raises DataError where they cannot begin an ivfpq index."""
        if not len(vectors):
            return
        faiss = import_faiss()
        if self._index is None:
            self._index = self._empty(vectors)
        elif self._mapped:
            self._index, self._mapped = faiss.deserialize_index(faiss.serialize_index(self._index)), False
        step = _BATCH if self.kind == "flat" else _BATCH // 16
        with log.progress("indexed images", len(vectors)) as advance:
            for start in range(0, len(vectors), step):
                part = vectors[start : start + step]
                self._index.add(self._stored(part))
                advance(len(part))

    def _stored(self, vectors: np.ndarray) -> np.ndarray:
        if self.kind == "flat":  # prepared when they are searched
            return np.ascontiguousarray(vectors, np.float32)
        return self._distance.prepared(vectors)

    def _empty(self, vectors: np.ndarray) -> Any:
        """An index without vectors; ivfpq has its cells and codes learnt from an even sample of those given."""
        faiss = import_faiss()
        if self.kind == "flat":
            return faiss.IndexFlatL2(self._dim)
        if self.kind == "hnsw":
            graph = faiss.IndexHNSWFlat(self._dim, _LINKS)
            graph.hnsw.efConstruction = _EFFORT_BUILDING
            return graph
        check_count(self.kind, len(vectors))
        cells = max(1, min(int(2 * math.sqrt(len(vectors))), len(vectors) // _PER_CELL))
        parts = max(part for part in range(1, max(1, self._dim // 4) + 1) if self._dim % part == 0)
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(self._dim), self._dim, cells, parts, 8)
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        index.nprobe = _probed(cells)
        wanted = _PER_CELL * max(cells, _CODES)
        sample = np.linspace(0, len(vectors) - 1, min(len(vectors), wanted)).astype(np.int64)
        index.train(self._stored(vectors[sample]))
        return faiss.IndexRefineFlat(index)

    @property
    def vectors(self) -> np.ndarray:
        """(n, dim) float32 as they are stored: not copied, and not to be changed or held when the index grows."""
        if self._index is None:
            return np.empty((0, self._dim), np.float32)
        faiss = import_faiss()
        inside = {"flat": "", "hnsw": "storage", "ivfpq": "refine_index"}[self.kind]
        flat = faiss.downcast_index(getattr(self._index, inside)) if inside else self._index
        return np.asarray(faiss.rev_swig_ptr(flat.get_xb(), len(self) * self._dim)).reshape(len(self), self._dim)

    def search(self, queries: np.ndarray, k: int, left_out: LeftOut | None = None) -> Neighbours:
        """The k nearest rows for each query, with exact distances; -1 and infinity where fewer are found.

        `flat` finds all, equal distances in the order of the rows. What `hnsw` and `ivfpq` miss is missing; where all
        is wanted, all is compared.
        """
        vectors = self.vectors
        if self.kind == "flat" or k < 1:
            return nearest(queries, vectors, k, self.metric, left_out=left_out)
        k = min(k, len(self))
        wanted = np.full(len(queries), k) if left_out is None else k + left_out.counts()
        found = nothing_found(len(queries), k)
        for part, most in batches(np.arange(len(queries)), np.minimum(wanted, len(self))):
            apart = left_out and left_out.of(part)
            if most == len(self):
                near = nearest(queries[part], vectors, k, self.metric, left_out=apart)
            else:
                near = self._found(queries[part], k, most, apart)
            found.rows[part], found.distances[part] = near.rows, near.distances
        return found

    def _found(self, queries: np.ndarray, k: int, wanted: int, left_out: LeftOut | None) -> Neighbours:
        """Asks FAISS for `wanted` candidates of each query; the k nearest of those that count."""
        rows = self._index.search(self._stored(queries), wanted, params=self._effort(wanted))[1]
        found = rows >= 0
        if left_out is not None:
            found &= ~left_out.hits(rows)
        return ranked(queries, self.vectors, np.nonzero(found)[0], rows[found], k, self._distance)

    def _effort(self, wanted: int) -> Any:
        faiss = import_faiss()
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(_EFFORT_SEARCHING, 2 * wanted))
        return faiss.IndexRefineSearchParameters(k_factor=REFINED)

    def write(self, path: Path) -> None:
        """Writes it into a file; an empty one has none."""
        if self._index is not None:
            write_faiss_file(self._index, path)

    def read(self, path: Path) -> None:
        """Takes what `write` left.

        Raises:
            OSError: it is no file, or cannot be read.
            ValueError, RuntimeError: it is damaged.
        """
        faiss = import_faiss()
        check_faiss_file(path, self.kind, self._dim)
        mapped = self.kind == "ivfpq"
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        check_links(faiss, index)
        if mapped:  # how hard it looks is ours to say, not the file's
            cells = faiss.downcast_index(index.base_index)
            cells.nprobe = _probed(cells.nlist)
        elif self.kind == "hnsw":
            index.hnsw.efConstruction = _EFFORT_BUILDING
        self._index, self._mapped = index, mapped


def _probed(cells: int) -> int:
    """How many of so many cells a search looks into."""
    return min(cells, max(_CELLS_AT_LEAST, int(cells * _CELLS_SEARCHED)))
