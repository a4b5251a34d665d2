"""The pairs a matcher is most wrong about: closest impostors, farthest genuine pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from imagematch.reporting.html import render
from imagematch.reporting.images import SplitView, image_uri, is_pixelated

_BLOCK_VALUES = 1 << 23


@dataclass(frozen=True)
class ImagePair:
    """Two images of a split and their distance; `first` and `second` are rows of the view."""

    first: int
    second: int
    distance: float


def worst_false_matches(view: SplitView, count: int = 12) -> list[ImagePair]:
    """The impostor pairs with the smallest distances, the closest first; each image in one pair at most."""
    return _extreme(view, count, genuine=False)


def worst_false_non_matches(view: SplitView, count: int = 12) -> list[ImagePair]:
    """The genuine pairs with the largest distances, the farthest first; each image in one pair at most."""
    return _extreme(view, count, genuine=True)


def _extreme(view: SplitView, count: int, *, genuine: bool) -> list[ImagePair]:
    """Takes the most extreme pair of images not taken yet, `count` times.

    By then fewer than 2 x `count` images are taken, so an image's best partner left is among its first 2 x `count`: no
    other pair is needed.
    """
    blocks = list(_pair_blocks(view, 2 * count, genuine=genuine))
    first, second, keys = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    order = np.lexsort((second, first, keys))
    pairs: list[ImagePair] = []
    used: set[int] = set()
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if len(pairs) == count:
            break
        if a not in used and b not in used:
            used |= {a, b}
            pairs.append(ImagePair(a, b, float(np.linalg.norm(view.embeddings[a] - view.embeddings[b]))))
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
        columns = np.arange(n - start)[None].repeat(stop - start, axis=0)
        if partners < n - start:
            columns = np.argpartition(keys, partners - 1, axis=1)[:, :partners]
        found = np.take_along_axis(keys, columns, axis=1)
        row, position = np.nonzero(np.isfinite(found))
        yield start + row, start + columns[row, position], found[row, position]


def pairs_html(view: SplitView, pairs: Sequence[ImagePair], threshold: float) -> Markup:
    """The pairs as images with class, file, distance and the decision, in HTML without any script; text is escaped.

    Args:
        view: the split.
        pairs: of its images.
        threshold: under it two images match.
    """
    return render(
        "pairs.html.j2",
        pairs=[
            {
                "first": _image(view, pair.first),
                "second": _image(view, pair.second),
                "distance": f"{pair.distance:.4f}",
                "decision": _decision(view, pair, threshold),
            }
            for pair in pairs
        ],
    )


def _decision(view: SplitView, pair: ImagePair, threshold: float) -> str:
    matches = pair.distance < threshold
    wrong = matches != (view.labels[pair.first] == view.labels[pair.second])
    return ("a match" if matches else "no match") + (", wrong" if wrong else ", right")


def _image(view: SplitView, row: int) -> dict[str, object]:
    image = view.image(row)
    return {
        "uri": image_uri(image),
        "pixelated": is_pixelated(image),
        "class_name": view.class_name(row),
        "path": view.path(row),
    }
