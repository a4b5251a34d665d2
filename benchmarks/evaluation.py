"""Measures evaluation: all pairs exactly, against scikit-learn on the same pairs; MAP@R, intervals; 5 x 10^9 pairs."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.evaluation import (
    bootstrap_intervals,
    choose_threshold,
    eer,
    error_bounds,
    pair_distances,
    quick_figures,
    retrieval_figures,
    roc_auc,
    roc_curve,
)

SIZE, DIM, CLASSES = 10_000, 1024, 200
LARGE_SIZE, LARGE_DIM = 100_000, 256


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


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """The result and the best wall-clock seconds."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best


def verification(embeddings: np.ndarray, labels: np.ndarray) -> tuple[Any, float]:
    """Exact AUC, ROC, EER and threshold over every pair, from the embeddings."""
    pairs = pair_distances(embeddings, labels)
    auc = roc_auc(pairs)
    roc_curve(pairs)
    eer(pairs)
    choose_threshold(pairs, "balanced_accuracy")
    return pairs, auc


def compare(repeats: int) -> dict[str, dict[str, float]]:
    """10,000 x 1024: our seconds, scikit-learn's on the pairs we give it, and their ratio."""
    from sklearn.metrics import roc_auc_score

    embeddings, labels = sample(SIZE, DIM, CLASSES)
    (pairs, auc), ours = timed(lambda: verification(embeddings, labels), repeats)
    _, auc_only = timed(lambda: roc_auc(pair_distances(embeddings, labels)), repeats)
    scores = -np.concatenate([pairs.genuine.values, pairs.impostor.values])
    same = np.arange(len(scores)) < pairs.genuine.count
    theirs, sklearn = timed(partial(roc_auc_score, same, scores))
    if abs(theirs - auc) > 1e-12:
        raise SystemExit(f"scikit-learn disagrees: {theirs} and {auc}")
    del scores, same
    threshold = choose_threshold(pairs, "balanced_accuracy").distance
    _, interval = timed(
        lambda: bootstrap_intervals(embeddings, labels, resamples=200, pairs=pairs, threshold=threshold), repeats
    )
    _, retrieval = timed(lambda: retrieval_figures(embeddings, labels), repeats)
    _, quick = timed(lambda: quick_figures(embeddings[:5000], labels[:5000]), repeats)
    return {
        "ratios": {
            "sklearn_roc_auc_score / all_figures": sklearn / ours,
            "sklearn_roc_auc_score / roc_auc": sklearn / auc_only,
        },
        "seconds": {
            "auc_roc_eer_threshold_10000x1024": ours,
            "auc_10000x1024": auc_only,
            "sklearn_roc_auc_score_same_pairs": sklearn,
            "bootstrap_200_resamples": interval,
            "map_at_r_10000x1024": retrieval,
            "quick_figures_5000x1024": quick,
        },
    }


def peak_gb() -> float:
    """Peak resident memory of this process; on Linux not `ru_maxrss`, which a child inherits from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text()).group(1)) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def large() -> dict[str, float]:
    """100,000 x 256, 5 x 10^9 pairs: seconds, peak memory of the process in GB, the AUC's error bound."""
    embeddings, labels = sample(LARGE_SIZE, LARGE_DIM, 1000)
    (pairs, _), seconds = timed(lambda: verification(embeddings, labels))
    return {
        "seconds": seconds,
        "peak_gb": peak_gb(),
        "auc_error_bound": error_bounds(pairs)["roc_auc"],
    }


def main() -> None:
    """Runs what the options ask for and prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--large", action="store_true", help="also 100,000 x 256, in a process of its own")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs (scikit-learn: one)")
    parser.add_argument("--data-dir", help="not used: the embeddings are made")
    parser.add_argument("--weights", help="not used: there is no network")
    options = parser.parse_args()
    found: dict[str, Any] = {"name": "evaluation", **compare(options.repeats)}
    if options.large:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            big = pool.apply(large)
        found["seconds"]["all_figures_100000x256"] = big["seconds"]
        found["ratios"]["peak_gb_100000x256 / 2"] = big["peak_gb"] / 2
        found["ratios"]["auc_error_bound_100000x256"] = big["auc_error_bound"]
    if options.json:
        print(json.dumps(found))
        return
    for kind in ("ratios", "seconds"):
        print(kind)
        for name, value in found[kind].items():
            print(f"  {name:45} {value:.4g}")


if __name__ == "__main__":
    main()
