"""How often each detector finds the face that a table names, and where, and how many photos a second it searches.

`--data-dir` holds the table `celeba_dev_faces.csv` (file, width, height; x, y, w, h in pixels of a photo of that width
and height; five points) and, at any depth, photos of those names in any size. A face agrees where its box and the
table's have an intersection over union of 0.5 or more. Without such a folder nothing is measured. With `--recall` the
photos are also cropped in several ways, and Recall@1 of MobileNetV2's frozen features is measured, a class a folder.
A minute or two on 2 cores, with `--recall` about two for each way of cropping.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import parse_train
from imagematch.data import Face, FaceCropper, decode, thread_count
from imagematch.errors import ImagematchError
from imagematch.evaluation import epoch_metrics
from imagematch.training import load_training_data

TABLE = "celeba_dev_faces.csv"
AGREEING = 0.5
POINTS = ("re", "le", "nose", "rm", "lm")
"""Of the table, from left to right as they are seen."""
WAYS: dict[str, dict[str, Any]] = {
    "whole photos": {},
    "haar": {"face_crop": "haar"},
    "haar, eyes level": {"face_crop": "haar", "face_align": True},
    "mtcnn": {"face_crop": "mtcnn"},
    "mtcnn, aligned": {"face_crop": "mtcnn", "face_align": True},
    "mtcnn, aligned, no margin": {"face_crop": "mtcnn", "face_align": True, "face_margin": 0.0},
}
"""How photos are cropped where Recall@1 is measured."""
SHOWN = ("recall_at_1", "map_at_r", "roc_auc")


def overlap(face: Face, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of a face and a box (x, y, w, h)."""
    x, y, w, h = box
    across = min(face.left + face.width, x + w) - max(face.left, x)
    down = min(face.top + face.height, y + h) - max(face.top, y)
    inside = max(0.0, across) * max(0.0, down)
    return inside / (face.width * face.height + w * h - inside)


def point_error(face: Face, row: dict[str, str], across: float, down: float) -> float:
    """How far the five points are from the table's, in the mean, as a share of the side of the table's box."""
    wanted = [(float(row[f"{name}_x"]) * across, float(row[f"{name}_y"]) * down) for name in POINTS]
    side = (float(row["w"]) * across * float(row["h"]) * down) ** 0.5
    return float(np.linalg.norm(np.array(face.points) - wanted, axis=1).mean()) / side


def known_photos(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """The photos that the table has a box for, with their row."""
    table = folder / TABLE
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines())) if table.is_file() else []
    photos = {path.name: path for path in folder.rglob("*.jpg")} if rows else {}
    return [(photos[row["file"]], row) for row in rows if row["file"] in photos and row["x"]]


def search_all(detector: str, known: list[tuple[Path, dict[str, str]]]) -> dict[str, float]:
    """What a detector finds in the photos, by threads as in a training, and how fast: decoding included, and apart."""
    cropper = FaceCropper(0.2, True, "whole", detector)

    def search(item: tuple[Path, dict[str, str]]) -> Face | None:
        return cropper.find(item[0])

    search(known[0])  # what is compiled at first
    started = time.perf_counter()
    with cropper.opened().shared(), ThreadPoolExecutor(thread_count()) as pool:
        faces = list(pool.map(search, known))
    seconds = time.perf_counter() - started
    found, agreeing, overlaps, sides, errors = 0, 0, [], [], []
    for face, (path, row) in zip(faces, known, strict=True):
        if face is None:
            continue
        height, width = decode(path).shape[:2]
        across, down = width / float(row["width"]), height / float(row["height"])
        x, y, w, h = (float(row[name]) for name in "xywh")
        box = (x * across, y * down, w * across, h * down)
        found += 1
        overlaps.append(overlap(face, box))
        if overlaps[-1] >= AGREEING:
            agreeing += 1
            sides.append((face.width * face.height / (box[2] * box[3])) ** 0.5)
            errors += [point_error(face, row, across, down)] if face.points else []
    return {
        "found": found / len(known),
        "agreeing": agreeing / len(known),
        "overlap, median": statistics.median(overlaps or [0.0]),
        "side to the box's, median": statistics.median(sides or [0.0]),
        "points off, share of side, median": statistics.median(errors) if errors else float("nan"),
        "photos a second": len(known) / seconds,
    }


def recall(folder: Path, way: dict[str, Any], weights: str) -> dict[str, float]:
    """The metrics of MobileNetV2's frozen features on all photos of the folder, a person a folder, cropped so."""
    with tempfile.TemporaryDirectory() as cache:
        values = {
            "experiment_name": "faces",
            "dataset": "folder",
            "data_dir": str(folder),
            "split_by": "class",
            "feature_extractor": "mobilenet_v2",
            "weights": weights,
            "feature_precision": "float32",
            "feature_dir": cache,
            **way,
        }
        data = load_training_data(parse_train(values), manifest_dir=Path(cache))
        rows = np.arange(len(data.dataset))
        metrics = epoch_metrics(data.baseline(rows), data.dataset.labels[rows])
    return {name: metrics[name] for name in SHOWN}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help=f"has {TABLE} and the photos")
    parser.add_argument("--detectors", nargs="+", default=["haar", "mtcnn"], help="haar, mtcnn or yunet:PATH")
    parser.add_argument("--recall", type=Path, help="also measure Recall@1 on this folder of a folder for each person")
    parser.add_argument("--weights", default="random", help="of MobileNetV2: imagenet, random or a file")
    options = parser.parse_args()
    known = known_photos(options.data_dir)
    tables: dict[str, dict[str, dict[str, float]]] = {"detectors": {}, "ways": {}}
    try:
        for detector in options.detectors if known else ():
            tables["detectors"][detector] = search_all(detector, known)
        for name, way in WAYS.items() if options.recall else ():
            tables["ways"][name] = recall(options.recall, way, options.weights)
    except ImagematchError as error:
        raise SystemExit(str(error)) from error
    if options.json:
        ratios = {
            f"{row}: {what}": value for row, found in tables["detectors"].items() for what, value in found.items()
        }
        print(json.dumps({"name": "faces", "photos": len(known), "ratios": ratios, "seconds": {}, **tables}))
        return
    print(f"{len(known):,} photos with a box")
    for table in tables.values():
        for row, found in table.items():
            print(f"{row:28}" + "  ".join(f"{what} {value:.4g}" for what, value in found.items()))


if __name__ == "__main__":
    main()
