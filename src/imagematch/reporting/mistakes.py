"""The pairs a matcher is most wrong about: closest impostors, farthest genuine pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.reporting.escaping import markup
from imagematch.reporting.pictures import picture_uri, shown_whole
from imagematch.reporting.view import SplitView

_BLOCK_VALUES = 1 << 23


@dataclass(frozen=True)
class Pair:
    """Two images of a split and their distance; `first` and `second` are rows of the view."""

    first: int
    second: int
    distance: float


def worst_false_matches(view: SplitView, count: int = 12) -> list[Pair]:
    """The impostor pairs with the smallest distances, the closest first; each image in one pair at most."""
    return _extreme(view, count, genuine=False)


def worst_false_non_matches(view: SplitView, count: int = 12) -> list[Pair]:
    """The genuine pairs with the largest distances, the farthest first; each image in one pair at most."""
    return _extreme(view, count, genuine=True)


def _extreme(view: SplitView, count: int, *, genuine: bool) -> list[Pair]:
    """Takes the most extreme pair of images not taken yet, `count` times.

    By then fewer than 2 x `count` images are taken, so an image's best partner left is among its first 2 x `count`: no
    other pair need be kept.
    """
    blocks = list(_pair_blocks(view, 2 * count, genuine=genuine))
    first, second, keys = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    order = np.lexsort((second, first, keys))
    pairs: list[Pair] = []
    used: set[int] = set()
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if len(pairs) == count:
            break
        if a not in used and b not in used:
            used |= {a, b}
            pairs.append(Pair(a, b, float(np.linalg.norm(view.embeddings[a] - view.embeddings[b]))))
    return pairs


def _pair_blocks(
    view: SplitView, partners: int, *, genuine: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields rows, columns (row < column) and keys, the smallest the most extreme: each row's first `partners`."""
    vectors, labels = np.asarray(view.embeddings, dtype=np.float32), np.asarray(view.labels)
    n = len(labels)
    step = max(1, _BLOCK_VALUES // max(n, 1))
    for start in range(0, n, step):
        stop = min(start + step, n)
        keys = vectors[start:stop] @ vectors[start:].T
        if not genuine:
            np.negative(keys, out=keys)
        keys[(labels[start:stop, None] == labels[None, start:]) != genuine] = np.inf
        keys[np.tril_indices(stop - start, 0, n - start)] = np.inf
        kept = np.arange(n - start)[None].repeat(stop - start, axis=0)
        if partners < n - start:
            kept = np.argpartition(keys, partners - 1, axis=1)[:, :partners]
        found = np.take_along_axis(keys, kept, axis=1)
        row, place = np.nonzero(np.isfinite(found))
        yield start + row, start + kept[row, place], found[row, place]


def pairs_html(view: SplitView, pairs: Sequence[Pair], threshold: float) -> str:
    """The pairs as pictures with class, file, distance and the decision, in HTML without any script; text is escaped.

    Args:
        view: the split.
        pairs: of its images.
        threshold: under it two images match.
    """
    if not pairs:
        return "<p><em>There is no such pair.</em></p>"
    boxes = "".join(_pair_html(view, pair, threshold) for pair in pairs)
    style = "display:flex;flex-wrap:wrap;gap:14px"
    return f'<div class="pairs" style="{style}">{boxes}</div>'


def _pair_html(view: SplitView, pair: Pair, threshold: float) -> str:
    matches = pair.distance < threshold
    wrong = matches != (view.labels[pair.first] == view.labels[pair.second])
    decision = ("a match" if matches else "no match") + (", wrong" if wrong else ", right")
    images = "".join(_image_html(view, row) for row in (pair.first, pair.second))
    return (
        '<figure class="pair" style="margin:0;padding:8px;border:1px solid rgba(128,128,128,.35);border-radius:8px">'
        f'<div style="display:flex;gap:8px">{images}</div>'
        '<figcaption style="font-size:12px;text-align:center;margin-top:4px">'
        f"distance {pair.distance:.4f}: {decision}</figcaption>"
        "</figure>"
    )


def _image_html(view: SplitView, row: int) -> str:
    name, path = markup(view.class_name(row), 22), markup(view.path(row))
    picture = view.picture(row)
    size = f"width:96px;height:96px;{shown_whole(picture)}"
    return (
        '<div style="width:96px;font-size:11px;line-height:1.25;overflow-wrap:anywhere">'
        f'<img src="{picture_uri(picture)}" alt="{path}" title="{path}" style="{size}">'
        f"<div><strong>{name}</strong><br>{markup(view.path(row), 28)}</div></div>"
    )
