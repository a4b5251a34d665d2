"""The distances that retrieval ranks by: Euclidean, cosine and weighted Jaccard."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from imagematch.data import thread_count
from imagematch.errors import ConfigError

SEARCH_DISTANCES = ("euclidean", "cosine", "jaccard")

_UNIT_ROUNDOFF = 2.0**-24
_EXACT_VALUES = 1 << 18
_JACCARD_VALUES = 1 << 18
_PRODUCT_FROM = 4_000
"""Values of queries (queries x their length) from which FAISS compares by matrix products: its 128,000 leaves several
hundred queries to loops that take 2 to 4 times as long."""


def import_faiss() -> Any:
    """The FAISS module, imported where it is first needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its wrapper's, under Python 3.12 and later
        import faiss
    limits = faiss.cvar
    limits.distance_compute_blas_threshold = min(limits.distance_compute_blas_threshold, _PRODUCT_FROM)
    return faiss


class SearchDistance(Protocol):
    """A distance: quick keys that rank like it up to a tolerance, and its exact values."""

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) of any float type -> (n, d) float32 to compute keys of. Raises ConfigError where they do not suit."""

    def nearest(self, queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k smallest keys of each query, (q, k) float32 in no order, and their gallery rows; all prepared."""

    def reach(self, gallery: np.ndarray) -> float:
        """What `tolerance` needs of a gallery, prepared; of one in parts it is the largest of theirs."""

    def tolerance(self, queries: np.ndarray, reach: float) -> np.ndarray:
        """(q,) float64: how far a key of that query can be from one that ranks as its distance in float32 does."""

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(n, d) and (n, d) -> (n,) float64: the distance of each row of one to that row of the other."""


class Euclidean:
    """The length of the difference. Keys are squared lengths."""

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """See SearchDistance."""
        return np.ascontiguousarray(vectors, np.float32)

    def nearest(self, queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See SearchDistance."""
        keys, rows = import_faiss().knn(queries, gallery, k)
        return keys, rows

    def reach(self, gallery: np.ndarray) -> float:
        """See SearchDistance: the longest vector's length."""
        return float(_lengths(gallery).max(initial=0.0))

    def tolerance(self, queries: np.ndarray, reach: float) -> np.ndarray:
        """See SearchDistance. Source: N. Higham, Accuracy and stability of numerical algorithms, 2002, section 3.1."""
        return (queries.shape[1] + 16) * _UNIT_ROUNDOFF * np.square(_lengths(queries) + reach)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See SearchDistance."""
        difference = first.astype(np.float64) - second
        return np.sqrt(np.square(difference, out=difference).sum(axis=1))


class Cosine:
    """One minus the cosine of the angle: 0 to 2; 1 where a vector is zero. Keys are negative cosines."""

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """See SearchDistance: rows of length 1; zeros stay zeros."""
        lengths = _lengths(vectors)[:, None]
        return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)

    def nearest(self, queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See SearchDistance."""
        faiss = import_faiss()
        cosines, rows = faiss.knn(queries, gallery, k, metric=faiss.METRIC_INNER_PRODUCT)
        return -cosines, rows

    def reach(self, gallery: np.ndarray) -> float:
        """See SearchDistance: 1, since the keys are shares of it."""
        return float(len(gallery) > 0)

    def tolerance(self, queries: np.ndarray, reach: float) -> np.ndarray:
        """See SearchDistance."""
        return np.full(len(queries), 2 * (queries.shape[1] + 16) * _UNIT_ROUNDOFF * reach)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See SearchDistance."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        squares = np.square(a).sum(axis=1) * np.square(b).sum(axis=1)
        cosine = (a * b).sum(axis=1) / np.sqrt(np.where(squares > 0, squares, 1))
        return np.clip(1 - cosine, 0, 2)


class Jaccard:
    """Weighted Jaccard, 1 - (sum of minima) / (sum of maxima): 0 to 1, for values of 0 and more; 0 between zeros.

    FAISS's own takes eight times as long.

    Source: S. Ioffe, Improved consistent sampling, weighted minhash and L1 sketching, ICDM 2010, equation 1.
    """

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """See SearchDistance."""
        rows = np.ascontiguousarray(vectors, np.float32)
        lowest = float(rows.min(initial=0.0))
        if lowest < 0:
            raise ConfigError(
                f"weighted Jaccard needs values of 0 and more, and these go down to {lowest:.3g}",
                where="metric",
                do="use cosine or euclidean",
            )
        return rows

    def nearest(self, queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See SearchDistance."""
        sums, step = gallery.sum(axis=1), max(1, _JACCARD_VALUES // max(1, gallery.shape[1]))

        def of_one(query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            minima = np.concatenate(
                [np.minimum(gallery[start : start + step], query).sum(axis=1) for start in range(0, len(gallery), step)]
            )
            keys = _jaccard(minima, query.sum() + sums)
            rows = np.argpartition(keys, k - 1)[:k]
            return keys[rows], rows

        with ThreadPoolExecutor(thread_count()) as pool:
            found = list(pool.map(of_one, queries))
        return np.stack([keys for keys, _ in found]), np.stack([rows for _, rows in found])

    def reach(self, gallery: np.ndarray) -> float:
        """See SearchDistance: 1, since the keys are shares of it."""
        return float(len(gallery) > 0)

    def tolerance(self, queries: np.ndarray, reach: float) -> np.ndarray:
        """See SearchDistance."""
        return np.full(len(queries), 4 * (queries.shape[1] + 8) * _UNIT_ROUNDOFF * reach)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See SearchDistance."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        return _jaccard(np.minimum(a, b).sum(axis=1), a.sum(axis=1) + b.sum(axis=1))


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def _jaccard(minima: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The distance from the sums of the minima and of both vectors' values."""
    maxima = sums - minima
    return np.where(maxima > 0, 1 - minima / np.where(maxima > 0, maxima, 1), 0).astype(minima.dtype)


_DISTANCES: dict[str, Callable[[], SearchDistance]] = {"euclidean": Euclidean, "cosine": Cosine, "jaccard": Jaccard}


def make_distance(name: str) -> SearchDistance:
    """The distance of that name. Raises ConfigError where there is none."""
    if name not in _DISTANCES:
        raise ConfigError(f"{name!r} is not one of {', '.join(SEARCH_DISTANCES)}", where="metric")
    return _DISTANCES[name]()


def distances(queries: np.ndarray, gallery: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """Every query's distance to everything in the gallery; besides the result, memory is a few megabytes.

    Args:
        queries: (q, d).
        gallery: (g, d).
        metric: one of SEARCH_DISTANCES; see the classes for the formulas.

    Returns:
        (q, g) float32, computed in float64.

    Raises:
        ConfigError: no such distance, or negative values for `jaccard`.

    >>> distances(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), "cosine")
    array([[0., 1.]], dtype=float32)
    """
    distance = make_distance(metric)
    if metric == "jaccard":
        queries, gallery = distance.prepared(queries), distance.prepared(gallery)
    found = np.empty((len(queries), len(gallery)), np.float32)
    step = pairs_at_once(queries.shape[1])
    for first in range(0, found.size, step):
        pairs = np.arange(first, min(first + step, found.size))
        found.flat[pairs] = distance.between(queries[pairs // len(gallery)], gallery[pairs % len(gallery)])
    return found


def pairs_at_once(dim: int) -> int:
    """How many pairs of vectors may be gathered at once in a few megabytes."""
    return max(1, _EXACT_VALUES // max(1, dim))
