"""Measures evaluation: all pairs exactly, beside scikit-learn on the same pairs; MAP@R; intervals; 5 x 10^9 pairs."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.evaluation import (
    choose_threshold,
    eer,
    epoch_metrics,
    pair_distances,
    retrieval_metrics,
    roc_auc,
    roc_curve,
    verification_intervals,
)

SIZE, DIM, CLASSES = 10_000, 1024, 200
LARGE_SIZE, LARGE_DIM = 100_000, 256
MANY_CLASSES = (500, 2_000)
"""Numbers of classes of two images each."""


def sample(images: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy classes on the unit sphere: (images, dim) float32 and (images,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    centres = rng.standard_normal((classes, dim), dtype=np.float32)
    rows = centres[labels]
    for start in range(0, images, 10_000):
        part = rows[start : start + 10_000]
        part += 4 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows, labels


def in_turns(works: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The results, and the seconds of each round. The works take turns, so that other load affects all of them."""
    results: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            results[name] = work()
            seconds[name].append(time.perf_counter() - started)
    return results, seconds


def verification(embeddings: np.ndarray, labels: np.ndarray) -> tuple[Any, float]:
    """Exact AUC, ROC, EER and threshold over every pair, from the embeddings."""
    pairs = pair_distances(embeddings, labels)
    auc = roc_auc(pairs)
    roc_curve(pairs)
    eer(pairs)
    choose_threshold(pairs, "balanced_accuracy")
    return pairs, auc


def compare(rounds: int) -> dict[str, dict[str, float]]:
    """10,000 x 1024: our seconds, scikit-learn's on the same pairs, and their ratio; medians over the rounds."""
    from sklearn.metrics import roc_auc_score

    embeddings, labels = sample(SIZE, DIM, CLASSES)
    pairs = pair_distances(embeddings, labels)
    threshold = choose_threshold(pairs, "balanced_accuracy").distance
    scores = -np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])
    same = np.arange(len(scores)) < pairs.genuine.count
    results, seconds = in_turns(
        {
            "auc_roc_eer_threshold_10000x1024": lambda: verification(embeddings, labels),
            "auc_10000x1024": lambda: roc_auc(pair_distances(embeddings, labels)),
            "sklearn_roc_auc_score_same_pairs": partial(roc_auc_score, same, scores),
            "intervals_10000x1024": lambda: verification_intervals(
                embeddings, labels, pairs=pairs, threshold=threshold
            ),
            "map_at_r_10000x1024": lambda: retrieval_metrics(embeddings, labels),
            "epoch_metrics_5000x1024": lambda: epoch_metrics(embeddings[:5000], labels[:5000]),
        },
        rounds,
    )
    theirs, ours = results["sklearn_roc_auc_score_same_pairs"], results["auc_10000x1024"]
    if abs(theirs - ours) > 1e-12:
        raise SystemExit(f"scikit-learn disagrees: {theirs} and {ours}")
    sklearn = np.array(seconds["sklearn_roc_auc_score_same_pairs"])
    return {
        "ratios": {
            f"sklearn_to_{name}": float(np.median(sklearn / np.array(seconds[name])))
            for name in ("auc_roc_eer_threshold_10000x1024", "auc_10000x1024")
        },
        "seconds": {name: statistics.median(taken) for name, taken in seconds.items()},
    }


def many_classes(rounds: int) -> dict[str, dict[str, float]]:
    """All intervals to one AUC, for many classes of two images."""
    found: dict[str, dict[str, float]] = {"ratios": {}, "seconds": {}}
    for classes in MANY_CLASSES:
        embeddings, _ = sample(2 * classes, 128, classes)
        labels = np.arange(2 * classes) % classes
        pairs = pair_distances(embeddings, labels)
        names = f"auc_{classes}_classes", f"intervals_{classes}_classes"
        works = {
            names[0]: partial(lambda rows, labels: roc_auc(pair_distances(rows, labels)), embeddings, labels),
            names[1]: partial(verification_intervals, embeddings, labels, pairs=pairs, threshold=1.2),
        }
        _, seconds = in_turns(works, rounds)
        ratio = np.array(seconds[names[1]]) / np.array(seconds[names[0]])
        found["ratios"][f"intervals_to_auc_{classes}_classes"] = float(np.median(ratio))
        found["seconds"] |= {name: statistics.median(taken) for name, taken in seconds.items()}
    return found


def peak_mb() -> float:
    """Peak resident memory of this process; on Linux not `ru_maxrss`, which a child inherits from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text()).group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large() -> tuple[float, float]:
    """100,000 x 256, 5 x 10^9 pairs: seconds, and the peak memory of the process in MB."""
    embeddings, labels = sample(LARGE_SIZE, LARGE_DIM, 1000)
    started = time.perf_counter()
    verification(embeddings, labels)
    return time.perf_counter() - started, peak_mb()


def main() -> None:
    """Runs what the options ask for and prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--large", action="store_true", help="also 100,000 x 256, in a process of its own")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many")
    parser.add_argument("--data-dir", help="not used: the embeddings are made")
    parser.add_argument("--weights", help="not used: there is no network")
    options = parser.parse_args()
    found: dict[str, Any] = {"name": "evaluation", **compare(options.rounds)}
    for kind, values in many_classes(options.rounds).items():
        found[kind] |= values
    if options.large:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found["seconds"]["all_metrics_100000x256"], peak = pool.apply(large)
        found["megabytes"] = {"peak_100000x256": peak}
    if options.json:
        print(json.dumps(found))
        return
    for kind in ("ratios", "seconds", "megabytes"):
        print(kind)
        for name, value in found.get(kind, {}).items():
            print(f"  {name:45} {value:.4g}")


if __name__ == "__main__":
    main()
