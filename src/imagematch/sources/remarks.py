"""What a user should know of a listing: its own split and roles, what is left out, spellings that may be one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from imagematch.sources.listing import Listing
from imagematch.sources.scanning import count_left_out

_SPELLINGS = 5
"""So many classes of several spellings are named."""
_COPY = re.compile(r"( -)?( copy( \d+)?| \(\d+\))+$")
"""What file managers add to the name of a copied folder."""
MISSING_LABELS = ("", "nan", "none", "null", "n/a", "<na>")
"""Texts in a column of labels that stand for none, in lower case."""


def same_when_folded(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Labels that are alike but for case, spaces, Unicode form, leading zeros or a decimal point: `007`, `7`, `7.0`.

    A copy of another label's folder, as `ann copy` or `ann (1)` beside `ann`, is alike, too.
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    folded = {label: _folded(label) for label in labels}
    every = set(folded.values())
    for label, text in folded.items():
        original = _COPY.sub("", text)
        spellings[original if original in every else text].add(label)
    return sorted(tuple(sorted(found)) for found in spellings.values() if len(found) > 1)


def _folded(label: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    if re.fullmatch(r"\d+(\.0+)?", text):
        return text.partition(".")[0].lstrip("0") or "0"
    return text


def composed(listing: Listing) -> Listing:
    """The listing with all labels in Unicode's composed form: file systems and tables differ in that."""
    rows = listing.rows
    if not all(row.label.isascii() for row in rows):
        rows = tuple(row._replace(label=unicodedata.normalize("NFC", row.label)) for row in rows)
    titles = {unicodedata.normalize("NFC", label): title for label, title in listing.titles.items()}
    return replace(listing, rows=rows, titles=titles)


def listing_notes(listing: Listing, split_by: str) -> list[str]:
    """What a user should know about how the images were read, a line each."""
    notes = [*listing.notes, *count_left_out(listing.left_out)]
    own = Counter(row.split for row in listing.rows if row.split)
    if own and split_by != "predefined":
        counts = ", ".join(f"{split} {count:,}" for split, count in own.items())
        notes.append(f"the data set has its own split ({counts}): split_by: {split_by} mixes it, predefined keeps it")
    elif own and "test" not in own and "validation" in own:
        notes.append(
            "its own validation images are used as test, as it has no other: give split two numbers for no test"
        )
    roles = Counter(row.role for row in listing.rows if row.role)
    if roles:
        queries, gallery = (roles[role] + roles["both"] for role in ("query", "gallery"))
        notes.append(
            f"{queries:,} images are marked as query and {gallery:,} as gallery (query, gallery; is_query, "
            "is_gallery): retrieve uses that, training does not"
        )
    groups = len({row.group for row in listing.rows if row.group})
    if groups:
        notes.append(f"{groups:,} groups: the images of one stay in one split")
    sizes = Counter(row.label for row in listing.rows)
    folded = same_when_folded(sizes)
    for spellings in folded[:_SPELLINGS]:
        named = " and ".join(f"{label!r} ({sizes[label]:,})" for label in spellings)
        notes.append(f"classes of nearly one name: {named}; are they one?")
    if len(folded) > _SPELLINGS:
        notes.append(f"{len(folded) - _SPELLINGS:,} more classes are spelt in several ways")
    return notes
