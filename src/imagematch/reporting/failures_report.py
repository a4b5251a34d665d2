"""The parts of a matcher's report about its mistakes: where it fails, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagematch.reporting.html import Page, render
from imagematch.reporting.images import SplitView
from imagematch.reporting.mistakes import (
    closest_pair,
    pairs_html,
    query_strips,
    worst_false_matches,
    worst_false_non_matches,
)
from imagematch.reporting.notes import Note, table_or_note
from imagematch.reporting.numbers import count_text
from imagematch.reporting.suspects import SUSPECTS_FILE, SuspectLabel, suspect_tile
from imagematch.reporting.tables import confusions_table, worst_and_best_classes
from imagematch.reporting.verdict import Findings, NamedConfusion, next_steps

_LISTED_MISTAKES = 48
_SHOWN_SUSPECTS = 24
_SHOWN_CONFUSIONS = 6


def add_failures(page: Page, test: SplitView, threshold: float, confused: Sequence[NamedConfusion]) -> None:
    """The classes that are confused, the mistakes as images, queries with their neighbours, the classes."""
    page.section("Where it fails")
    page.heading("Classes that are confused")
    page.text(f"The pairs of classes with the most false matches at the threshold of {threshold:.4f}.")
    page.table(table_or_note(lambda: confusions_table(confused), "False matches"))
    if confused:
        page.text("The two closest images of each of the first.")
        closest = [closest_pair(test, *one.labels) for one in confused[:_SHOWN_CONFUSIONS]]
        page.html(pairs_html(test, closest, threshold))
    page.heading("False matches")
    page.text("Different classes, yet under the threshold; the closest first, each image once.")
    close = worst_false_matches(test, _LISTED_MISTAKES)
    page.html(pairs_html(test, close, threshold, mistakes=True))
    page.heading("Misses")
    page.text("The same class, yet not under the threshold; the farthest first, each image once.")
    far = worst_false_non_matches(test, _LISTED_MISTAKES)
    page.html(pairs_html(test, far, threshold, mistakes=True, genuine=True))
    page.heading("Queries and their neighbours")
    page.text(
        "The nearest images of the split, the nearest first: green and a tick is the query's class, orange and a cross "
        "another one; a dotted frame is no match. Queries that are answered wrongly come first."
    )
    strips = query_strips(test, threshold)
    for tiles in strips:
        page.html(render("tiles.html.j2", tiles=tiles, more=""))
    if not strips:
        page.plot(Note("No class has two images, so there is nothing to be found."))
    page.heading("Classes at the threshold")
    page.text("A class's own pairs that match, and its pairs with others that do; the worst, then the best.")
    for frame in worst_and_best_classes(test, threshold):
        page.table(table_or_note(lambda frame=frame: frame, "Classes with two images or more"))  # type: ignore[misc]


def weak_classes(test: SplitView | None, threshold: float) -> list[tuple[str, int, float]]:
    """Class, images and balanced accuracy of the worst classes."""
    if test is None:
        return []
    worst, _ = worst_and_best_classes(test, threshold)
    columns = (worst["class"], worst["images"], worst["balanced accuracy"])
    return [(str(name), int(images), float(accuracy)) for name, images, accuracy in zip(*columns, strict=True)]


def add_next_steps(
    page: Page, metrics: Mapping[str, Any], findings: Findings, suspects: Sequence[SuspectLabel]
) -> None:
    """What the rules recommend, and the suspect labels."""
    page.section("What to do next")
    steps = next_steps(metrics, findings)
    if steps:
        page.bullets(steps)
    else:
        page.text("Nothing stands out: no suspect label, no weak class, and metrics that can be trusted.")
    page.heading("Suspect labels")
    if not suspects:
        page.text("No label is contradicted by four of the five nearest images.")
        return
    page.text(
        f"{count_text(len(suspects), 'label')} that four or five of the five nearest images contradict, the clearest "
        f"first; {SUSPECTS_FILE} beside this report lists all. Right is the nearest image of the suggested class. "
        "Images of this split are compared by this matcher, which never saw their labels, the others by the frozen "
        "extractor, which saw none."
    )
    page.html(render("suspects.html.j2", suspects=[suspect_tile(one) for one in suspects[:_SHOWN_SUSPECTS]]))
