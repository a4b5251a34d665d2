"""Runs a network of unknown origin once in a process of its own: a crash of OpenVINO then ends that one alone.

What has run is remembered by its content in the user's cache folder, and so is what was converted on this machine.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from imagematch.extractors.engines.engine import Engine
from imagematch.extractors.engines.network_file import read_network, read_plain
from imagematch.extractors.network_files import cache_folder
from imagematch.files import digest_json
from imagematch.limited_process import run_limited
from imagematch.reading import GB

_MEMORY_BYTES = 8 * GB
_MEMORY_PER_BYTE = 8
_TIME_S = 120
_TIME_PER_GB_S = 120
_RUNNING: list[Engine] = []
"""Engines until the process ends: tearing one down has been seen to wait for its threads forever."""


def try_network(folder: Path, digest: str, *, image_size: int, feature_dim: int) -> None:
    """Runs a saved network in a process with limits, unless it has run before.

    Raises:
        ModelError: as `read_network`; or it crashes OpenVINO, or costs too much.
    """
    with suppress(OSError):  # a folder that may not be read remembers nothing
        if _mark(digest, image_size, feature_dim).is_file():
            return
    size = len(read_plain(folder, digest)[1])  # which refuses most that is hostile, without a process
    arguments = (str(folder), digest, str(image_size), str(feature_dim))
    run_limited(
        f"{__name__}:run_saved_network",
        *arguments,
        memory_bytes=_MEMORY_BYTES + _MEMORY_PER_BYTE * size,
        time_s=_TIME_S + _TIME_PER_GB_S * size // GB,
        where=folder,
        do="open only models of people you trust",
    )
    remember_network(digest, image_size=image_size, feature_dim=feature_dim)


def remember_network(digest: str, *, image_size: int, feature_dim: int) -> None:
    """Records that a network runs; where that cannot be written, it is tried again next time."""
    mark = _mark(digest, image_size, feature_dim)
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark(digest: str, image_size: int, feature_dim: int) -> Path:
    import openvino

    return cache_folder() / "networks" / digest_json([digest, image_size, feature_dim, openvino.__version__])


def run_saved_network(folder: str, digest: str, image_size: str, feature_dim: str) -> None:
    """Reads, compiles and runs a network as a matcher would. Raises ModelError as `read_network`."""
    import openvino

    from imagematch.extractors.engines.openvino import OpenVinoEngine

    core, size, dim = openvino.Core(), int(image_size), int(feature_dim)
    model = read_network(core, Path(folder), digest, image_size=size, feature_dim=dim)
    engine = OpenVinoEngine(core, model, "float32", dim)
    _RUNNING.append(engine)
    half = max(1, size // 2)
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    engine.run([image] * engine.batch_size + [image[:half, :half]])
