"""Retrieval against bare FAISS in one run: 1,000 queries in 100,000 vectors of 128 values; with --large in 1,000,000.

The vectors lie about 2,000 centres on the unit sphere, as embeddings do. Ten neighbours are found; ours also ranks them
by their exact distances. A ratio to bare FAISS over 1 says that ours is the faster; memory is what building and
searching take beyond the vectors given, whose size is 1.
A minute on 2 cores; --large takes about ten, most of it to build a graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from imagematch.errors import ImagematchError
from imagematch.retrieval import INDEXES, NeighbourIndex, nearest

COUNT, LARGE = 100_000, 1_000_000
QUERIES, DIM, K, CENTRES = 1000, 128, 10, 2000
ROUNDS = 3


def vectors(count: int, seed: int) -> np.ndarray:
    """(count, DIM) float32 on the unit sphere, about the same centres whatever the seed."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIM), np.float32)
    rows = np.empty((count, DIM), np.float32)
    for start in range(0, count, 100_000):
        block = rows[start : start + 100_000]
        block[:] = random.standard_normal(block.shape, np.float32)
        block *= 0.7
        block += centres[random.integers(0, CENTRES, len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what `work` gave."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the K nearest that were found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


def measure(count: int, kinds: list[str]) -> dict[str, Any]:
    """Ours against bare FAISS, round by round, so that other work on the machine meets both."""
    gallery, queries = vectors(count, 1), vectors(QUERIES, 2)
    exact = nearest(queries, gallery, K).rows
    ratios: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for kind in kinds:
        index = NeighbourIndex(kind, "euclidean", DIM)
        with PeakMemory() as memory:
            seconds[f"{kind} build"], _ = timed(lambda index=index: index.add(gallery))
            index.search(queries, K)
        ratios[f"{kind} memory to vectors"] = memory.bytes / gallery.nbytes
        bare, effort = index._index, None if kind == "flat" else index._effort(K)
        rounds, ours, theirs = [], [], []
        for _ in range(ROUNDS):
            theirs_s, bare_found = timed(lambda bare=bare, effort=effort: bare.search(queries, K, params=effort))
            ours_s, found = timed(lambda index=index: index.search(queries, K))
            rounds.append(theirs_s / ours_s)
            ours.append(ours_s)
            theirs.append(theirs_s)
        seconds[f"{kind} search"] = statistics.median(ours)
        seconds[f"{kind} bare faiss"] = statistics.median(theirs)
        ratios[f"{kind} to bare faiss"] = statistics.median(rounds)
        ratios[f"{kind} recall@{K}"] = recall(found.rows, exact)
        ratios[f"{kind} bare recall@{K}"] = recall(bare_found[1], exact)
    return {"ratios": ratios, "seconds": seconds}


class PeakMemory:
    """Watches how much memory this process holds above what it held at the beginning, every 5 ms."""

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self.bytes = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._watcher.join()


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--large", action="store_true", help="1,000,000 vectors instead of 100,000")
    parser.add_argument("--index", choices=INDEXES, action="append", help="only this one; may be repeated")
    parser.add_argument("--data-dir", help="not used: the vectors are made up")
    parser.add_argument("--weights", help="not used")
    options = parser.parse_args()
    count = LARGE if options.large else COUNT
    kinds = options.index or list(INDEXES)
    try:
        found: dict[str, Any] = {"name": "retrieval", **measure(count, kinds)}
    except ImagematchError as error:
        raise SystemExit(str(error)) from error
    if options.json:
        print(json.dumps(found))
        return
    print(f"{QUERIES:,} queries, {count:,} vectors of {DIM}")
    for group in ("ratios", "seconds"):
        for what, value in found[group].items():
            print(f"{what:28} {value:.4g}")


if __name__ == "__main__":
    main()
