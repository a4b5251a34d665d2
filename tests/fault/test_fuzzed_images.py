"""Mutated image files of every format: pixels or one line, never a crash, a hang, or memory without bound.

A few thousand in each run of the tests, in seconds; `pytest -m soak` tries many more, in a process of its own for each
seed, so that a crash can be repeated.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fault.image_zoo import good

from imagematch.data import decode, inspect
from imagematch.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SEEDS = [(animal.name, animal.data) for animal in good() if len(animal.data) < 20_000]
HEADER = 200
"""Bytes in which half of the mutations fall: sizes, tables, offsets."""
ODD = (0, 1, 0x7F, 0x80, 0xFF)


def more_seeds() -> list[tuple[str, bytes]]:
    """Formats that the zoo has none of."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "AVIF")
    found = [("small.avif", buffer.getvalue())]
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(-1, 1, 2400, dtype=np.float32).reshape(40, 60)).save(buffer, "TIFF")
    found.append(("float.tiff", buffer.getvalue()))
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer)
        found.append(("small.heic", buffer.getvalue()))
    return found


def mutated(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """A file with one to eight changes: bytes, words, cuts, repetitions, parts of another file."""
    result = bytearray(data)
    for _ in range(random.integers(1, 9)):
        if not result:
            break
        reach = min(len(result), HEADER) if random.random() < 0.5 else len(result)
        at = int(random.integers(reach))
        kind = random.integers(6)
        if kind == 0:
            result[at] = random.integers(256)
        elif kind == 1:
            result[at] = ODD[random.integers(len(ODD))]
        elif kind == 2:
            result[at : at + 4] = bytes([ODD[random.integers(len(ODD))]]) * 4
        elif kind == 3:
            del result[at : at + int(random.integers(1, 64))]
        elif kind == 4:
            result[at:at] = result[at : at + int(random.integers(1, 64))]
        else:
            start = int(random.integers(max(1, len(other))))
            result[at : at + 16] = other[start : start + 16]
    return bytes(result)


def outcome(data: bytes) -> str:
    """What becomes of a file; raises what no file may cause."""
    try:
        facts = inspect(data)
        decoded = decode(data, 64, value_range=None)
    except DataError as error:
        line = str(error)
        assert line
        assert "\n" not in line
        return "refused"
    assert decoded.dtype == np.uint8
    assert decoded.shape[2] == 3
    assert max(decoded.shape[:2]) <= 64
    assert facts.width > 0
    assert facts.height > 0
    return "read"


def fuzz(seed: int, count: int) -> dict[str, int]:
    """Tries `count` mutated files."""
    random = np.random.default_rng(seed)
    seeds = [*SEEDS, *more_seeds()]
    found = {"read": 0, "refused": 0}
    for number in range(count):
        name, data = seeds[number % len(seeds)]
        changed = mutated(data, seeds[random.integers(len(seeds))][1], random)
        try:
            found[outcome(changed)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, file {number}, of {name}: {changed.hex()[:400]}") from error
    return found


def test_mutated_images_are_read_or_refused() -> None:
    found = fuzz(seed=1, count=2_000)
    assert sum(found.values()) == 2_000
    assert found["read"] > 200
    assert found["refused"] > 600


PROGRAM = """
import json, resource, sys, warnings
warnings.simplefilter("ignore")
from tests.fault.test_fuzzed_images import fuzz
fuzz(0, 100)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
before = peak()
found = fuzz(int(sys.argv[1]), int(sys.argv[2]))
print(json.dumps({**found, "megabytes": peak() - before}))
"""


def in_a_process(seed: int, count: int, timeout_s: float) -> dict[str, float]:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(seed), str(count)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    return dict(json.loads(done.stdout))


def test_mutated_images_take_bounded_memory_and_no_crash() -> None:
    """In a process of its own: a crash would be one of the test run."""
    found = in_a_process(seed=2, count=1_000, timeout_s=300)
    assert found["megabytes"] < 300


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_mutated_images(seed: int) -> None:
    found = in_a_process(seed, count=5_000, timeout_s=1_800)
    assert found["megabytes"] < 300
    print(f"seed {seed}: {found}")
