"""Time and memory of a data set of a million images of ten thousand classes, its files apart: manifest, split, batches.

No image is made: the rows are invented, and the manifest that says them is written first. Measured is what
every run does from then on, in its order, in seconds of the one processor that it takes; the megabytes are the largest
memory of the process so far. `docs/howto/scaling.md` reads the table.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imagematch.config import TrainSettings, parse_train
from imagematch.data import build
from imagematch.data.manifest import _save, manifest_path, read_manifest
from imagematch.events import SILENT
from imagematch.sources import ImageRow, Listing, Source
from imagematch.training.batches import plan_batches

_T = TypeVar("_T")


class InventedSource(Source):
    """A source whose files nobody opens."""

    def __init__(self, root: Path, rows: tuple[ImageRow, ...]) -> None:
        super().__init__(root)
        self._rows = rows

    def listing(self) -> Listing:
        """The invented images."""
        return Listing(self._rows)

    def read(self, file: str) -> bytes:
        """Never asked for: the manifest knows every file."""
        raise AssertionError(file)


def invented(images: int, classes: int) -> tuple[ImageRow, ...]:
    """Rows sorted by path, as the manifest has them; one image in a thousand is a copy of its neighbour."""
    each = images // classes
    rows = []
    for number in range(images):
        label = min(number // each, classes - 1)
        path = f"class_{label:05d}/image_{number:07d}.jpg"
        row = ImageRow(path, f"class_{label:05d}", size=20_000 + number % 1000, mtime_ns=number + 1, file=path)
        digest = f"{number - (number % 1000 == 1):064x}"
        rows.append(row._replace(digest=digest, width=640, height=480, mode="RGB"))
    return tuple(rows)


def peak_mb() -> float:
    """The largest memory of this process so far, megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def settings_of(split_by: str) -> TrainSettings:
    """A training with default batches."""
    return parse_train({"experiment_name": "large", "dataset": "folder", "data_dir": ".", "split_by": split_by})


def measure(images: int, classes: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each step, and the memory after it."""
    seconds: dict[str, float] = {}
    megabytes: dict[str, float] = {"before": peak_mb()}

    def timed(what: str, call: Callable[[], _T]) -> _T:
        started = time.process_time()
        result = call()
        seconds[what], megabytes[what] = time.process_time() - started, peak_mb()
        tell(f"{what:28} {seconds[what]:8.2f} s {megabytes[what]:8.0f} MB")
        return result

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = timed("invent", lambda: invented(images, classes))
        source = InventedSource(root, rows)
        path = manifest_path("folder", root, root)
        assert path is not None
        timed("write manifest", lambda: _save(path, source, rows, {}))
        megabytes["manifest file"] = path.stat().st_size / 1e6
        known = timed("check", lambda: tuple(read_manifest("folder", source, rows, root, SILENT)))
        for split_by in ("image", "class"):
            settings = settings_of(split_by)
            scan = build.Scan(settings, source, source.listing(), known, manifest=path)
            dataset = timed(f"split by {split_by}", lambda scan=scan: build.build_dataset(scan))
        labels = dataset.labels[dataset.splits == "train"]
        plan = timed("plan batches", lambda: plan_batches(settings, labels, 0))
        timed("one epoch's batches", lambda: plan.epoch(1))
        wide = settings.model_copy(update={"batch_classes": 1024, "batch_images": 4})
        timed("one epoch of 1,024 x 4", lambda: plan_batches(wide, labels, 0).epoch(1))
        random = settings.model_copy(update={"batch_size": 256})
        timed("one epoch of random batches", lambda: plan_batches(random, labels, 0).epoch(1))
        assert len(np.unique(labels)) > 1
    return {
        "name": "large_manifests",
        "ratios": {f"{what} to check": value / seconds["check"] for what, value in seconds.items()},
        "seconds": seconds,
        "megabytes": megabytes,
    }


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", help="without effect: the images are invented")
    parser.add_argument("--weights", help="without effect: nothing is trained")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10_000)
    options = parser.parse_args()
    silent: Callable[[str], None] = lambda _line: None  # noqa: E731
    found = measure(options.images, options.classes, silent if options.json else lambda line: print(line, flush=True))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
