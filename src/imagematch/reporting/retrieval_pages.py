"""Pages with images: queries beside their neighbours, and groups of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from imagematch.reporting.html import Page, ReportCard, render
from imagematch.reporting.images import image_uri, is_pixelated
from imagematch.reporting.numbers import count_text
from imagematch.reporting.tables import nearest_rows
from imagematch.retrieval import Group, ImageFolder, Retrieval

_SIDE = 112
_QUERIES = 200
_OF_A_QUERY = 50
_GROUPS = 300
_IN_A_GROUP = 30


def write_neighbours_page(path: Path, found: Retrieval, *, model: str) -> None:
    """Writes a page with images of queries and their neighbours, 200 and 50 of each at most; self-contained.

    Raises:
        StudyError: it cannot be written.
        DataError: an image is no longer there.
    """
    page = Page(model, "retrieval")
    page.cards(_search_cards(found))
    width = found.neighbours.rows.shape[1]
    page.section("Queries", f"The {width:,} nearest of the gallery, by {found.metric} distance.")
    if found.metrics is not None:
        page.text("A tick and a green frame: of the query's class. A cross and an orange frame: of another one.")
    if len(found.queries) > _QUERIES:
        page.text(f"The first {_QUERIES:,} of {len(found.queries):,} queries; a .csv or .json output has all.")
    if width > _OF_A_QUERY:
        page.text(f"Of each query the first {_OF_A_QUERY:,} are shown; a .csv or .json output has all.")
    of_gallery = cache(lambda row: _image(found.gallery, row))  # the same neighbours turn up again and again
    for query in range(min(len(found.queries), _QUERIES)):
        tiles = [{**_image(found.queries, query), "text": "query", "kind": "plain"}]
        for row, distance in nearest_rows(found, query)[:_OF_A_QUERY]:
            kind = {None: "plain", True: "right", False: "wrong"}[found.right(query, row)]
            tiles.append({**of_gallery(row), "text": f"{distance:.4f}", "kind": kind})
        page.html(render("tiles.html.j2", tiles=tiles, more=""))
    page.write(path)


def _search_cards(found: Retrieval) -> list[ReportCard]:
    cards = [
        ReportCard("queries", f"{len(found.queries):,}", _left_out(found.queries)),
        ReportCard("gallery", f"{len(found.gallery):,}", _left_out(found.gallery)),
    ]
    if (metrics := found.metrics) is not None:
        cards += [ReportCard(f"Recall@{k}", f"{value:.4f}") for k, value in metrics.recall_at_k.items()]
        cards.append(ReportCard("MAP@R", f"{metrics.map_at_r:.4f}"))
        cards += [ReportCard(f"kNN accuracy, k = {k}", f"{value:.4f}") for k, value in metrics.knn_accuracy.items()]
    return cards


def write_groups_page(
    path: Path, images: ImageFolder, groups: Sequence[Group], *, model: str, threshold: float, undivided: int = 0
) -> None:
    """Writes a page with the images of every group, of 300 groups and 30 images in each at most; self-contained.

    Args:
        path: the file.
        images: among which duplicates were searched.
        groups: the tightest first.
        model: name of the matcher.
        threshold: the distance under which two images match.
        undivided: images that match in chains, but were not divided into groups.

    Raises:
        StudyError: it cannot be written.
        DataError: an image is no longer there.
    """
    page = Page(model, "duplicates")
    page.cards(
        [
            ReportCard("images", f"{len(images):,}", _left_out(images)),
            ReportCard("groups", f"{len(groups):,}"),
            ReportCard("images in groups", f"{sum(len(group.rows) for group in groups):,}"),
            ReportCard("threshold", f"{threshold:.4f}"),
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
        page.heading(f"{number}: {count_text(len(group.rows), 'image')}, at most {group.diameter:.4f} apart")
        more = len(group.rows) - _IN_A_GROUP
        page.html(render("tiles.html.j2", tiles=_group_tiles(images, group), more=f"{more:,}" if more > 0 else ""))
    page.write(path)


def _group_tiles(images: ImageFolder, group: Group) -> list[dict[str, Any]]:
    digests = images.digests[group.rows].tolist()
    members = list(zip(group.rows.tolist(), group.distances.tolist(), digests, strict=True))[:_IN_A_GROUP]
    return [
        {
            **_image(images, row),
            "text": f"{distance:.4f}" + (" same bytes" if digests.count(digest) > 1 else ""),
            "kind": "plain",
        }
        for row, distance, digest in members
    ]


def _left_out(images: ImageFolder) -> tuple[str, ...]:
    count = len(images.quarantined)
    return (f"{count:,} unusable left out",) if count else ()


def _image(images: ImageFolder, row: int) -> dict[str, Any]:
    """A small image, its aspect ratio unchanged, with its path and its full size in words."""
    seen = images.thumbnail(row, _SIDE)
    shown = {"path": images.paths[row], "uri": image_uri(seen.pixels), "pixelated": is_pixelated(seen.pixels)}
    return {**shown, "size": f"{seen.width} x {seen.height}"}
