"""Memory: the peak against the number of images, in training, among duplicates and in a search; a trial's remains.

Each size runs in a process of its own on made-up features of length 1280 in a mapped file: a head is trained for one
epoch and judged. `growth_mb_per_trial` is the slope of a straight line through what the process that trains holds after
each of `--trials` trials (single values go up and down by 20 MB); the search renews that process every 25 trials all
the same.

The largest size is also gone through, as made-up embeddings of length 128, for duplicates (one image in a thousand is a
near copy of another), and searched for a tenth as many queries with all the figures (500 images a class): each in a
process of its own; the embeddings count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SIZES = (10_000, 50_000, 100_000)
FEATURE_DIM, CLASSES = 1280, 200
DIM, IMAGES_PER_CLASS, COPY_EVERY = 128, 500, 1000


def peak_mb() -> float:
    """The most memory this process has held, MB, pages of mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 1024
    return float("nan")


def train_once(features: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """One trial of one epoch, as a study runs it."""
    from imagematch.config import parse_train
    from imagematch.losses import make_loss
    from imagematch.model import build_head
    from imagematch.training import EpochValidator, FeatureSource, Stage, fit, plan_batches, release_graphs, sample_rows

    settings = parse_train({"experiment_name": "x", "epochs": 1, "embedding_dim": 1024})
    rows = np.arange(len(labels))
    train, judged = rows[rows % 5 > 0], sample_rows(rows[rows % 5 == 0], labels, 5_000, 0)
    head = build_head(FEATURE_DIM, units=(512, 256), embedding_dim=1024, seed=seed)
    source = FeatureSource([features], train, labels, plan_batches(settings, labels[train], seed), seed=seed)
    loss = make_loss(settings, n_classes=CLASSES, embedding_dim=1024)
    validator = EpochValidator(source, judged, labels, loss, plan_batches(settings, labels[judged], 0))
    fit([Stage(settings, head, source, validator)], loss)
    del head, loss, source, validator
    release_graphs()


def embeddings(count: int, seed: int) -> np.ndarray:
    """(count, DIM) float32 on the unit sphere."""
    rows = np.random.default_rng(seed).standard_normal((count, DIM), np.float32)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


def find_duplicates(images: int) -> None:
    """Groups embeddings of which a few have a near copy; prints the peak."""
    from imagematch.retrieval import duplicate_groups

    vectors = embeddings(images, 0)
    vectors[1::COPY_EVERY] = vectors[::COPY_EVERY][: len(vectors[1::COPY_EVERY])] + np.float32(1e-3)
    groups, _ = duplicate_groups(vectors, 0.1)
    print(json.dumps({"peak_mb": peak_mb(), "groups": len(groups)}))


def search(images: int) -> None:
    """Searches embeddings for a tenth as many, as deep as the metrics need; prints the peak."""
    from imagematch.retrieval import nearest, search_metrics

    gallery, queries = embeddings(images, 0), embeddings(images // 10, 1)
    classes = np.arange(images) // IMAGES_PER_CLASS
    search_metrics(lambda part, depth: nearest(queries[part], gallery, depth), classes[::10], classes)
    print(json.dumps({"peak_mb": peak_mb()}))


def child(path: str, images: int, trials: int) -> None:
    """Trains `trials` times on the features at `path`; prints the peak and the growth."""
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    labels = np.arange(images) % CLASSES
    process = psutil.Process()
    held = []
    for seed in range(trials):
        train_once(features, labels, seed)
        held.append(process.memory_full_info().uss / 2**20)
    growth = float(np.polyfit(np.arange(trials), held, 1)[0]) if trials > 1 else float("nan")
    print(json.dumps({"peak_mb": peak_mb(), "growth_mb_per_trial": growth}))


def measure(trials: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Runs a process for each size, and one for the growth."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for images in sizes:
            path = Path(folder) / "features.npy"
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(images, FEATURE_DIM))
            random = np.random.default_rng(0)
            for start in range(0, images, 10_000):
                array[start : start + 10_000] = random.normal(size=(min(10_000, images - start), FEATURE_DIM))
            array.flush()
            del array
            found[f"peak_mb_{images}"] = run(str(path), images, 1)["peak_mb"]
        small = min(2_000, images)
        found["growth_mb_per_trial"] = run(str(path), small, trials)["growth_mb_per_trial"]
    for what in OTHERS:
        found[f"{what}_peak_mb_{images}"] = run(what, images)["peak_mb"]
    first, last = (found[f"peak_mb_{images}"] for images in (sizes[0], sizes[-1]))
    return {
        "name": "memory",
        "ratios": {"peak_of_largest_to_smallest": last / first, "images_of_largest_to_smallest": sizes[-1] / sizes[0]},
        "megabytes": found,
        "seconds": {},
    }


OTHERS = {"duplicates": find_duplicates, "search": search}


def run(what: str, images: int, trials: int = 0) -> dict[str, float]:
    """Measures in a process of its own: one of OTHERS, or the training on the features at a path."""
    command = [sys.executable, __file__, "--child", what, "--images", str(images), "--trials", str(trials)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--trials", type=int, default=50, help="trials for the growth")
    parser.add_argument("--data-dir", help="without effect: the features are made up")
    parser.add_argument("--weights", help="without effect: there is no extractor")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child in OTHERS:
        OTHERS[options.child](options.images)
        return
    if options.child:
        child(options.child, options.images, options.trials)
        return
    found = measure(options.trials, SIZES)
    if options.json:
        print(json.dumps(found))
        return
    for group in ("ratios", "megabytes"):
        print(group)
        for name, value in found[group].items():
            print(f"  {name:32} {value:,.3f}")


if __name__ == "__main__":
    main()
