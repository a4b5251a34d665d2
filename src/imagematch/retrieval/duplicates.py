"""Groups of images that all match each other at the matcher's threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imagematch.events import SILENT, Advance, RunLog
from imagematch.retrieval.distances import Euclidean, distances, import_faiss

MOST_IN_A_CHAIN = 8000
"""The longest chain of matches that is divided into groups: time and memory grow with the square of its length."""

_TILE_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Group:
    """Images that match each other, each with each.

    Attributes:
        rows: (n,) int64, n >= 2: first the image in the middle (smallest sum of distances), then the others by their
            distance to it.
        distances: (n,) float32: to the first one.
        diameter: the largest distance between two of them, under the threshold.
    """

    rows: np.ndarray
    distances: np.ndarray
    diameter: float


def duplicate_groups(
    embeddings: np.ndarray, threshold: float, log: RunLog = SILENT
) -> tuple[list[Group], list[np.ndarray]]:
    """Groups of images with every distance inside a group under the threshold, the tightest group first.

    Matching is not transitive: a chain of images, each a little off the last, may end far from where it began. Images
    connected by matches are therefore divided by complete linkage: the two closest groups are joined as long
    as all of the new group match. An image is in one group at most.

    Args:
        embeddings: (n, dim) float32.
        threshold: two images match where their Euclidean distance is smaller.
        log: shown how far it is.

    Returns:
        The groups; and what was not divided, since the threshold is too wide there to tell duplicates: sorted rows of
        each set of over MOST_IN_A_CHAIN images connected by matches.

    Source: complete linkage, D. Defays, An efficient algorithm for a complete link method, Computer Journal 20, 1977.
    """
    groups: list[Group] = []
    undivided: list[np.ndarray] = []
    tiles = -(-len(embeddings) // _TILE_ROWS)
    with log.progress("compared blocks of images", tiles * (tiles + 1) // 2) as advance:
        chains = list(_chains(embeddings, threshold, advance))
    for chain in chains:
        if len(chain) > MOST_IN_A_CHAIN:
            undivided.append(chain)
        else:
            groups += _divided(embeddings, chain, threshold)
    return sorted(groups, key=lambda group: (group.diameter, int(group.rows[0]))), undivided


def _chains(embeddings: np.ndarray, threshold: float, advance: Advance) -> Iterator[np.ndarray]:
    """The sets of two and more images connected by matches, as sorted rows; a few megabytes whatever the matches."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(embeddings)
    parts = np.arange(n)
    faiss, distance = import_faiss(), Euclidean()
    for first in range(0, n, _TILE_ROWS):
        a = distance.prepared(embeddings[first : first + _TILE_ROWS])
        for second in range(first, n, _TILE_ROWS):
            b = distance.prepared(embeddings[second : second + _TILE_ROWS])
            near = threshold**2 + 2 * distance.tolerance(a, distance.reach(b))[:, None]
            rows, columns = np.nonzero(faiss.pairwise_distances(a, b) < near)
            rows, columns = parts[rows + first], parts[columns + second]
            other = rows != columns
            if other.any():
                edges = np.unique(np.stack([rows[other], columns[other]]), axis=1)
                graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(n, n))
                _, joined = connected_components(graph, directed=False)
                parts = joined[parts]
            advance()
    order = np.argsort(parts, kind="stable")
    for chain in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        if len(chain) > 1:
            yield chain


def _divided(embeddings: np.ndarray, chain: np.ndarray, threshold: float) -> Iterator[Group]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    between = distances(embeddings[chain], embeddings[chain])
    between = np.maximum(between, between.T)
    np.fill_diagonal(between, 0)
    tree = linkage(squareform(between, checks=False), method="complete")
    numbers = fcluster(tree, np.nextafter(float(threshold), -1.0), criterion="distance")
    for number in np.unique(numbers):
        own = np.flatnonzero(numbers == number)
        if len(own) < 2:
            continue
        inside = between[np.ix_(own, own)]
        middle = int(np.argmin(inside.sum(axis=1, dtype=np.float64)))
        order = np.lexsort((own, inside[middle], np.arange(len(own)) != middle))
        yield Group(chain[own[order]], inside[middle][order], float(inside.max()))
