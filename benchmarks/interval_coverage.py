"""Measures how often 95 % intervals hold the true value: classes drawn from a population of known metrics.

Embeddings are Gaussian around their class's centre, on a sphere in 16 dimensions; how far they scatter differs from
class to class (log-normal). Metrics of pairs are compared with those of a million classes; MAP@R and Recall@K
with their means over all draws, since they depend on the number of classes. Rates at a threshold are at the distances
at which 10 % and 1 % of all impostor pairs match. `--guarantees` measures how often a guaranteed threshold exceeds its
target.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation import (
    Interval,
    PairDistances,
    at_threshold,
    eer,
    guaranteed_threshold,
    listed_pairs,
    pair_distances,
    retrieval_intervals,
    retrieval_metrics,
    roc_auc,
    tar_at_far,
    verification_intervals,
)

DIM, SCATTER, SPREAD = 16, 0.8, 0.4
CLASSES = (20, 30, 50, 100, 200, 500)
IMAGES = ("2", "8", "unequal")
"""Images of a class; unequal: 2 to 40, geometric, 5.5 on average."""
DRAWS = 300
POPULATION = 1_000_000
IMPOSTORS = 20
FARS = (0.1, 0.01)
GUARANTEED_CLASSES, GUARANTEE_DRAWS = (20, 50, 200), 1000
GUARANTEES = (("far", 0.1), ("far", 0.01), ("frr", 0.3), ("frr", 0.1))


def embeddings_of(rng: np.random.Generator, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws classes with so many images: (images, DIM) float32 and (images,) labels."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.standard_normal((len(sizes), DIM), dtype=np.float32)
    scatter = SCATTER * np.exp(SPREAD * rng.standard_normal(len(sizes), dtype=np.float32))
    rows = centres[labels] + scatter[labels, None] * rng.standard_normal((len(labels), DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def sizes_of(rng: np.random.Generator, classes: int, images: str) -> np.ndarray:
    """Images of each class, (classes,)."""
    if images == "unequal":
        return np.clip(1 + rng.geometric(0.22, classes), 2, 40)
    return np.full(classes, int(images))


def population() -> PairDistances:
    """A genuine pair of each of a million classes, and impostor pairs of each with 20 others.

    A million impostor pairs would know a FAR of 0.01 to 1 % only, no better than a draw of 500 classes does.
    """
    distances = []
    rng = np.random.default_rng(0)
    for start in range(0, POPULATION, 50_000):
        rows, _ = embeddings_of(rng, np.full(min(50_000, POPULATION - start), 2))
        first, second = rows[::2], rows[1::2]
        others = (np.roll(second, shift, axis=0) for shift in range(1 + IMPOSTORS))
        distances.append([np.linalg.norm(first - other, axis=1) for other in others])
    of_both_kinds = np.concatenate(distances, axis=1)
    return listed_pairs(of_both_kinds.ravel(), np.arange(of_both_kinds.size) < POPULATION)


@dataclass(frozen=True)
class Truth:
    """The metrics of the population, and the thresholds of FARS."""

    values: dict[str, float]
    thresholds: tuple[float, ...]


def truth_of(pairs: PairDistances) -> Truth:
    """The true metrics."""
    values = {"roc_auc": roc_auc(pairs), "eer": eer(pairs)}
    thresholds = []
    for far, found in zip(FARS, tar_at_far(pairs, FARS), strict=True):
        values |= {f"tar_at_far_{far}": float(found.tar or 0), f"tar at {far}": float(found.tar or 0)}
        values[f"far at {far}"] = found.attained_far
        thresholds.append(found.distance)
    return Truth(values, tuple(thresholds))


def intervals_of(rows: np.ndarray, labels: np.ndarray, truth: Truth) -> Iterator[tuple[str, Interval, float]]:
    """Each metric's name, interval and, of retrieval, its value here (NaN for metrics of pairs)."""
    pairs = pair_distances(rows, labels)
    for far, threshold in zip(FARS, truth.thresholds, strict=True):
        found = verification_intervals(rows, labels, pairs=pairs, fars=[far], threshold=threshold)
        for name in ("roc_auc", "eer") if far == FARS[0] else ():
            yield name, found[name], np.nan
        if f"tar_at_far_{far}" in found:
            yield f"tar_at_far_{far}", found[f"tar_at_far_{far}"], np.nan
        for rate in ("tar", "far"):
            yield f"{rate} at {far}", found[rate], np.nan
    metrics = retrieval_metrics(rows, labels, (1, 5))
    values = {"map_at_r": metrics.map_at_r, **{f"recall_at_{k}": value for k, value in metrics.recall_at_k.items()}}
    intervals = retrieval_intervals(metrics.per_query)
    for name, value in values.items():
        yield name, intervals[name], value


def coverage(classes: int, images: str, draws: int, truth: Truth) -> dict[str, tuple[float, float]]:
    """By metric: the share of intervals that lie above the true value, and of those that lie below it."""
    ends: dict[str, list[tuple[float, float]]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    for draw in range(draws):
        rng = np.random.default_rng((classes, IMAGES.index(images), draw))
        for name, interval, value in intervals_of(*embeddings_of(rng, sizes_of(rng, classes, images)), truth):
            ends[name].append((interval.low, interval.high))
            values[name].append(value)
    missed = {}
    for name, found in ends.items():
        true = truth.values.get(name, float(np.mean(values[name])))
        low, high = np.array(found).T
        missed[name] = float((low > true).mean()), float((high < true).mean())
    return missed


def guarantees(classes: int, images: str, draws: int, pairs: PairDistances) -> dict[str, tuple[float, float]]:
    """By target: the share of draws whose true rate exceeds it, and of those refused because classes are too few."""
    exceeded: dict[str, list[bool]] = defaultdict(list)
    refused: dict[str, list[bool]] = defaultdict(list)
    for draw in range(draws):
        rng = np.random.default_rng((classes, IMAGES.index(images), draw, 1))
        rows, labels = embeddings_of(rng, sizes_of(rng, classes, images))
        own = pair_distances(rows, labels)
        for rate, target in GUARANTEES:
            name = f"{rate} under {target}"
            try:
                distance = guaranteed_threshold(rows, labels, rate, target, pairs=own).distance
            except DataError:
                exceeded[name].append(False)
                refused[name].append(True)
                continue
            true = at_threshold(pairs, distance)
            exceeded[name].append(float((true.far if rate == "far" else true.frr) or 0) > target)
            refused[name].append(False)
    return {name: (float(np.mean(exceeded[name])), float(np.mean(refused[name]))) for name in exceeded}


def coverage_lines(options: argparse.Namespace, truth: Truth) -> Iterator[tuple[str, float, str]]:
    """A name, the share of intervals that hold the true value, and on which side the others miss it."""
    for classes in options.classes or (CLASSES[:3:2] if options.quick else CLASSES):
        for images in IMAGES:
            draws = options.draws or (100 if options.quick else DRAWS)
            for name, (above, below) in coverage(classes, images, draws, truth).items():
                text = f"{above:.3f} above the truth, {below:.3f} below"
                yield f"{name}, {classes} classes of {images}", 1 - above - below, text


def guarantee_lines(options: argparse.Namespace, pairs: PairDistances) -> Iterator[tuple[str, float, str]]:
    """A name, the share of draws whose true rate exceeds the target, and how many were refused."""
    for classes in options.classes or (GUARANTEED_CLASSES[:2] if options.quick else GUARANTEED_CLASSES):
        for images in IMAGES:
            draws = options.draws or (100 if options.quick else GUARANTEE_DRAWS)
            for name, (exceeded, refused) in guarantees(classes, images, draws, pairs).items():
                yield f"{name}, {classes} classes of {images}", exceeded, f"{refused:.3f} refused"


def main() -> None:
    """Runs what the options ask for and prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="20 and 50 classes, 100 draws: a minute")
    parser.add_argument("--guarantees", action="store_true", help="how often guaranteed thresholds exceed their target")
    parser.add_argument("--classes", type=int, nargs="*", help="numbers of classes")
    parser.add_argument("--draws", type=int, help=f"draws of each ({DRAWS}, guarantees {GUARANTEE_DRAWS})")
    parser.add_argument("--data-dir", help="not used: the embeddings are made")
    parser.add_argument("--weights", help="not used: there is no network")
    options = parser.parse_args()
    started = time.perf_counter()
    pairs = population()
    found: dict[str, dict[str, float]] = {"ratios": {}, "seconds": {}}
    lines = guarantee_lines(options, pairs) if options.guarantees else coverage_lines(options, truth_of(pairs))
    for name, share, text in lines:
        found["ratios"][name] = share
        if not options.json:
            print(f"{name:40} {share:.3f}  ({text})", flush=True)
    found["seconds"]["all"] = time.perf_counter() - started
    if options.json:
        print(json.dumps({"name": "interval_coverage", **found}))


if __name__ == "__main__":
    main()
