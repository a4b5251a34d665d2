"""Writers that are killed: a program forks one for each line that it reads, and kills it so many seconds later.

Run as `python -m tests.fault.killed_writers NAME FOLDER`; the imports are done once. It answers "killed" or "ended".
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np

IMAGE_SIZE, IMAGES = 8, 300


class SlowImages:
    """Images that follow from their row; each takes a millisecond to decode."""

    def __init__(self) -> None:
        from imagematch.files import digest_bytes

        self.digests = np.array([digest_bytes(str(row).encode()) for row in range(IMAGES)])

    def pixels(self, row: int, max_size: int, _framing: object = None) -> np.ndarray:
        time.sleep(0.001)
        return np.random.default_rng(row).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def extract(folder: Path) -> int:
    """Computes features that are missing; returns how many."""
    from imagematch.extractors import make_extractor
    from imagematch.features import FeatureStore
    from imagematch.features.computation import Computation

    Computation._block_rows = lambda _self: 16  # type: ignore[method-assign]
    network = SimpleNamespace(
        feature_extractor="pixels", weights="random", image_size=IMAGE_SIZE, trainable=False, seed=0
    )
    return FeatureStore(folder).features(SlowImages(), make_extractor(network)).computed  # type: ignore[arg-type]


def save_indexes(folder: Path) -> None:
    """Saves an index of 10 images more each time, without end."""
    from imagematch.retrieval.saved_index import IndexedImage, SavedIndex

    for count in itertools.count(10, 10):
        index = SavedIndex.create("flat", "euclidean", model="model", space="embedding", dim=4)
        images = [IndexedImage(str(row), f"{row:032x}") for row in range(count)]
        index.add(images, np.full((count, 4), count, np.float32))
        index.save(folder / "index")


def save_matchers(folder: Path) -> None:
    """Saves a matcher under another configuration each time, without end."""
    from tests.unit.matching.conftest import write_matcher

    for _ in itertools.count():
        write_matcher(folder / "matcher")


def serve_gallery(folder: Path) -> None:
    """Serves the gallery of a matcher at the port that stands in a file."""
    from imagematch.serving import ServerSettings, serve_matcher

    port = int((folder / "port").read_text())
    settings = ServerSettings(model=folder / "matcher", gallery=str(folder / "gallery"), port=port)
    serve_matcher(settings, lambda _start: None)


WRITERS: dict[str, Callable[[Path], object]] = {
    "extract": extract,
    "save_indexes": save_indexes,
    "save_matchers": save_matchers,
    "serve_gallery": serve_gallery,
}


IMPORTS = {
    "extract": ("imagematch.features", "imagematch.extractors"),
    "save_indexes": ("imagematch.retrieval", "faiss"),
    "serve_gallery": ("imagematch.serving", "imagematch.retrieval"),
    "save_matchers": ("tests.unit.matching.conftest", "keras"),
}


def main(name: str, folder: str) -> None:
    for module in IMPORTS[name]:
        import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            WRITERS[name](Path(folder))
            os._exit(0)
        time.sleep(float(line))
        ended, _ = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        print("ended" if ended else "killed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
