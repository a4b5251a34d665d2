"""Neighbours of queries and groups of duplicates as tables, with the paths as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.files import replacing
from imagematch.retrieval import Group, ImageFolder, Retrieval

if TYPE_CHECKING:
    import pandas as pd


def nearest_rows(found: Retrieval, query: int) -> list[tuple[int, float]]:
    """The gallery rows of a query with their distances, the nearest first."""
    pairs = zip(found.neighbours.rows[query].tolist(), found.neighbours.distances[query].tolist(), strict=True)
    return [(row, distance) for row, distance in pairs if row >= 0]


def neighbours_table(found: Retrieval) -> pd.DataFrame:
    """A row for each query and each neighbour: query, rank (from 1), gallery, distance; right where there are labels.

    Paths are as they are, so that a program can open them.
    """
    import pandas as pd

    query, rank = np.nonzero(found.neighbours.rows >= 0)
    rows = found.neighbours.rows[query, rank]
    table = pd.DataFrame(
        {
            "query": _paths(found.queries, query.tolist()),
            "rank": rank + 1,
            "gallery": _paths(found.gallery, rows.tolist()),
            "distance": found.neighbours.distances[query, rank].round(6),
        }
    )
    if found.metrics is not None:
        table["right"] = [found.right(q, row) for q, row in zip(query.tolist(), rows.tolist(), strict=True)]
    return table


def groups_table(images: ImageFolder, groups: Sequence[Group]) -> pd.DataFrame:
    """A row for each image of each group: group (from 1), images, path, distance to the group's first, copy.

    `copy` is true where another image of the group has the same bytes. Paths are as they are.
    """
    import pandas as pd

    rows = [row for group in groups for row in group.rows.tolist()]
    digests = [images.digests[group.rows].tolist() for group in groups]
    return pd.DataFrame(
        {
            "group": [number for number, group in enumerate(groups, start=1) for _ in group.rows],
            "images": [len(group.rows) for group in groups for _ in group.rows],
            "path": _paths(images, rows),
            "distance": [round(distance, 6) for group in groups for distance in group.distances.tolist()],
            "copy": [of_group.count(digest) > 1 for of_group in digests for digest in of_group],
        }
    )


def _paths(images: ImageFolder, rows: Sequence[int]) -> pd.Series:
    """Paths as Python strings: pandas' own strings are UTF-8 only."""
    import pandas as pd

    return pd.Series([images.paths[row] for row in rows], dtype=object)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table atomically. Paths that are not UTF-8 are written with their own bytes (`surrogateescape`).

    Raises:
        StudyError: it cannot be written.
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", errors="surrogateescape")
