"""What a network file is, in one page: its inputs, its preprocessing, its features, its speed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from imagematch.events import SILENT, RunLog
from imagematch.extractors.engines.choice import lower_precisions, open_engine
from imagematch.extractors.engines.conversion import sample_images
from imagematch.extractors.extractor import make_extractor
from imagematch.extractors.network_files import NetworkFile, open_network_file

_TIMED_IMAGES = 64


def check_network_file(name: str, given: Mapping[str, Any] | None = None, log: RunLog = SILENT) -> dict[str, Any]:
    """What `imagematch extractors check` prints, by line; `speed` is measured here, with all processors.

    Raises:
        ConfigError: its preprocessing is not known.
        ModelError: it is no network that imagematch runs.
    """
    file = open_network_file(name, given)
    facts, settings = file.facts, file.settings
    wanted = {"weights": "imagenet", "image_size": None, "trainable": False, "seed": 0}
    extractor = make_extractor(SimpleNamespace(feature_extractor=name, input=given, **wanted))
    speeds, one_image = {}, 0.0
    images = sample_images(_TIMED_IMAGES, min(extractor.image_size, 256))
    for precision in ("float32", *(one for one in lower_precisions() if one != "int8")):
        engine = open_engine(extractor, "auto", precision, None, log)
        engine.run(images[: engine.batch_size + 1])
        started = time.perf_counter()
        engine.run(images)
        speeds[engine.precision] = len(images) / (time.perf_counter() - started)
        if precision == "float32":
            started = time.perf_counter()
            engine.run(images[:1])
            one_image = time.perf_counter() - started
    unclear = file.remarks + _of_outputs(file)
    return {
        "file": str(file.path),
        "digest": file.digest,
        "input": facts["inputs"],
        "outputs": facts["outputs"],
        "features": f"{facts['feature_dim']:,} numbers: {facts['output']}, pooling {facts['pooling']}",
        "image_size": f"{facts['image_size']} px, {facts['layout']}, {settings['channels']}, {_framed(settings)}",
        "preprocessing": "(pixel * {scale:.6g} - {mean}) / {std}, from ".format(**settings) + file.source,
        "parameters": f"{facts['parameters']:,}",
        "one_image": f"{1000 * one_image:.1f} ms in float32",
        "speed": [f"{speed:,.0f} images/s in {precision}" for precision, speed in speeds.items()],
        "unclear": unclear or ["nothing"],
    }


def _framed(settings: Mapping[str, Any]) -> str:
    share = f" of {settings['crop_share']:.3g} of the shorter side" if settings["crop"] == "center" else ""
    return f"crop {settings['crop']}{share}, {settings['interpolation']}"


def _of_outputs(file: NetworkFile) -> list[str]:
    """Of the outputs what is taken, and how it is pooled."""
    remarks = []
    output, count = file.facts["output"], len(file.facts["outputs"])
    if file.facts["pooling"] != "none":
        remarks.append(f"{output} is pooled by {file.facts['pooling']}: give input: {{pooling: ...}} for another")
    if count > 1:
        remarks.append(f"of {count} outputs {output} is taken: give input: {{output: NAME}} for another")
    return remarks
