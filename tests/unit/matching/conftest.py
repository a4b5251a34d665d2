"""A matcher's folder, made without a training."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.data import DECODER_VERSION
from imagematch.events import RunLog
from imagematch.extractors import choose_extractor
from imagematch.matching import HeadCard, ProbabilityCard, ProvenanceCard, ThresholdCard, save_matcher
from imagematch.matching.card_file import sealed
from imagematch.model import build_head

PLATT = ProbabilityCard(method="platt", prior=0.5, distances=(), values=(10.0, -10.0), calibration_error=0.01)


def write_matcher(
    folder: Path,
    *,
    extractor: str | tuple[str, ...] = "pixels",
    image_size: int = 8,
    engine: str = "numpy",
    precision: str = "float32",
    trained: bool = False,
    units: tuple[int, ...] = (16,),
    name: str = "small",
    network_dir: Path | None = None,
    seed: int = 1,
    built: Any = None,
    network_input: dict[str, Any] | None = None,
    **card: Any,
) -> Path:
    """Saves a matcher with an untrained head; the threshold is 1. `trained` says that its network was trained."""
    names = [extractor] if isinstance(extractor, str) else extractor
    weights = ["imagenet" if name.startswith("onnx:") else "random" for name in names]  # its own, inside
    made = choose_extractor(
        SimpleNamespace(
            feature_extractor=extractor,
            weights=weights[0] if isinstance(extractor, str) else weights,
            image_size=image_size,
            trainable=False,
            seed=0,
            input=network_input,
        )
    )
    head = built or build_head(made.feature_dim, units=units, dropout=0.3, embedding_dim=12, seed=seed)
    save_matcher(
        folder,
        name=name,
        extractor=made,
        network=made.build() if trained else None,
        trained=trained,
        head=head,
        config="experiment_name: small\n",
        embedding={
            "image_size": image_size,
            "decoder": DECODER_VERSION,
            "engine": engine,
            "precision": precision,
            "head": HeadCard(units=units, whitening=None, embedding_dim=12),
            **card,
        },
        threshold=ThresholdCard(distance=1.0, criterion={"far": 0.001}, chosen_on="calibration"),
        probability=PLATT,
        provenance=ProvenanceCard(dataset="made up", seed=0),
        network_dir=network_dir,
    )
    return folder


@pytest.fixture(scope="session")
def pixel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matcher on raw pixels; not to be changed."""
    return write_matcher(tmp_path_factory.mktemp("matchers") / "small")


@pytest.fixture
def edit(pixel_folder: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Copies the matcher's folder and lets a function edit its card and seal it again."""

    def edited(change: Callable[[dict[str, Any]], Any]) -> Path:
        folder = tmp_path / "edited"
        folder.mkdir()
        for file in pixel_folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        values = json.loads((folder / "matcher.json").read_text())
        change(values)
        with contextlib.suppress(ValueError):  # a NaN cannot be sealed
            values = sealed(values)
        (folder / "matcher.json").write_text(json.dumps(values))
        return folder

    return edited


@pytest.fixture
def images() -> np.ndarray:
    """Four images (8, 8, 3) uint8."""
    return np.random.default_rng(5).integers(0, 256, (4, 8, 8, 3), np.uint8)


@pytest.fixture
def told() -> tuple[RunLog, Callable[[], str]]:
    """A log, and what it was told so far."""
    stream = io.StringIO()
    return RunLog(stream=stream), stream.getvalue
