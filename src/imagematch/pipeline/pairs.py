"""A saved matcher measured on a list of pairs: LFW's format, or a plain table of three columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation import (
    FoldedAccuracy,
    Threshold,
    distances_of_rows,
    folded_accuracy,
    lfw_path,
    listed_pairs,
    read_lfw_pairs,
    roc_auc,
    threshold_block,
)
from imagematch.events import SILENT, RunLog
from imagematch.matching import ImageMatcher

FOLDS = 10
"""A table without folds is dealt into so many."""

_SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_BLOCK = 256


@dataclass(frozen=True)
class FilePair:
    """One line of a list.

    Attributes:
        first, second: the images' paths, as written.
        same: both show the same.
        fold: from 0.
    """

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairsEvaluation:
    """What a matcher comes to on a list of pairs.

    Attributes:
        pairs: measured; `skipped` more have an image that cannot be used.
        genuine: of them, pairs of the same.
        unreadable: image -> why it cannot be used.
        roc_auc: over all pairs; None without genuine or impostor pairs.
        folded: each fold at the threshold chosen on the others; None with one fold.
        at_threshold: what the matcher's own threshold does, as in `metrics.json`.
    """

    pairs: int
    skipped: int
    genuine: int
    unreadable: Mapping[str, str]
    roc_auc: float | None
    folded: FoldedAccuracy | None
    at_threshold: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "pairs": self.pairs,
            "skipped_pairs": self.skipped,
            "genuine_pairs": self.genuine,
            "impostor_pairs": self.pairs - self.genuine,
            "unreadable": dict(self.unreadable),
            "roc_auc": self.roc_auc,
            "folded": None if self.folded is None else asdict(self.folded),
            "threshold": dict(self.at_threshold),
        }


def read_pairs(path: Path) -> list[FilePair]:
    """Reads a list of pairs: LFW's format, or, where the first line has commas, `path_a,path_b,same`.

    Such a table may have a header; `same` is 1 or 0, true or false, yes or no. Its genuine and its impostor pairs are
    each dealt into ten folds in turn (fewer where there are fewer of a kind).

    Raises:
        DataError: the list cannot be read; names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if "," in first:
                file.seek(0)
                return _dealt(list(_table(path, csv.reader(file))), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the list of pairs cannot be read: {error}", where=str(path)) from error
    return [
        FilePair(lfw_path(pair.first), lfw_path(pair.second), pair.same, pair.fold) for pair in read_lfw_pairs(path)
    ]


def _table(path: Path, rows: Iterator[list[str]]) -> Iterator[tuple[str, str, bool]]:
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[-1].strip().lower() == "same"):
            continue
        same = _SAME.get(row[2].strip().lower()) if len(row) == 3 else None
        if same is None or not row[0] or not row[1]:
            raise DataError("expected path_a,path_b,same with same 1 or 0", where=f"{path}:{number}")
        yield row[0], row[1], same


def _dealt(lines: Sequence[tuple[str, str, bool]], path: Path) -> list[FilePair]:
    if not lines:
        raise DataError("the list of pairs is empty", where=str(path))
    genuine = sum(same for _, _, same in lines)
    folds = max(1, min(FOLDS, genuine, len(lines) - genuine))
    dealt = {True: 0, False: 0}
    pairs = []
    for first, second, same in lines:
        pairs.append(FilePair(first, second, same, dealt[same] % folds))
        dealt[same] += 1
    return pairs


def evaluate_pairs(
    model_dir: Path | str, pairs_file: Path | str, data_dir: Path | str | None = None, log: RunLog = SILENT
) -> PairsEvaluation:
    """Measures a saved matcher on a list of pairs. Images that cannot be used are told, and the others go on.

    Args:
        model_dir: the matcher's folder.
        pairs_file: see `read_pairs`.
        data_dir: what the list's paths start from; None: the current directory.
        log: told what happens.

    Raises:
        ModelError: the matcher cannot be opened.
        DataError: the list cannot be read, or no pair can be used.
    """
    pairs = read_pairs(Path(pairs_file))
    matcher = ImageMatcher.load(model_dir, log=log)
    root = Path() if data_dir is None else Path(data_dir)
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    embeddings, unreadable = _embed_files(matcher, root, names, log)
    rows = {name: row for row, name in enumerate(name for name in names if name not in unreadable)}
    usable = [pair for pair in pairs if pair.first in rows and pair.second in rows]
    if not usable:
        raise DataError(
            f"none of its {len(pairs):,} pairs can be used: no image of theirs can be read",
            where=str(pairs_file),
            do="name their folder: --data-dir DIR",
        )
    first, second = (np.array([rows[getattr(pair, side)] for pair in usable]) for side in ("first", "second"))
    same, folds = np.array([pair.same for pair in usable]), np.array([pair.fold for pair in usable])
    distances = distances_of_rows(embeddings, first, second)
    listed = listed_pairs(distances, same)
    both = bool(same.any() and not same.all())
    return PairsEvaluation(
        pairs=len(usable),
        skipped=len(pairs) - len(usable),
        genuine=int(same.sum()),
        unreadable=unreadable,
        roc_auc=roc_auc(listed) if both else None,
        folded=folded_accuracy(distances, same, folds) if both and len(np.unique(folds)) > 1 else None,
        at_threshold=threshold_block(listed, Threshold.from_json(matcher.card.threshold.model_dump())),
    )


def _embed_files(
    matcher: ImageMatcher, root: Path, names: Sequence[str], log: RunLog
) -> tuple[np.ndarray, dict[str, str]]:
    """The embeddings of the images that can be used, in their order, and why the others cannot."""
    unreadable = dict[str, str]()

    def leave_out(name: str, error: DataError) -> None:
        unreadable[name] = error.what
        log.event("unreadable", f"left out: {error}", path=name)

    blocks = []
    with log.progress("embedding", len(names)) as done:
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            blocks.append(
                matcher.embed(
                    [root / name for name in block],
                    unreadable=lambda row, error, block=block: leave_out(block[row], error),  # type: ignore[misc]
                )
            )
            done(len(block))
    found = np.concatenate(blocks)
    return found[np.isfinite(found).all(axis=1)], unreadable
