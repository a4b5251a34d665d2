"""The distances that retrieval ranks by: Euclidean, cosine and weighted Jaccard, in numpy, block by block."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from imagematch.data import thread_count
from imagematch.errors import ConfigError

METRICS = ("euclidean", "cosine", "jaccard")

_UNIT_ROUNDOFF = 2.0**-24
_EXACT_VALUES = 1 << 18
_JACCARD_VALUES = 1 << 18


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors as a metric works on them.

    Attributes:
        vectors: (n, d) float32, contiguous.
        sizes: (n,) float32: half the squared lengths; the sums of the values for weighted Jaccard.
    """

    vectors: np.ndarray
    sizes: np.ndarray


class Metric(Protocol):
    """A distance: quick keys that rank like it up to a tolerance, and its exact values."""

    name: str

    def prepared(self, vectors: np.ndarray) -> Rows:
        """(n, d) of any float type -> rows to compute with. Raises ConfigError where they do not suit the metric."""

    def keys(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """(q, g) float32: smaller is closer, within each row."""

    def tolerance(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """(q,) float32: how far a key of that row can be from one that ranks as its distance in float32 does."""

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(n, d) and (n, d) -> (n,) float64: the distance of each row of one to that row of the other."""


class Euclidean:
    """The length of the difference."""

    name = "euclidean"

    def prepared(self, vectors: np.ndarray) -> Rows:
        """See Metric."""
        rows = np.ascontiguousarray(vectors, np.float32)
        return Rows(rows, np.einsum("ij,ij->i", rows, rows) / 2)

    def keys(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """Half the squared distance, less half the query's squared length."""
        keys = (-queries.vectors) @ gallery.vectors.T
        keys += gallery.sizes
        return keys

    def tolerance(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """See Metric. Source: N. Higham, Accuracy and stability of numerical algorithms, 2002, section 3.1."""
        longest = float(gallery.sizes.max(initial=0.0))
        error = (queries.vectors.shape[1] + 8) * _UNIT_ROUNDOFF * (2 * np.sqrt(queries.sizes * longest) + longest)
        of_distance = 2 * _UNIT_ROUNDOFF * np.square(np.sqrt(queries.sizes) + np.sqrt(longest))
        return np.asarray(error + of_distance, np.float32)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See Metric."""
        difference = first.astype(np.float64) - second
        return np.sqrt(np.square(difference, out=difference).sum(axis=1))


class Cosine(Euclidean):
    """One minus the cosine of the angle: 0 to 2; 1 where a vector is zero."""

    name = "cosine"

    def prepared(self, vectors: np.ndarray) -> Rows:
        """See Metric: rows of length 1; zeros stay zeros."""
        rows = np.array(vectors, np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
        return Rows(np.ascontiguousarray(rows), np.full(len(rows), 0.5, np.float32))

    def keys(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """Minus the cosine."""
        return (-queries.vectors) @ gallery.vectors.T

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See Metric."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        squares = np.square(a).sum(axis=1) * np.square(b).sum(axis=1)
        cosine = (a * b).sum(axis=1) / np.sqrt(np.where(squares > 0, squares, 1))
        return np.clip(1 - cosine, 0, 2)


class Jaccard:
    """Weighted Jaccard, 1 - (sum of minima) / (sum of maxima): 0 to 1, for values of 0 and more; 0 between zeros.

    Source: S. Ioffe, Improved consistent sampling, weighted minhash and L1 sketching, ICDM 2010, equation 1.
    """

    name = "jaccard"

    def prepared(self, vectors: np.ndarray) -> Rows:
        """See Metric."""
        rows = np.ascontiguousarray(vectors, np.float32)
        lowest = float(rows.min(initial=0.0))
        if lowest < 0:
            raise ConfigError(
                f"weighted Jaccard needs values of 0 and more, and these go down to {lowest:.3g}",
                where="metric",
                do="use cosine or euclidean",
            )
        return Rows(rows, rows.sum(axis=1))

    def keys(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """The distance itself, in float32."""
        keys = np.empty((len(queries.vectors), len(gallery.vectors)), np.float32)
        step = max(1, _JACCARD_VALUES // max(1, gallery.vectors.shape[1]))

        def fill(part: np.ndarray) -> None:
            smaller = np.empty((step, gallery.vectors.shape[1]), np.float32)
            for start in range(0, len(gallery.vectors), step):
                block = gallery.vectors[start : start + step]
                for row in part:
                    np.minimum(block, queries.vectors[row], out=smaller[: len(block)])
                    keys[row, start : start + step] = smaller[: len(block)].sum(axis=1)

        parts = [part for part in np.array_split(np.arange(len(keys)), thread_count()) if len(part)]
        with ThreadPoolExecutor(max(1, len(parts))) as pool:
            list(pool.map(fill, parts))
        return _jaccard(keys, queries.sizes[:, None] + gallery.sizes)

    def tolerance(self, queries: Rows, gallery: Rows) -> np.ndarray:
        """See Metric."""
        return np.full(len(queries.sizes), 4 * (gallery.vectors.shape[1] + 8) * _UNIT_ROUNDOFF, np.float32)

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """See Metric."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        return _jaccard(np.minimum(a, b).sum(axis=1), a.sum(axis=1) + b.sum(axis=1))


def _jaccard(minima: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The distance from the sums of the minima and of both vectors' values."""
    maxima = sums - minima
    return np.where(maxima > 0, 1 - minima / np.where(maxima > 0, maxima, 1), 0).astype(minima.dtype)


_METRICS: dict[str, Callable[[], Metric]] = {"euclidean": Euclidean, "cosine": Cosine, "jaccard": Jaccard}


def make_metric(name: str) -> Metric:
    """The metric of that name. Raises ConfigError where there is none."""
    if name not in _METRICS:
        raise ConfigError(f"{name!r} is not one of {', '.join(METRICS)}", where="metric")
    return _METRICS[name]()


def distances(queries: np.ndarray, gallery: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """Every query's distance to everything in the gallery; besides the result, memory is a few megabytes.

    Args:
        queries: (q, d).
        gallery: (g, d).
        metric: one of METRICS; see the classes for the formulas.

    Returns:
        (q, g) float32, computed in float64.

    Raises:
        ConfigError: no such metric, or negative values for `jaccard`.
    """
    measure = make_metric(metric)
    checked = [measure.prepared(vectors) for vectors in (queries, gallery)] if metric == "jaccard" else None
    a, b = (queries, gallery) if checked is None else (checked[0].vectors, checked[1].vectors)
    found = np.empty((len(a), len(b)), np.float32)
    step = pairs_at_once(a.shape[1])
    for first in range(0, found.size, step):
        pairs = np.arange(first, min(first + step, found.size))
        found.flat[pairs] = measure.between(a[pairs // len(b)], b[pairs % len(b)])
    return found


def pairs_at_once(dim: int) -> int:
    """How many pairs of vectors may be gathered at once in a few megabytes."""
    return max(1, _EXACT_VALUES // max(1, dim))
