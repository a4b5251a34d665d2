"""Labels that an image's nearest neighbours contradict, and near duplicates on both sides of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.reporting.images import SplitView, image_uri, is_pixelated
from imagematch.reporting.tables import write_csv

SUSPECTS_FILE = "suspect_labels.csv"
NEIGHBOURS = 5
"""Nearest images that vote on a label; the image itself does not."""

_SHARE = 0.8
_FEWEST_RIGHT = 0.5
_NEAR_DUPLICATE = 0.05
_BLOCK_COSINES = 1 << 23


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose neighbours are of another class.

    Attributes:
        view: where it is.
        row: the image, in the view.
        suggested: label of most of its neighbours.
        share: of its neighbours that have it.
        nearest: the nearest of those, in the view.
        contrast: its distance, as a share of that to the nearest image of the image's own class; 0 where there is none.
    """

    view: SplitView
    row: int
    suggested: int
    share: float
    nearest: int
    contrast: float


def suspect_labels(views: Sequence[SplitView]) -> list[SuspectLabel]:
    """The images whose label at least four of the five nearest others agree to contradict, the clearest first.

    Each view is judged alone. Its embeddings must come from something that did not learn these labels: a matcher's, of
    images that it was not trained on, or the frozen extractor's. A view where fewer than half of the labels agree with
    the neighbours says nothing about the rest, and is left out.
    """
    found: list[SuspectLabel] = []
    for view in views:
        labels = np.asarray(view.labels)
        if len(labels) <= NEIGHBOURS:
            continue
        rows, cosines, own = _nearest(view.embeddings, labels, NEIGHBOURS)
        votes = labels[rows]
        counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        first = counts.argmax(axis=1)  # of equals the nearest
        suggested, share = votes[np.arange(len(votes)), first], counts.max(axis=1) / NEIGHBOURS
        if np.mean(suggested == labels) < _FEWEST_RIGHT:
            continue
        for row in np.flatnonzero((suggested != labels) & (share >= _SHARE)).tolist():
            distance, of_own = (np.sqrt(max(2 - 2 * float(c), 0.0)) for c in (cosines[row, first[row]], own[row]))
            contrast = distance / of_own if np.isfinite(own[row]) and of_own > 0 else 0.0
            nearest = int(rows[row, first[row]])
            found.append(SuspectLabel(view, row, int(suggested[row]), float(share[row]), nearest, float(contrast)))
    return sorted(found, key=lambda one: (-one.share, one.contrast))


def _nearest(embeddings: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows and cosines of each row's nearest others, the nearest first, and the largest cosine to its own class."""
    vectors = np.asarray(embeddings, dtype=np.float32)
    n = len(vectors)
    rows, cosines = np.empty((n, count), dtype=np.int64), np.empty((n, count), dtype=np.float32)
    own = np.empty(n, dtype=np.float32)
    step = max(1, _BLOCK_COSINES // n)
    for start in range(0, n, step):
        block = vectors[start : start + step] @ vectors.T
        inside = np.arange(len(block))
        block[inside, start + inside] = -np.inf
        near = np.argpartition(-block, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(near, np.argsort(-np.take_along_axis(block, near, axis=1), axis=1), axis=1)
        rows[start : start + step], cosines[start : start + step] = near, np.take_along_axis(block, near, axis=1)
        block[labels[start : start + step, None] != labels[None]] = -np.inf
        own[start : start + step] = block.max(axis=1)
    return rows, cosines, own


def near_duplicates(view: SplitView | None, others: SplitView | None) -> int:
    """How many images of a view are within a distance of 0.05 of an image of another view; both by frozen features."""
    if view is None or others is None or not len(view) or not len(others):
        return 0
    vectors, across = (np.asarray(one.embeddings, dtype=np.float32) for one in (view, others))
    step = max(1, _BLOCK_COSINES // len(across))
    limit = 1 - _NEAR_DUPLICATE**2 / 2
    return sum(
        int(np.count_nonzero((vectors[start : start + step] @ across.T).max(axis=1) > limit))
        for start in range(0, len(vectors), step)
    )


def write_suspect_labels(path: Path, suspects: Sequence[SuspectLabel]) -> None:
    """Writes path, label, new_label (as suggested), the share of neighbours and an empty answer, the clearest first.

    It is a table of corrections as soon as somebody fills in answers: see `imagematch.data.read_corrections`. Texts are
    as they are. Where there are none, a header.

    Raises:
        StudyError: it cannot be written.
    """
    import pandas as pd

    columns: dict[str, list[object]] = {
        "path": [one.view.path(one.row) for one in suspects],
        "label": [one.view.label_name(int(one.view.labels[one.row])) for one in suspects],
        "new_label": [one.view.label_name(one.suggested) for one in suspects],
        "share of neighbours": [round(one.share, 2) for one in suspects],
        "answer": ["" for _ in suspects],
    }
    write_csv(path, pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}))


def suspect_tile(suspect: SuspectLabel) -> dict[str, object]:
    """A suspect label as its template shows it: the image, and the nearest one of the suggested class."""
    view, images = suspect.view, (suspect.view.image(suspect.row), suspect.view.image(suspect.nearest))
    return {
        "uris": [image_uri(one) for one in images],
        "pixelated": is_pixelated(images[0]),
        "label": view.class_name(suspect.row),
        "suggested": str(view.class_names[suspect.suggested]),
        "votes": f"{round(suspect.share * NEIGHBOURS)} of {NEIGHBOURS}",
        "path": view.path(suspect.row),
    }
