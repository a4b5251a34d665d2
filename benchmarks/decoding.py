"""JPEGs to 224 pixels: decoded in full and shrunk, and as the decoder does it, at reduced size where they are large.

Made-up photos of 12 and 0.4 megapixels, both ways in turn, by one thread; and the memory that decoding one of 108
megapixels takes, in a process of its own, above that for a small one. Half a minute on one core.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagematch.data import decode

SIZES = {"12 megapixels": (4000, 3000), "0.4 megapixels": (730, 548)}
LARGE = (12_000, 9_000)
IMAGE_SIZE = 224
ROUNDS = 3
PIXELS_A_ROUND = 48_000_000
"""As many photos of a size as have so many pixels together, 64 at most."""

PEAK = """
import sys
from pathlib import Path
from imagematch.data import decode

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


def large_memory_mb() -> float | None:
    """Megabytes that decoding a large photo takes; None where the system does not tell."""
    if not Path("/proc/self/status").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.jpg"), Path(folder, "large.jpg")
        small.write_bytes(photo(640, 480, 0))
        with Image.open(small) as image:
            image.resize(LARGE).save(large, quality=88)
        command = [sys.executable, "-c", PEAK, str(small), str(large), str(IMAGE_SIZE)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure() -> dict[str, Any]:
    """Times both ways in turn, and takes the best round of each."""
    ratios, seconds = {}, {}
    for name, (width, height) in SIZES.items():
        count = min(64, max(1, PIXELS_A_ROUND // (width * height)))
        photos = [photo(width, height, seed) for seed in range(count)]
        rounds = [(seconds_of(in_full, photos), seconds_of(reduced, photos)) for _ in range(ROUNDS)]
        full, small = (min(times) for times in zip(*rounds, strict=True))
        seconds |= {f"{name} in full": full, f"{name} reduced": small}
        ratios[f"{name} faster"] = full / small
    memory = large_memory_mb()
    megabytes = {} if memory is None else {f"{LARGE[0] * LARGE[1] / 1e6:.0f} megapixels": memory}
    return {"name": "decoding", "ratios": ratios, "seconds": seconds, "megabytes": megabytes}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data-dir", help="not used: the photos are made up")
    parser.add_argument("--weights", help="not used: nothing is embedded")
    options = parser.parse_args()
    found = measure()
    if options.json:
        print(json.dumps(found))
        return
    for what, value in found["seconds"].items():
        print(f"{what:28} {1 / value:8.1f} images a second")
    for what, value in found["ratios"].items():
        print(f"{what:28} {value:8.2f} times")
    for what, value in found["megabytes"].items():
        print(f"{what:28} {value:8.0f} MB of memory for one thread")


if __name__ == "__main__":
    main()
