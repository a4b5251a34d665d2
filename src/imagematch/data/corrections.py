"""`corrections.csv`: what people said of images, and what a training makes of it.

A table with a header, its columns in any order. Of a row that has an `answer`, `digest` (of the file's content) or else
`path` (as the data set has it) names the image that it is about, `other_digest` or `other_path` the one that it was
compared with. Others are passed over, so that a list of suspects becomes corrections by filling in its `answer`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.sources import ImageRow, Table

ANSWERS = ("same", "different", "not sure", "wrong label", "delete")


class Correction(NamedTuple):
    """An answer.

    "wrong label" and "delete" are said of the first image alone; "same", "different" and "not sure" of both.

    Attributes:
        digest: of the first image's content; "" where it is named by its path.
        label: its label when it was looked at; "" for none.
        other_digest: of the image that it was compared with; "" where there was none.
        other_label: its label.
        distance: between them, as text.
        answer: one of ANSWERS.
        new_label: what a wrong label should be; "" where that is not known.
        answered: when it was given (ISO 8601, UTC).
        path: of the first image in the data set, where it has no digest.
        other_path: of the other one, likewise.
    """

    digest: str = ""
    label: str = ""
    other_digest: str = ""
    other_label: str = ""
    distance: str = ""
    answer: str = ""
    new_label: str = ""
    answered: str = ""
    path: str = ""
    other_path: str = ""

    @property
    def image(self) -> str:
        """What names the first image: its digest, else its path."""
        return self.digest or self.path

    @property
    def other(self) -> str:
        """What names the other one."""
        return self.other_digest or self.other_path

    @property
    def pair(self) -> frozenset[str]:
        """What names both."""
        return frozenset((self.image, self.other))


@dataclass(frozen=True)
class AnsweredPair:
    """Two images, by digest or path, of which a person said whether they show the same thing."""

    first: str
    second: str
    same: bool


def read_corrections(path: Path) -> list[Correction]:
    """The answers of a table, in their order.

    Raises:
        DataError: it cannot be read, lacks a column, or an answer is none of ANSWERS; names the line.
    """
    table = Table(path, dict.fromkeys(Correction._fields, ()), ("answer",))
    if "digest" not in table and "path" not in table:
        raise DataError("has no column 'digest' or 'path'", where=str(path), do="name the images in one of them")
    found = []
    for where, values in table:
        answer = values["answer"].lower()
        if not answer:
            continue
        if answer not in ANSWERS:
            raise DataError(f"the answer is {answer!r}", where=where, do=f"use {', '.join(ANSWERS)}")
        new_label = unicodedata.normalize("NFC", values.get("new_label", ""))
        one = Correction(**{**values, "answer": answer, "new_label": new_label})
        if not one.image or (answer in ("same", "different") and not one.other):
            raise DataError("does not name the image", where=where, do="give its digest or its path")
        found.append(one)
    return found


def answered_pairs(corrections: Sequence[Correction]) -> list[AnsweredPair]:
    """The pairs that somebody called the same or different, by the last answer to each."""
    last = {one.pair: one for one in corrections if one.answer in ("same", "different", "not sure")}
    return [
        AnsweredPair(one.image, one.other, one.answer == "same") for one in last.values() if one.answer != "not sure"
    ]


def corrected(rows: Sequence[ImageRow], corrections: Sequence[Correction], log: RunLog) -> list[ImageRow]:
    """The images as people corrected them, by the last answer to each; says how many were changed.

    A wrong label becomes the new one. Without a new one the image is left out, unless its label is another by now.
    """
    said = {one.image: one for one in corrections if one.answer in ("wrong label", "delete")}
    superclass = {row.label: row.superclass for row in rows}
    counts: dict[str, Any] = dict.fromkeys(("relabelled", "unknown", "deleted", "changed"), 0)
    found, kept = set[str](), list[ImageRow]()
    for row in rows:
        name = next((name for name in row.names if name in said), "")
        if not name:
            kept.append(row)
            continue
        found.add(name)
        one = said[name]
        if one.answer == "delete":
            counts["deleted"] += 1
        elif one.new_label:
            counts["relabelled"] += one.new_label != row.label
            kept.append(row._replace(label=one.new_label, superclass=superclass.get(one.new_label, "")))
        elif one.label and unicodedata.normalize("NFC", one.label) != row.label:
            counts["changed"] += 1
            kept.append(row)
        else:
            counts["unknown"] += 1
    pairs = answered_pairs(corrections)
    same = sum(pair.same for pair in pairs)
    parts = [
        f"{counts['relabelled']:,} images got another label",
        f"{counts['deleted']:,} are left out as deleted",
        f"{counts['unknown']:,} as wrongly labelled, without the right label",
        *([f"{counts['changed']:,} have another label by now, and keep it"] if counts["changed"] else []),
        *(
            [f"{len(said) - len(found):,} answers are about images that are not there"]
            if len(said) > len(found)
            else []
        ),
        f"{same:,} pairs judged the same and {len(pairs) - same:,} different are kept to compare matchers on",
    ]
    missing = len(said) - len(found)
    log.event("corrections", f"corrections: {'; '.join(parts)}", **counts, missing=missing, pairs=len(pairs), same=same)
    return kept
