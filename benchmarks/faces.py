"""How often OpenCV's cascade finds the face that another detector found, and where: on photos with a table of boxes.

`--data-dir` holds the table `celeba_dev_faces.csv` (file, width, height; x, y, w, h in pixels of a photo of that width
and height) and, at any depth, photos of those names in any size. A face agrees where its box and the table's have an
intersection over union of 0.5 or more. Without such a folder nothing is measured. A minute or two on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagematch.data import Face, decode, find_face, thread_count
from imagematch.errors import ImagematchError

TABLE = "celeba_dev_faces.csv"
AGREEING = 0.5


def overlap(face: Face, box: tuple[float, float, float, float]) -> float:
    """Intersection over union of a face and a box (x, y, w, h)."""
    x, y, w, h = box
    across = min(face.left + face.width, x + w) - max(face.left, x)
    down = min(face.top + face.height, y + h) - max(face.top, y)
    inside = max(0.0, across) * max(0.0, down)
    return inside / (face.width * face.height + w * h - inside)


def centre_inside(face: Face, box: tuple[float, float, float, float]) -> bool:
    """Whether the centre of the box lies in the face."""
    x, y, w, h = box
    right = face.left <= x + w / 2 <= face.left + face.width
    return right and face.top <= y + h / 2 <= face.top + face.height


def search(photo: Path, row: dict[str, str]) -> tuple[Face | None, tuple[float, float, float, float]]:
    """The face that the cascade finds, and the table's box, in pixels of the photo."""
    pixels = decode(photo)
    across, down = pixels.shape[1] / float(row["width"]), pixels.shape[0] / float(row["height"])
    x, y, w, h = (float(row[name]) for name in "xywh")
    return find_face(pixels), (x * across, y * down, w * across, h * down)


def measure(folder: Path) -> dict[str, Any]:
    """Searches every photo that the table has a box for."""
    table = folder / TABLE
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines())) if table.is_file() else []
    photos = {path.name: path for path in folder.rglob("*.jpg")} if rows else {}
    known = [row for row in rows if row["file"] in photos and row["x"]]
    if not known:
        return {"name": "faces", "photos": 0, "ratios": {}, "seconds": {}}
    started = time.perf_counter()
    with ThreadPoolExecutor(thread_count()) as pool:
        pairs = list(pool.map(lambda row: search(photos[row["file"]], row), known))
    seconds = time.perf_counter() - started
    found = [(face, box) for face, box in pairs if face is not None]
    agreeing = [(face, box) for face, box in found if overlap(face, box) >= AGREEING]
    sides = [face.width / (box[2] * box[3]) ** 0.5 for face, box in agreeing]
    ratios = {
        "found": len(found) / len(pairs),
        "agreeing": len(agreeing) / len(pairs),
        "box's centre inside": sum(centre_inside(*pair) for pair in found) / len(pairs),
        "side to the box's, median": statistics.median(sides) if sides else float("nan"),
    }
    return {"name": "faces", "photos": len(pairs), "ratios": ratios, "seconds": {"a photo": seconds / len(pairs)}}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help=f"has {TABLE} and the photos")
    parser.add_argument("--weights", help="not used: a cascade has none")
    options = parser.parse_args()
    try:
        found = measure(options.data_dir)
    except ImagematchError as error:
        raise SystemExit(str(error)) from error
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['photos']:,} photos with a box")
    for group in ("ratios", "seconds"):
        for what, value in found[group].items():
            print(f"{what:28} {value:.4g}")


if __name__ == "__main__":
    main()
