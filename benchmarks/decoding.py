"""JPEGs to 224 pixels: decoded in full and shrunk, and as the decoder does it, at reduced size where they are large.

Made-up photos of 12 and 0.4 megapixels: decoding both ways by one thread; extraction by MobileNetV2 end to end, from
files through the feature store, against the engine alone on pixels in memory. Then the memory that decoding a photo of
108 megapixels takes above a small one, in a process of its own, baseline and progressive. With `--data-dir` (labelled
images in class folders) and `--weights` the quality both ways: cosines of features, ROC AUC and Recall@1. Two minutes
on two cores.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from features import Files
from imagematch.data import decode
from imagematch.evaluation import epoch_metrics
from imagematch.extractors import Extractor, make_extractor, open_engine
from imagematch.features import FeatureStore, clear_features, list_entries

SIZES = {"12 megapixels": (4000, 3000), "0.4 megapixels": (730, 548)}
LARGE = (12_000, 9_000)
IMAGE_SIZE = 224
NETWORK = "mobilenet_v2"
ROUNDS = 3
FILES = {"12 megapixels": 48, "0.4 megapixels": 400}
"""Made-up files that are extracted end to end; of 16 different photos."""
QUALITY = ((8, 224), (1, 48))
"""Labelled images are enlarged so many times, and looked at in this size: both leave room for a reduction."""
QUALITY_IMAGES = 4000
PIXELS_A_ROUND = 48_000_000
"""As many photos of a size as have so many pixels together, 64 at most."""

PEAK = """
import sys
from pathlib import Path
from imagematch.data import decode
from imagematch.evaluation import epoch_metrics
from imagematch.extractors import Extractor, make_extractor, open_engine
from imagematch.features import FeatureStore, clear_features, list_entries

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000

decode(sys.argv[1], int(sys.argv[3]))
before = peak_mb()
decode(sys.argv[2], int(sys.argv[3]))
print(peak_mb() - before)
"""


def photo(width: int, height: int, seed: int) -> bytes:
    """A JPEG: coarse shapes, finer ones, and noise; one of 12 megapixels has 1.9 MB."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 110), (40, 50), (250, 25)):
        coarse = random.uniform(0, strength, (cells, cells, 3)).astype(np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    pixels += random.normal(0, 3, (height, width, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def in_full(data: bytes) -> np.ndarray:
    """Every pixel decoded, then shrunk."""
    return decode(Image.open(io.BytesIO(data)), IMAGE_SIZE)


def reduced(data: bytes) -> np.ndarray:
    """As training and matching do it."""
    return decode(data, IMAGE_SIZE)


def seconds_of(read: Callable[[bytes], np.ndarray], photos: list[bytes]) -> float:
    """Of one photo."""
    started = time.perf_counter()
    for data in photos:
        read(data)
    return (time.perf_counter() - started) / len(photos)


def end_to_end(extractor: Extractor, name: str) -> dict[str, float]:
    """Images a second of the engine alone and through the store; rounds alternate."""
    width, height = SIZES[name]
    photos = [photo(width, height, seed) for seed in range(min(16, FILES[name]))]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        paths = [Path(folder, "images", f"{number:04}.jpg") for number in range(FILES[name])]
        for number, path in enumerate(paths):
            path.write_bytes(photos[number % len(photos)] + number.to_bytes(4))  # each has a digest of its own
        files, store = Files(paths), FeatureStore(Path(folder) / "features")
        pixels = [files.pixels(row, IMAGE_SIZE) for row in range(len(paths))]
        engine = open_engine(extractor, "auto", "auto", store.networks)
        engine.run(pixels)
        alone, whole = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            engine.run(pixels)
            alone.append(time.perf_counter() - started)
            if list_entries(store.root):
                clear_features(store.root, extractor.name)
            started = time.perf_counter()
            store.features(files, extractor)
            whole.append(time.perf_counter() - started)
    return {"engine": statistics.median(alone) / len(paths), "end to end": statistics.median(whole) / len(paths)}


def quality(extractor: Extractor, paths: list[Path], times: int) -> dict[str, float]:
    """Features of enlarged images, decoded both ways: their cosines, and what they are worth."""
    labels = np.unique([path.parent.name for path in paths], return_inverse=True)[1]
    size = extractor.image_size
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(extractor, "auto", "float32", Path(folder))
        found = []
        for start in range(0, len(paths), 64):
            data = [enlarged(path, times) for path in paths[start : start + 64]]
            full = [decode(Image.open(io.BytesIO(one)), size) for one in data]
            found.append((engine.run(full), engine.run([decode(one, size) for one in data])))
    ways = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    units = [way / np.linalg.norm(way, axis=1, keepdims=True) for way in ways]
    cosines = (units[0] * units[1]).sum(axis=1)
    metrics = [epoch_metrics(unit, labels) for unit in units]
    return {
        "cosine median": float(np.median(cosines)),
        "cosine 1 %": float(np.quantile(cosines, 0.01)),
        **{f"{name} in full": metrics[0][name] for name in ("roc_auc", "recall_at_1")},
        **{f"{name} reduced": metrics[1][name] for name in ("roc_auc", "recall_at_1")},
    }


def enlarged(path: Path, times: int) -> bytes:
    """A labelled image as a JPEG of so many times its size."""
    with Image.open(path) as image:
        large = image.convert("RGB").resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def large_memory_mb(**how: Any) -> float | None:
    """Megabytes that decoding a large photo takes; None where the system does not tell."""
    if not Path("/proc/self/status").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.jpg"), Path(folder, "large.jpg")
        small.write_bytes(photo(640, 480, 0))
        with Image.open(small) as image:
            image.resize(LARGE).save(large, quality=95, **how)
        command = [sys.executable, "-c", PEAK, str(small), str(large), str(IMAGE_SIZE)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def network(weights: str, image_size: int) -> Extractor:
    """What features are extracted by."""
    options = {"feature_extractor": NETWORK, "weights": weights, "image_size": image_size}
    return make_extractor(SimpleNamespace(**options, trainable=False, seed=0))


def measure(data_dir: Path | None, weights: str) -> dict[str, Any]:
    """Times both ways in turn, and takes the best round of each; then what is measured once."""
    ratios, seconds = {}, {}
    extractor = network(weights, IMAGE_SIZE)
    for name, (width, height) in SIZES.items():
        count = min(64, max(1, PIXELS_A_ROUND // (width * height)))
        photos = [photo(width, height, seed) for seed in range(count)]
        rounds = [(seconds_of(in_full, photos), seconds_of(reduced, photos)) for _ in range(ROUNDS)]
        full, small = (min(times) for times in zip(*rounds, strict=True))
        seconds |= {f"{name} in full": full, f"{name} reduced": small}
        ratios[f"{name} faster"] = full / small
        extracted = end_to_end(extractor, name)
        seconds |= {f"{name} {what}": value for what, value in extracted.items()}
        ratios[f"{name} end to end to engine"] = extracted["engine"] / extracted["end to end"]
    if data_dir is not None:
        paths = sorted(data_dir.rglob("*.jpg"))
        paths = paths[:: max(1, len(paths) // QUALITY_IMAGES)]
        for times, size in QUALITY:
            found = quality(network(weights, size), paths, times)
            ratios |= {f"{size} px {what}": value for what, value in found.items()}
    megabytes = {}
    for name, how in (("baseline", {}), ("progressive", {"progressive": True})):
        memory = large_memory_mb(**how)
        if memory is not None:
            megabytes[f"{LARGE[0] * LARGE[1] / 1e6:.0f} megapixels {name}"] = memory
    return {"name": "decoding", "ratios": ratios, "seconds": seconds, "megabytes": megabytes}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", type=Path, help="labelled JPEGs in class folders, for the quality both ways")
    parser.add_argument("--weights", default="random", help="random, imagenet or a file")
    options = parser.parse_args()
    found = measure(options.data_dir, options.weights)
    if options.json:
        print(json.dumps(found))
        return
    for what, value in found["seconds"].items():
        print(f"{what:40} {1 / value:8.1f} images a second")
    for what, value in found["ratios"].items():
        print(f"{what:40} {value:8.4f}")
    for what, value in found["megabytes"].items():
        print(f"{what:40} {value:8.0f} MB of memory for one thread")


if __name__ == "__main__":
    main()
