"""Networks changed at random, each read and run: `python -m tests.fault.network_fuzzing FOLDER FIRST_SEED COUNT`.

FOLDER holds sound networks, `*.xml` beside `*.bin`. It prints a seed before it is tried, so that one that kills the
process is known, and at the end what came of them and the peak memory.
"""

from __future__ import annotations

import collections
import random
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from tests.forging import DIM, SIZE

from imagematch.errors import ModelError
from imagematch.extractors.engines.network_file import converted_files, read_network
from imagematch.extractors.engines.openvino import OpenVinoEngine
from imagematch.extractors.engines.operations import OPERATIONS
from imagematch.files import digest_bytes, digest_json

_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    64,
    999,
    65_536,
    1 << 20,
    2**31 - 1,
    -(2**31),
    2**32,
    10**9,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
)
_WORDS = (
    *("", "?", " ", "nan", "inf", "1e308", "-0.0", "true", "false", "valid", "same_upper", "explicit", "floor", "ceil"),
    *("numpy", "none", "reflect", "edge", "symmetric", "constant", "bidirectional", "linear", "cubic", "nearest"),
    *(
        "scales",
        "asymmetric",
        "align_corners",
        "bilinear_pillow",
        "f32",
        "f64",
        "i32",
        "i64",
        "u1",
        "string",
        "dynamic",
    ),
    *("0, 0", "0, 0, 0, 0", "1, 2, 3", "x" * 1_000),
)
SLOW_S = 5


def changed(description: str, weights: bytes, seed: int) -> tuple[bytes, bytes]:
    """A network with up to three random changes."""
    draw = random.Random(seed)
    root, content = ElementTree.fromstring(description), bytearray(weights)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        draw.choices((_attribute, _constant, _edge, _layer, _structure), (35, 30, 15, 12, 8))[0](draw, root, content)
    return b'<?xml version="1.0"?>\n' + ElementTree.tostring(root), bytes(content)


def _value(draw: random.Random, old: str) -> str:
    parts = [part.strip() for part in old.split(",")]
    if len(parts) > 1 and draw.random() < 0.7:
        parts[draw.randrange(len(parts))] = str(draw.choice(_NUMBERS))
        return ", ".join(parts[: draw.choice((len(parts), len(parts) - 1))])
    return str(draw.choice(_NUMBERS)) if draw.random() < 0.5 else draw.choice(_WORDS)


def _attribute(draw: random.Random, root: ElementTree.Element, content: bytearray) -> None:
    data = draw.choice(root.findall("./layers/layer/data"))
    if data.attrib:
        name = draw.choice(list(data.attrib))
        data.set(name, _value(draw, data.get(name, "")))


def _constant(draw: random.Random, root: ElementTree.Element, content: bytearray) -> None:
    """Other numbers in a constant, in a place of their own: constants may share one."""
    data = draw.choice(root.findall("./layers/layer[@type='Const']/data"))
    kinds = {"f32": np.float32, "i32": np.int32, "i64": np.int64}
    kind, start, size = (data.get(key, "") for key in ("element_type", "offset", "size"))
    if kind in kinds and start.isdecimal() and size.isdecimal():
        given = bytes(content[int(start) : int(start) + int(size)])
        array = np.frombuffer(given, kinds[kind], len(given) // np.dtype(kinds[kind]).itemsize).copy()
        if len(array):
            with np.errstate(all="ignore"):
                odd = draw.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45, 0.0)) if kind == "f32" else 0
                number = odd if kind == "f32" else np.array(draw.choice(_NUMBERS[:-1])).astype(np.int64)
                array[draw.randrange(len(array)) if draw.random() < 0.8 else slice(None)] = np.array(number).astype(
                    kinds[kind]
                )
            data.set("offset", str(len(content)))
            content += array.tobytes()


def _edge(draw: random.Random, root: ElementTree.Element, content: bytearray) -> None:
    edges = root.findall("./edges")[0]
    if len(edges):
        edge = draw.choice(list(edges))
        if draw.random() < 0.3:
            edges.remove(edge)
        else:
            edge.set(draw.choice(list(edge.attrib)), str(draw.choice((*range(12), -1, 10**11))))


def _layer(draw: random.Random, root: ElementTree.Element, content: bytearray) -> None:
    layer = draw.choice(root.findall("./layers/layer"))
    if draw.random() < 0.5:
        layer.set("type", draw.choice(list(OPERATIONS)))
    else:
        layer.set("version", f"opset{draw.randrange(1, 17)}")


def _structure(draw: random.Random, root: ElementTree.Element, content: bytearray) -> None:
    layers = root.findall("./layers")[0]
    layer = draw.choice(list(layers))
    if draw.random() < 0.5:
        layers.remove(layer)
    else:
        layers.append(ElementTree.fromstring(ElementTree.tostring(layer)))


def _outcome(folder: Path, description: bytes, weights: bytes) -> str:
    import openvino

    digest = digest_json([digest_bytes(description), digest_bytes(weights)])
    paths = [folder / name for name in converted_files(digest)]
    for path, data in zip(paths, (description, weights), strict=True):
        path.write_bytes(data)
    try:
        core = openvino.Core()
        engine = OpenVinoEngine(
            core, read_network(core, folder, digest, image_size=SIZE, feature_dim=DIM), "float32", DIM
        )
        engine.run([np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((3, SIZE, 3), np.uint8)])
        return "ran"
    except ModelError as error:
        return "failed" if error.what.startswith("OpenVINO failed") else "refused"
    finally:
        for path in paths:
            path.unlink()


def peak_mb() -> int:
    """Of this process. What `getrusage` gives is never less than what its parent had when it was forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def main(folder: Path, first: int, count: int) -> None:
    """Tries `count` seeds."""
    sound = [(path.read_text(), path.with_suffix(".bin").read_bytes()) for path in sorted(folder.glob("*.xml"))]
    outcomes: collections.Counter[str] = collections.Counter()
    slow = []
    with tempfile.TemporaryDirectory() as work:
        for seed in range(first, first + count):
            print(seed, flush=True)
            started = time.process_time()
            outcomes[_outcome(Path(work), *changed(*sound[seed % len(sound)], seed))] += 1
            if time.process_time() - started > SLOW_S:
                slow.append(seed)
    peak = peak_mb()
    print(f"{dict(outcomes)}; slow seeds {slow}; {peak} MB", flush=True)
    if slow or peak > 400:
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
