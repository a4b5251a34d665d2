"""Pictures beside what was found for them: a query's neighbours as figure, table and page; groups of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.reporting.escaping import cell, label, markup
from imagematch.reporting.page import Card, Page
from imagematch.reporting.palette import BASELINE, GENUINE, IMPOSTOR
from imagematch.reporting.pictures import picture_uri
from imagematch.retrieval import Group, ImageFolder, Retrieval

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

_SIDE = 112
_QUERIES = 200
_OF_A_QUERY = 50
_GROUPS = 300
_IN_A_GROUP = 30
_IN_A_FIGURE = 10


def thumbnail(images: ImageFolder, row: int, side: int = _SIDE) -> tuple[np.ndarray, str]:
    """A small picture of an image, its aspect ratio kept, and its full size in words."""
    seen = images.overview(row, side)
    return seen.pixels, f"{seen.width} x {seen.height}"


def neighbours_figure(found: Retrieval, query: int, count: int = 5) -> Figure:
    """A query and its nearest neighbours, with their distances; right and wrong are marked where there are figures.

    Args:
        found: what `retrieve` found.
        query: row of the query.
        count: how many neighbours are shown, at most ten.

    Raises:
        DataError: an image has gone meanwhile.
    """
    from plotly.subplots import make_subplots

    queries, gallery = found.queries, found.gallery
    shown = _nearest(found, query)[: min(count, _IN_A_FIGURE)]
    titles = [f"<b>query</b><br>{label(_name(queries, query), 24)}"]
    colours = [BASELINE]
    for row, distance in shown:
        right = found.right(query, row)
        mark = {None: "", True: " ✓", False: " ✗"}[right]
        titles.append(f"{distance:.3f}{mark}<br>{label(_name(gallery, row), 24)}")
        colours.append({None: BASELINE, True: GENUINE, False: IMPOSTOR}[right])
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.01)
    pictures = [thumbnail(queries, query)[0], *(thumbnail(gallery, row)[0] for row, _ in shown)]
    paths = [queries.paths[query], *(gallery.paths[row] for row, _ in shown)]
    for column, (picture, path, colour) in enumerate(zip(pictures, paths, colours, strict=True), start=1):
        text = f"{label(path)}<extra></extra>"
        figure.add_image(source=picture_uri(picture), hovertemplate=text, row=1, col=column)
        axes = {"showticklabels": False, "showgrid": False, "mirror": True, "linewidth": 3, "linecolor": colour}
        figure.update_xaxes(axes, row=1, col=column)
        figure.update_yaxes(axes, row=1, col=column)
    margin = {"l": 10, "r": 10, "t": 60, "b": 10}
    return figure.update_layout(template="plotly_white", height=250, width=150 * len(titles), margin=margin)


def neighbours_table(found: Retrieval) -> pd.DataFrame:
    """A row for each query and each neighbour: query, rank (from 1), gallery, distance; right where there are labels.

    Names are made harmless for spreadsheets; `Retrieval.ranking` has them as they are.
    """
    import pandas as pd

    query, place = np.nonzero(found.neighbours.rows >= 0)
    rows = found.neighbours.rows[query, place]
    table = pd.DataFrame(
        {
            "query": [cell(found.queries.paths[row]) for row in query],
            "rank": place + 1,
            "gallery": [cell(found.gallery.paths[row]) for row in rows],
            "distance": found.neighbours.distances[query, place].round(6),
        }
    )
    if found.figures is not None:
        table["right"] = [found.right(q, row) for q, row in zip(query.tolist(), rows.tolist(), strict=True)]
    return table


def write_neighbours_page(path: Path, found: Retrieval, *, model: str) -> None:
    """Writes a page with pictures of queries and their neighbours, 200 and 50 of each at most; self-contained.

    Raises:
        StudyError: it cannot be written.
        DataError: an image has gone meanwhile.
    """
    page = Page(model, "retrieval")
    page.cards(_search_cards(found))
    page.section(
        "Queries", f"The {found.neighbours.rows.shape[1]:,} nearest of the gallery, by {found.metric} distance."
    )
    if found.figures is not None:
        page.text("A tick and a green frame: of the query's class. A cross and an orange frame: of another one.")
    if len(found.queries) > _QUERIES:
        page.text(f"The first {_QUERIES:,} of {len(found.queries):,} queries; a .csv or .json output has all.")
    if found.neighbours.rows.shape[1] > _OF_A_QUERY:
        page.text(f"Of each query the first {_OF_A_QUERY:,} are shown; a .csv or .json output has all.")
    picture = cache(lambda row: _picture(found.gallery, row))  # the same neighbours turn up again and again
    for query in range(min(len(found.queries), _QUERIES)):
        boxes = [_box(found.queries.paths[query], *_picture(found.queries, query), "query", None)]
        for row, distance in _nearest(found, query)[:_OF_A_QUERY]:
            boxes.append(_box(found.gallery.paths[row], *picture(row), f"{distance:.4f}", found.right(query, row)))
        page.html(_row(boxes))
    page.write(path)


def _nearest(found: Retrieval, query: int) -> list[tuple[int, float]]:
    """The gallery rows of a query, with their distances."""
    pairs = zip(found.neighbours.rows[query].tolist(), found.neighbours.distances[query].tolist(), strict=True)
    return [(row, distance) for row, distance in pairs if row >= 0]


def _search_cards(found: Retrieval) -> list[Card]:
    cards = [
        Card("queries", f"{len(found.queries):,}", _left_out(found.queries)),
        Card("gallery", f"{len(found.gallery):,}", _left_out(found.gallery)),
    ]
    if found.figures is not None:
        figures = found.figures
        cards += [Card(f"Recall@{k}", f"{value:.4f}") for k, value in figures.recall_at_k.items()]
        cards.append(Card("MAP@R", f"{figures.map_at_r:.4f}"))
        cards += [Card(f"kNN accuracy, k = {k}", f"{value:.4f}") for k, value in figures.knn_accuracy.items()]
    return cards


def groups_table(images: ImageFolder, groups: Sequence[Group]) -> pd.DataFrame:
    """A row for each image of each group: group (from 1), images, path, distance to the group's first, copy.

    `copy` is true where another image of the group has the same bytes. Names are made harmless for spreadsheets.
    """
    import pandas as pd

    columns: dict[str, list[object]] = {name: [] for name in ("group", "images", "path", "distance", "copy")}
    for number, group in enumerate(groups, start=1):
        digests = images.digests[group.rows].tolist()
        for row, distance, digest in zip(group.rows.tolist(), group.distances.tolist(), digests, strict=True):
            values = (number, len(group.rows), cell(images.paths[row]), round(distance, 6), digests.count(digest) > 1)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    return pd.DataFrame(columns)


def write_groups_page(
    path: Path, images: ImageFolder, groups: Sequence[Group], *, model: str, threshold: float, undivided: int = 0
) -> None:
    """Writes a page with the pictures of every group, of 300 groups and 30 images in each at most; self-contained.

    It says how many images hang together but are `undivided`.

    Raises:
        StudyError: it cannot be written.
        DataError: an image has gone meanwhile.
    """
    page = Page(model, "duplicates")
    inside = sum(len(group.rows) for group in groups)
    page.cards(
        [
            Card("images", f"{len(images):,}", _left_out(images)),
            Card("groups", f"{len(groups):,}"),
            Card("images in groups", f"{inside:,}"),
            Card("threshold", f"{threshold:.4f}"),
        ]
    )
    page.text("All images of a group match each other. The tightest group comes first. Nothing was deleted.")
    if undivided:
        page.warning(
            f"{undivided:,} images more hang together, match by match, and are not divided into groups: the threshold "
            "is too wide for them."
        )
    elif not groups:
        page.text("No two images match.")
    if len(groups) > _GROUPS:
        page.text(f"The first {_GROUPS:,} of {len(groups):,} groups; a .csv or .json output has all.")
    for number, group in enumerate(groups[:_GROUPS], start=1):
        page.heading(f"{number}: {len(group.rows):,} images, at most {group.diameter:.4f} apart")
        digests = images.digests[group.rows].tolist()
        boxes = []
        for row, distance, digest in list(zip(group.rows.tolist(), group.distances, digests, strict=True))[
            :_IN_A_GROUP
        ]:
            copy = " same bytes" if digests.count(digest) > 1 else ""
            boxes.append(_box(images.paths[row], *_picture(images, row), f"{distance:.4f}{copy}", None))
        if (more := len(group.rows) - len(boxes)) > 0:
            boxes.append(f'<div style="align-self:center">and {more:,} more</div>')
        page.html(_row(boxes))
    page.write(path)


def _left_out(images: ImageFolder) -> tuple[str, ...]:
    count = len(images.quarantined)
    return (f"{count:,} unusable left out",) if count else ()


def _name(images: ImageFolder, row: int) -> str:
    return images.labels[row] if images.labels is not None else images.paths[row]


def _row(boxes: Sequence[str]) -> str:
    style = "display:flex;flex-wrap:wrap;gap:10px;margin:.6rem 0 1.2rem"
    return f'<div class="neighbours" style="{style}">{"".join(boxes)}</div>'


def _picture(images: ImageFolder, row: int) -> tuple[str, str]:
    """A small picture of an image as a data URI, and its full size in words."""
    picture, size = thumbnail(images, row)
    return picture_uri(picture), size


def _box(path: str, picture: str, size: str, text: str, right: bool | None) -> str:
    name = markup(path)
    colour = {None: "rgba(128,128,128,.45)", True: GENUINE, False: IMPOSTOR}[right]
    mark = {None: "", True: " ✓", False: " ✗"}[right]
    kind = {None: "plain", True: "right", False: "wrong"}[right]
    image = f"width:{_SIDE}px;height:{_SIDE}px;object-fit:contain;background:rgba(128,128,128,.15)"
    return (
        f'<figure class="{kind}" style="margin:0;padding:5px;border:3px solid {colour};border-radius:8px;'
        f'width:{_SIDE + 16}px;font-size:11px;line-height:1.3;overflow-wrap:anywhere">'
        f'<img src="{picture}" alt="{name}" title="{name} ({size})" style="{image}">'
        f"<figcaption><strong>{markup(text)}{mark}</strong><br>{markup(path, 40)}</figcaption></figure>"
    )
