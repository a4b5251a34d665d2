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


def nearest(found: Retrieval, query: int) -> list[tuple[int, float]]:
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
            "query": [found.queries.paths[row] for row in query],
            "rank": rank + 1,
            "gallery": [found.gallery.paths[row] for row in rows],
            "distance": found.neighbours.distances[query, rank].round(6),
        }
    )
    if found.figures is not None:
        table["right"] = [found.right(q, row) for q, row in zip(query.tolist(), rows.tolist(), strict=True)]
    return table


def groups_table(images: ImageFolder, groups: Sequence[Group]) -> pd.DataFrame:
    """A row for each image of each group: group (from 1), images, path, distance to the group's first, copy.

    `copy` is true where another image of the group has the same bytes. Paths are as they are.
    """
    import pandas as pd

    columns: dict[str, list[object]] = {name: [] for name in ("group", "images", "path", "distance", "copy")}
    for number, group in enumerate(groups, start=1):
        digests = images.digests[group.rows].tolist()
        for row, distance, digest in zip(group.rows.tolist(), group.distances.tolist(), digests, strict=True):
            values = (number, len(group.rows), images.paths[row], round(distance, 6), digests.count(digest) > 1)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    return pd.DataFrame(columns)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Writes a table atomically. Paths that are no UTF-8 keep their bytes, as Python's `surrogateescape` reads them.

    Raises:
        StudyError: it cannot be written.
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", errors="surrogateescape")
