"""A gallery of made-up embeddings in a folder of its own: adding them, its size, searching, opening it again, removing.

100,000 embeddings of 128 values, with --large 1,000,000, are added 1,000 at a time without images; ten are found for
each of 50 queries, one after another. Ratios are to FAISS's own exact search of one query, to the bytes of the
embeddings, and to the memory that they take. A minute on 2 cores; --large takes some ten.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from imagematch.retrieval import GALLERY_STORES, GalleryFacts, GalleryStore, NewImage

COUNT, LARGE = 100_000, 1_000_000
DIM, K, QUERIES, AT_ONCE = 128, 10, 50, 1000


def embeddings(count: int, seed: int) -> np.ndarray:
    """(count, DIM) float32 on the unit sphere."""
    rows = np.random.default_rng(seed).standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def seconds_of_searches(store: GalleryStore, queries: np.ndarray) -> float:
    """The median of searches for one query each."""
    taken = []
    for query in queries:
        started = time.perf_counter()
        found, _ = store.search(query[None], K)
        store.find(found[0].tolist())
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(count: int) -> dict[str, Any]:
    """Adds, searches, opens again, and removes."""
    import faiss

    rows, queries = embeddings(count, 0), embeddings(QUERIES, 1)
    with tempfile.TemporaryDirectory() as folder:
        location = str(Path(folder) / "gallery")
        store = GALLERY_STORES.of(location).create(location, GalleryFacts("0" * 32, "none", DIM, 0))
        started = time.perf_counter()
        for start in range(0, count, AT_ONCE):
            stop = min(start + AT_ONCE, count)
            store.add(
                [NewImage(f"{row:032x}", f"label {row % 1000}", "", rows[row], b"") for row in range(start, stop)]
            )
        seconds = {"add": time.perf_counter() - started}
        before, started = psutil.Process().memory_info().rss, time.perf_counter()
        store.search(queries[:1], K)
        seconds["first search"] = time.perf_counter() - started
        memory = psutil.Process().memory_info().rss - before
        seconds["search"] = seconds_of_searches(store, queries)
        started = time.perf_counter()
        store.add([NewImage("new", "", "", queries[0], b"")])
        found, _ = store.search(queries[:1], 1)
        seconds["add one and find it"] = time.perf_counter() - started
        assert found[0].tolist() == [count + 1]
        started = time.perf_counter()
        store.remove([count + 1])
        store.search(queries[:1], 1)
        seconds["remove one and search"] = time.perf_counter() - started
        started = time.perf_counter()
        again = GALLERY_STORES.of(location).open(location)
        again.search(queries[:1], K)
        seconds["open and search"] = time.perf_counter() - started
        bare = faiss.IndexFlatL2(DIM)
        bare.add(rows)
        taken, right = [], []
        for query in queries:
            started = time.perf_counter()
            expected = bare.search(query[None], K)[1][0]
            taken.append(time.perf_counter() - started)
            right.append(len(set(expected + 1) & set(again.search(query[None], K)[0][0].tolist())) / K)
        seconds["bare faiss"] = statistics.median(taken)
        size = (Path(location) / "gallery.sqlite").stat().st_size
        again.close()
        store.close()
    ratios = {
        f"recall@{K}": float(np.mean(right)),
        "search to bare faiss": seconds["bare faiss"] / seconds["search"],
        "file to embeddings": size / rows.nbytes,
        "memory to embeddings": memory / rows.nbytes,
        "images a second": count / seconds["add"],
    }
    return {"ratios": ratios, "seconds": seconds}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--large", action="store_true", help="1,000,000 embeddings instead of 100,000")
    parser.add_argument("--data-dir", help="not used: the embeddings are made up")
    parser.add_argument("--weights", help="not used")
    options = parser.parse_args()
    count = LARGE if options.large else COUNT
    found = {"name": "gallery", **measure(count)}
    if options.json:
        print(json.dumps(found))
        return
    print(f"{count:,} embeddings of {DIM}")
    for group in ("ratios", "seconds"):
        for what, value in found[group].items():
            print(f"{what:24} {value:.4g}")


if __name__ == "__main__":
    main()
