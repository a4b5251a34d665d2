"""FAISS behind the interface of an index: flat, HNSW, IVF-PQ; what it finds is ranked again by exact distances."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import ConfigError, DataError
from imagematch.retrieval.index_files import check_faiss_file, check_links, read_vectors
from imagematch.retrieval.metrics import make_metric
from imagematch.retrieval.search import LeftOut, Neighbours, nearest, ranked

FAISS_KINDS = ("flat", "hnsw", "ivfpq")

_LINKS = 32
_EFFORT_BUILDING = 64
_EFFORT_SEARCHING = 96
_PER_CELL = 39
_CODES = 256
_CELLS_SEARCHED = 1 / 32
_CELLS_AT_LEAST = 8
REFINED = 4
"""How many times as many candidates as wanted an ivfpq index gives, to be ranked by their own vectors."""
_BATCH = 65_536
_CANDIDATES = 1 << 20
"""That FAISS is asked for at once, whatever is left out: some tens of megabytes."""
_AT_ONCE = 1 << 18
"""Values of candidates that are looked at together: a megabyte, which stays near the processor."""


def import_faiss() -> Any:
    """The FAISS module. Raises ConfigError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its wrapper's, under Python 3.12 and later
            import faiss
    except ImportError as error:
        raise ConfigError(
            "FAISS is not installed", where="index", do="pip install 'imagematch[faiss]', or use --index exact"
        ) from error
    return faiss


def check_count(kind: str, count: int) -> None:
    """Raises DataError where an index of that kind cannot begin with so few vectors."""
    if kind == "ivfpq" and count < _CODES:
        raise DataError(
            f"an ivfpq index begins with {_CODES} images or more, not {count}",
            where="index",
            do="use exact, flat or hnsw",
        )


class FaissIndex:
    """A FAISS index over squared Euclidean distances; cosine searches the vectors brought to length 1.

    flat compares every vector. hnsw follows a graph of near vectors (Malkov and Yashunin, TPAMI 2020). ivfpq looks
    into the nearest cells, at compressed vectors (Jegou et al., Product quantization, TPAMI 2011), and ranks four times
    as many as wanted by the vectors themselves, which stay on disk.
    """

    def __init__(self, kind: str, metric: str, dim: int) -> None:
        self.kind = kind
        self.metric = metric
        self._faiss = import_faiss()
        self._dim = dim
        self._index: Any = self._empty() if kind != "ivfpq" else None
        self._vectors = np.empty((0, dim), np.float32)  # of ivfpq alone: the others have them inside

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def _empty(self) -> Any:
        if self.kind == "flat":
            return self._faiss.IndexFlatL2(self._dim)
        index = self._faiss.IndexHNSWFlat(self._dim, _LINKS)
        index.hnsw.efConstruction = _EFFORT_BUILDING
        return index

    def add(self, vectors: np.ndarray) -> None:
        """See Index. Raises DataError where there are too few to begin an ivfpq index."""
        if not len(vectors):
            return
        if self._index is None:
            self._index = self._trained(vectors)
        measure = make_metric(self.metric)
        for start in range(0, len(vectors), _BATCH):
            self._index.add(measure.prepared(vectors[start : start + _BATCH]).vectors)
        if self.kind == "ivfpq":
            rows = measure.prepared(vectors).vectors
            self._vectors = np.concatenate([self._vectors, rows]) if len(self._vectors) else rows

    def _trained(self, vectors: np.ndarray) -> Any:
        """An IVF-PQ index with its cells and codes learnt from an even sample of the vectors."""
        check_count(self.kind, len(vectors))
        cells = max(1, min(int(2 * math.sqrt(len(vectors))), len(vectors) // _PER_CELL))
        parts = max(part for part in range(1, max(1, self._dim // 4) + 1) if self._dim % part == 0)
        index = self._faiss.IndexIVFPQ(self._faiss.IndexFlatL2(self._dim), self._dim, cells, parts, 8)
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        index.nprobe = _probed(cells)
        wanted = _PER_CELL * max(cells, _CODES)
        sample = np.linspace(0, len(vectors) - 1, min(len(vectors), wanted)).astype(np.int64)
        index.train(make_metric(self.metric).prepared(vectors[sample]).vectors)
        return index

    def search(self, queries: np.ndarray, k: int, left_out: LeftOut | None = None) -> Neighbours:
        """See Index. What `hnsw` and `ivfpq` miss is missing; where all is wanted, all is compared."""
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        k = min(k, len(self))
        wanted = np.full(len(queries), k) if left_out is None else k + left_out.counts()
        wanted *= REFINED if self.kind == "ivfpq" else 1
        found = Neighbours(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32))
        order = np.argsort(-wanted, kind="stable")
        start = int((wanted >= len(self)).sum())
        parts = [(order[:start], True)] if start else []
        while start < len(order):
            few = max(1, min(_BATCH, _CANDIDATES // int(wanted[order[start]])))
            parts.append((order[start : start + few], False))
            start += few
        for part, everything in parts:
            apart = left_out and left_out.of(part)
            if everything:
                near = nearest(queries[part], self._originals(), k, self.metric, left_out=apart)
            else:
                near = self._found(queries[part], k, int(wanted[part].max()), apart)
            found.rows[part], found.distances[part] = near.rows, near.distances
        return found

    def _found(self, queries: np.ndarray, k: int, wanted: int, left_out: LeftOut | None) -> Neighbours:
        """Asks FAISS for `wanted` candidates of each query; the k nearest of those that count."""
        measure = make_metric(self.metric)
        rows = self._index.search(measure.prepared(queries).vectors, wanted, params=self._effort(wanted))[1]
        found = rows >= 0
        if left_out is not None:
            found &= left_out.gallery[rows] != left_out.queries[:, None]
        if self.kind == "ivfpq":
            found &= self._may_be_nearest(queries, rows, found, k)
            return ranked(queries, self._vectors, np.nonzero(found)[0], rows[found], k, measure)
        owners = np.nonzero(found)[0]
        kept, places = np.unique(rows[found], return_inverse=True)
        near = ranked(queries, self._reconstructed(kept), owners, places.astype(np.int64), k, measure)
        back = np.append(kept, -1)  # row -1, nothing found, stays -1
        return Neighbours(back[near.rows], near.distances)

    def _may_be_nearest(self, queries: np.ndarray, rows: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
        """(q, wanted) bool: which candidates' distances in float32 are, up to rounding, among the k smallest.

        Three in four are not; to rank those too, in float64, would take a fifth of a search's time.
        """
        may_be = np.empty(rows.shape, bool)
        rounding = 4 * (self._dim + 8) * 2.0**-24
        vectors, measure = np.asarray(self._vectors), make_metric(self.metric)
        step = max(1, _AT_ONCE // (rows.shape[1] * self._dim))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            apart = vectors.take(rows[part], axis=0)
            apart -= measure.prepared(queries[part]).vectors[:, None]
            lengths = np.sqrt(np.einsum("qkd,qkd->qk", apart, apart))
            lengths[~found[part]] = np.inf
            kth = np.partition(lengths, k - 1, axis=1)[:, k - 1 : k]
            may_be[part] = lengths <= kth * (1 + rounding) + rounding
        return may_be

    def _effort(self, wanted: int) -> Any:
        if self.kind == "hnsw":
            return self._faiss.SearchParametersHNSW(efSearch=max(_EFFORT_SEARCHING, 2 * wanted))
        return None

    def _reconstructed(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self._index.reconstruct_batch(rows)) if len(rows) else np.empty((0, self._dim), np.float32)

    def _originals(self) -> np.ndarray:
        if self.kind == "ivfpq":
            return self._vectors
        return np.asarray(self._index.reconstruct_n(0, len(self))).reshape(len(self), self._dim)

    def write(self, folder: Path) -> tuple[str, ...]:
        """See Index."""
        if self._index is None:
            return ()
        self._faiss.write_index(self._index, str(folder / "faiss.index"))
        if self.kind != "ivfpq":
            return ("faiss.index",)
        np.save(folder / "vectors.npy", self._vectors, allow_pickle=False)
        return ("faiss.index", "vectors.npy")

    def read(self, folder: Path) -> None:
        """See Index."""
        path = folder / "faiss.index"
        if not os.path.lexists(path):
            return
        check_faiss_file(path, self.kind, self._dim)
        index = self._faiss.read_index(str(path))
        check_links(self._faiss, index)
        vectors = read_vectors(folder / "vectors.npy", self._dim) if self.kind == "ivfpq" else self._vectors
        if self.kind == "ivfpq" and len(vectors) != index.ntotal:
            raise ValueError("its parts do not fit")
        if self.kind == "ivfpq":  # how hard it looks is ours to say, not the file's
            index.nprobe = _probed(index.nlist)
        elif self.kind == "hnsw":
            index.hnsw.efConstruction = _EFFORT_BUILDING
        self._index, self._vectors = index, vectors


def _probed(cells: int) -> int:
    """How many of so many cells a search looks into."""
    return min(cells, max(_CELLS_AT_LEAST, int(cells * _CELLS_SEARCHED)))
