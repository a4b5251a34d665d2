"""The pairs a matcher is most wrong about: closest impostors, farthest genuine pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from imagematch.reporting.escaping import visible
from imagematch.reporting.html import render
from imagematch.reporting.images import SplitView, image_uri, is_pixelated, sampled_rows

_BLOCK_VALUES = 1 << 23
_MOST_QUERIES = 5000


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


def example_pairs(view: SplitView, threshold: float) -> list[ImagePair]:
    """A genuine pair that matches, and a pair that is decided wrongly: the worst false match, else the worst miss.

    Either is left out where there is none.
    """
    labels = np.asarray(view.labels)
    pairs = (closest_pair(view, int(label), int(label)) for label in np.unique(labels) if (labels == label).sum() > 1)
    right = [pair for pair in pairs if pair.distance < threshold][:1]
    close, far = worst_false_matches(view, 1), worst_false_non_matches(view, 1)
    wrong = [pair for pair in close if pair.distance < threshold] + [p for p in far if p.distance >= threshold]
    return right + wrong[:1]


def closest_pair(view: SplitView, first: int, second: int) -> ImagePair:
    """The two images of two classes, or of one class twice, that are closest to each other."""
    labels, vectors = np.asarray(view.labels), np.asarray(view.embeddings, dtype=np.float32)
    rows, columns = np.flatnonzero(labels == first), np.flatnonzero(labels == second)
    cosines = vectors[rows] @ vectors[columns].T
    if first == second:
        np.fill_diagonal(cosines, -np.inf)
    best = divmod(int(cosines.argmax()), len(columns))
    a, b = int(rows[best[0]]), int(columns[best[1]])
    return ImagePair(a, b, float(np.linalg.norm(vectors[a] - vectors[b])))


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


def pairs_html(
    view: SplitView, pairs: Sequence[ImagePair], threshold: float, *, mistakes: bool = False, genuine: bool = False
) -> Markup:
    """The pairs as images with class, file, distance and the decision, in HTML without any script; text is escaped.

    Args:
        view: the split.
        pairs: of its images.
        threshold: under it two images match.
        mistakes: only those are shown that are decided wrongly; a report's script shows others at other thresholds,
            by class and in pages.
        genuine: whether the pairs are of one class each.
    """
    shown = [
        {
            "first": _image(view, pair.first),
            "second": _image(view, pair.second),
            "distance": f"{pair.distance:.4f}",
            "exact": f"{pair.distance:.7g}",
            "labels": f"{int(view.labels[pair.first])} {int(view.labels[pair.second])}",
            "decision": _decision(view, pair, threshold),
            "shown": not mistakes or (pair.distance < threshold) != genuine,
        }
        for pair in pairs
    ]
    labels = {int(view.labels[row]) for pair in pairs for row in (pair.first, pair.second)} if mistakes else set()
    classes = sorted(((label, str(view.class_names[label])) for label in labels), key=lambda one: one[1])
    return render("pairs.html.j2", pairs=shown, classes=classes, genuine=genuine)


def query_strips(
    view: SplitView, threshold: float, count: int = 8, neighbours: int = 6
) -> list[list[dict[str, object]]]:
    """Queries with their nearest images, as tiles: those that are answered wrongly first, the most wrong of them first.

    A query is an image whose class has another one. Three in four are wrong answers, where there are so many.
    """
    labels, vectors = np.asarray(view.labels), np.asarray(view.embeddings, dtype=np.float32)
    sizes = np.bincount(labels)
    queries = np.flatnonzero(sizes[labels] > 1)
    if len(view) < 2 or not len(queries):
        return []
    queries = queries[sampled_rows(len(queries), _MOST_QUERIES)]
    nearest, margins = _margins(vectors, labels, queries)
    wrong = np.flatnonzero(labels[nearest] != labels[queries])
    right = np.flatnonzero(labels[nearest] == labels[queries])
    worst = wrong[np.argsort(-margins[wrong], kind="stable")]
    chosen = [*worst[: max(count - len(right), 3 * count // 4)], *right[np.argsort(-margins[right], kind="stable")]]
    strips = []
    for query in queries[chosen[:count]].tolist():
        distances = np.linalg.norm(vectors - vectors[query], axis=1)
        distances[query] = np.inf
        tiles = [{**_tile(view, query), "text": f"query: {visible(view.class_name(query), 22)}", "kind": "plain"}]
        for row in np.argsort(distances, kind="stable")[: min(neighbours, len(view) - 1)].tolist():
            kind = "right" if labels[row] == labels[query] else "wrong"
            kind += "" if distances[row] < threshold else " beyond"
            text = f"{distances[row]:.4f} {visible(view.class_name(row), 22)}"
            tiles.append({**_tile(view, row), "text": text, "kind": kind, "distance": f"{distances[row]:.7g}"})
        strips.append(tiles)
    return strips


def _margins(vectors: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest image of each query, and how much more similar the nearest of another class is than of its own."""
    nearest, margins = np.empty(len(queries), dtype=np.int64), np.empty(len(queries))
    step = max(1, _BLOCK_VALUES // len(vectors))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        cosines = vectors[part] @ vectors.T
        cosines[np.arange(len(part)), part] = -np.inf
        nearest[start : start + step] = cosines.argmax(axis=1)
        own = labels[part][:, None] == labels[None]
        others = np.where(own, -np.inf, cosines).max(axis=1)
        margins[start : start + step] = others - np.where(own, cosines, -np.inf).max(axis=1)
    return nearest, margins


def _tile(view: SplitView, row: int) -> dict[str, object]:
    image = view.image(row)
    size = f"{image.shape[1]} x {image.shape[0]}"
    return {"path": view.path(row), "uri": image_uri(image), "pixelated": is_pixelated(image), "size": size}


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
