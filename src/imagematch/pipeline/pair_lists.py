"""Lists of pairs: LFW's format, or a table of two paths and whether both show the same."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation import lfw_path, pair_list_errors, read_lfw_pairs
from imagematch.reading import TABLE_BYTES, text_lines
from imagematch.sources import TABLE_SUFFIXES, table_rows

FOLDS = 10
"""A table without folds is dealt into so many."""

_SAME = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "same", "match", "genuine", "positive"), True),
    **dict.fromkeys(("0", "0.0", "-1", "false", "no", "different", "diff", "impostor", "negative"), False),
}
_LABEL_COLUMNS = ("same", "is_same", "issame", "label", "labels", "match", "is_match", "target", "genuine", "y", "pair")


@dataclass(frozen=True)
class FilePair:
    """One line of a list.

    Attributes:
        first, second: the images' paths, as written.
        same: both show the same.
        fold: from 0; None where the list has no folds, and its pairs are dealt.
    """

    first: str
    second: str
    same: bool
    fold: int | None


def read_pairs(path: Path) -> list[FilePair]:
    """Reads a list of pairs: LFW's format, or a table of two paths and whether both show the same.

    The table is CSV in any of its forms, or Parquet, with or without a header, its columns in any order and called
    as they are (`same`, `label`, `issame`, ...); `same` is 1 or 0, true or false, yes or no, same or different. It has
    no folds.

    Raises:
        DataError: the list cannot be read; names file and line.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        with pair_list_errors(path):
            first = next(text_lines(path, max_bytes=TABLE_BYTES), "").split()
        if 0 < len(first) <= 2 and all(map(str.isdecimal, first)):
            return [FilePair(lfw_path(p.first), lfw_path(p.second), p.same, p.fold) for p in read_lfw_pairs(path)]
    if pairs := list(_table(path)):
        return pairs
    raise DataError("the list of pairs is empty", where=str(path))


def _table(path: Path) -> Iterator[FilePair]:
    rows = table_rows(path)
    where, head = next(rows, ("", []))
    if not head:
        return
    named = [name.strip() for name in head]
    label = next((named.index(name) for name in _LABEL_COLUMNS if name in named), None)
    if label is None:  # no header
        where, head = next(table_rows(path, lower=False))
        rows = itertools.chain([(where, head)], rows)
    else:
        first = next(rows, None)
        if first is None:
            return
        rows = itertools.chain([first], rows)
        if len(first[1]) != len(head):
            raise _not_a_pair(first[0])
        head = first[1]
    label, one, other = _columns(where, head, label)
    for where, row in rows:
        same = _SAME.get(row[label].strip().lower()) if len(row) == len(head) else None
        if same is None or not row[one].strip() or not row[other].strip():
            raise _not_a_pair(where)
        yield FilePair(row[one].strip(), row[other].strip(), same, None)


def _columns(where: str, row: Sequence[str], label: int | None) -> tuple[int, int, int]:
    """Where label and paths stand, going by a row: indices and further labels are numbers, paths are none."""
    numbers = [place for place, text in enumerate(row) if text.strip().lower() in _SAME]
    if label is None and numbers:
        label = numbers[-1]
    paths = [
        place
        for place, text in enumerate(row)
        if place != label and text.strip() and not re.fullmatch(r"[-+]?[0-9]+([.][0-9]*)?", text.strip())
    ]
    if label is None or len(paths) != 2:
        raise _not_a_pair(where)
    return label, paths[0], paths[1]


def _not_a_pair(where: str) -> DataError:
    return DataError("expected path_a,path_b,same with same 1 or 0", where=where)


def dealt_folds(same: np.ndarray) -> np.ndarray:
    """Deals the genuine and the impostor pairs in turn into ten folds, fewer where there are fewer of a kind.

    Args:
        same: (pairs,) bool.

    Returns:
        (pairs,) int64, from 0; every fold has pairs of both kinds where both exist.
    """
    folds = max(1, min(FOLDS, int(same.sum()), int((~same).sum())))
    dealt = np.empty(len(same), np.int64)
    for kind in (same, ~same):
        dealt[kind] = np.arange(kind.sum()) % folds
    return dealt
