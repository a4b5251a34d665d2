"""Pages with images: queries beside their neighbours, and groups of duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from imagematch.reporting.escaping import visible
from imagematch.reporting.html import Page, ReportCard
from imagematch.reporting.images import image_uri, is_pixelated
from imagematch.reporting.numbers import count_text
from imagematch.reporting.tables import nearest_rows
from imagematch.retrieval import Group, ImageFolder, Retrieval

_SIDE = 160
_QUERIES = 200
_OF_A_QUERY = 50
_GROUPS = 300
_IN_A_GROUP = 30
_SEVERAL = "several classes"


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
        page.text(
            "Worst first: the nearest is of another class, the more alike the worse; then those that find nothing; "
            "then the others, the farthest first. Green frame and tick: of the query's class. Orange frame and cross: "
            "of another one."
        )
    else:
        page.text("Worst first: those that find nothing, then those whose nearest is farthest.")
    if len(found.queries) > _QUERIES:
        page.text(f"The {_QUERIES:,} worst of {len(found.queries):,} queries; a .csv or .json output has all.")
    if width > _OF_A_QUERY:
        page.text(f"Of each query the first {_OF_A_QUERY:,} are shown; a .csv or .json output has all.")
    of_gallery = cache(lambda row: _image(found.gallery, row))  # the same neighbours turn up again and again
    ranked = sorted((_worst_first(found, query), query) for query in range(len(found.queries)))[:_QUERIES]
    page.browse([_query_item(found, query, of_gallery) for _, query in ranked])
    page.write(path)


def _nearest_kind(found: Retrieval, query: int) -> str:
    near = nearest_rows(found, query)
    if not near:
        return "nothing found"
    return {None: "found", True: "nearest right", False: "nearest wrong"}[found.right(query, near[0][0])]


def _worst_first(found: Retrieval, query: int) -> tuple[int, float]:
    """A key by which the worst answered queries come first."""
    kind, near = _nearest_kind(found, query), nearest_rows(found, query)
    if kind == "nearest wrong":
        return 0, near[0][1]
    return (1, 0.0) if not near else (2, -near[0][1])


def _query_item(found: Retrieval, query: int, of_gallery: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    tiles = [{**_image(found.queries, query), "text": f"query {_class(found.queries, query)}".strip(), "kind": "plain"}]
    for row, distance in nearest_rows(found, query)[:_OF_A_QUERY]:
        kind = {None: "plain", True: "right", False: "wrong"}[found.right(query, row)]
        tiles.append({**of_gallery(row), "text": f"{distance:.4f} {_class(found.gallery, row)}".strip(), "kind": kind})
    kind = _nearest_kind(found, query)
    return _item(f"{visible(found.queries.paths[query])}: {kind}", kind, tiles, [_class(found.queries, query, None)])


def _item(
    title: str, kind: str, tiles: Sequence[dict[str, Any]], classes: Sequence[str], more: int = 0
) -> dict[str, Any]:
    text = " ".join(visible(one, None) for one in (*classes, *(tile["path"] for tile in tiles)))
    return {"title": title, "kind": kind, "text": text, "tiles": tiles, "more": f"{more:,}" if more > 0 else ""}


def _class(images: ImageFolder, row: int, at_most: int | None = 22) -> str:
    return "" if images.labels is None else visible(images.labels[row], at_most)


def _search_cards(found: Retrieval) -> list[ReportCard]:
    cards = [
        ReportCard("queries", f"{len(found.queries):,}", _left_out(found.queries)),
        ReportCard("gallery", f"{len(found.gallery):,}", _left_out(found.gallery)),
    ]
    if (metrics := found.metrics) is None:
        return cards
    alone = found.baseline

    def card(title: str, value: float, baseline: float | None) -> ReportCard:
        beside = () if baseline is None else (f"baseline {baseline:.4f}",)
        return ReportCard(title, f"{value:.4f}", beside)

    for k, value in metrics.recall_at_k.items():
        cards.append(card(f"Recall@{k}", value, None if alone is None else alone.recall_at_k.get(k)))
    cards.append(card("MAP@R", metrics.map_at_r, None if alone is None else alone.map_at_r))
    for k, value in metrics.knn_accuracy.items():
        cards.append(card(f"kNN accuracy, k = {k}", value, None if alone is None else alone.knn_accuracy.get(k)))
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
    page.text(
        "All images of a group match each other. Groups with several classes come first, then the tightest. "
        "Nothing was deleted."
    )
    if undivided:
        page.warning(
            f"{undivided:,} more images form chains of matches too long to be divided into groups: the threshold is "
            "too wide for them."
        )
    elif not groups:
        page.text("No two images match.")
    if len(groups) > _GROUPS:
        page.text(f"The first {_GROUPS:,} of {len(groups):,} groups; a .csv or .json output has all.")
    kinds = [_group_kind(images, group) for group in groups]
    order = sorted(range(len(groups)), key=lambda number: (kinds[number] != _SEVERAL, number))[:_GROUPS]
    items = []
    for number in order:
        group = groups[number]
        title = f"{number + 1}: {count_text(len(group.rows), 'image')}, at most {group.diameter:.4f} apart"
        classes = sorted({_class(images, row, None) for row in group.rows.tolist()})
        more = len(group.rows) - _IN_A_GROUP
        items.append(_item(title, kinds[number], _group_tiles(images, group), classes, more))
    if items:
        page.browse(items)
    page.write(path)


def _group_kind(images: ImageFolder, group: Group) -> str:
    if images.labels is not None and len({images.labels[row] for row in group.rows.tolist()}) > 1:
        return _SEVERAL
    return "same bytes" if len(set(images.digests[group.rows].tolist())) == 1 else "one class or none"


def _group_tiles(images: ImageFolder, group: Group) -> list[dict[str, Any]]:
    digests = images.digests[group.rows].tolist()
    members = list(zip(group.rows.tolist(), group.distances.tolist(), digests, strict=True))[:_IN_A_GROUP]
    return [
        {
            **_image(images, row),
            "text": f"{distance:.4f} {_class(images, row)}" + (" same bytes" if digests.count(digest) > 1 else ""),
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
