"""A server in this process, with a matcher on raw pixels and a gallery in a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from imagematch.data import DECODER_VERSION
from imagematch.extractors import choose_extractor
from imagematch.matching import HeadCard, ProbabilityCard, ProvenanceCard, ThresholdCard, save_matcher
from imagematch.model import build_head
from imagematch.retrieval import Gallery
from imagematch.serving import ServerSettings, create_app

RATES = {
    **{"images": 40, "classes": 4, "genuine_pairs": 90, "impostor_pairs": 600, "far": 0.02, "frr": 0.05},
    **{"far_ci95": (0.01, 0.03), "frr_ci95": None, "resolvable": True, "note": ""},
}
CURVE = [(0.3, 0.001, 0.4), (0.7, 0.01, 0.1), (1.2, 0.1, 0.01)]


def write_matcher(folder: Path, *, seed: int = 1, config: str = "experiment_name: small\n") -> Path:
    """A matcher on 8 x 8 pixels with an untrained head; its threshold is 1."""
    made = choose_extractor(
        SimpleNamespace(feature_extractor="pixels", weights="random", image_size=8, trainable=False, seed=0)
    )
    save_matcher(
        folder,
        name="small",
        extractor=made,
        network=None,
        trained=False,
        head=build_head(made.feature_dim, units=(16,), dropout=0.3, embedding_dim=12, seed=seed),
        config=config,
        embedding={
            **{"image_size": 8, "decoder": DECODER_VERSION, "engine": "numpy", "precision": "float32"},
            "head": HeadCard(units=(16,), whitening=None, embedding_dim=12),
        },
        threshold=ThresholdCard.model_validate(
            {
                **{"distance": 1.0, "criterion": "eer", "chosen_on": "calibration", "rates": RATES},
                "curve": tuple({"distance": d, "far": far, "frr": frr} for d, far, frr in CURVE),
            }
        ),
        probability=ProbabilityCard(
            method="platt", prior=0.5, distances=(), values=(10.0, -10.0), calibration_error=0.01
        ),
        provenance=ProvenanceCard(dataset="made up", seed=0),
        network_dir=None,
    )
    threshold = {"distance": 1.0, "far": 0.021, "frr": 0.06, "fpir": 0.2, "fnir": 0.1}
    curve = [{"distance": 0.6, "fpir": 0.15, "fnir": 0.3}, {"distance": 1.1, "fpir": 0.4, "fnir": 0.05}]
    test = {"roc_auc": 0.9, "threshold": threshold, "threshold_curve": curve}
    (folder / "metrics.json").write_text(json.dumps({"test": test}))
    return folder


def image_file(seed: int, kind: str = "PNG", size: int = 16) -> bytes:
    """An image of random pixels as a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def matcher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matcher; not to be changed."""
    return write_matcher(tmp_path_factory.mktemp("served") / "small")


@pytest.fixture
def gallery_folder(matcher_folder: Path, tmp_path: Path) -> Path:
    """An empty gallery of it."""
    Gallery.create(tmp_path / "gallery", matcher_folder).close()
    return tmp_path / "gallery"


@pytest.fixture
def start(matcher_folder: Path, gallery_folder: Path) -> Iterator[Callable[..., TestClient]]:
    """Starts a server with settings, and gives a client of it."""
    clients = []

    def started(**settings: Any) -> TestClient:
        given = {"model": matcher_folder, "gallery": str(gallery_folder), **settings}
        client = TestClient(create_app(ServerSettings(**given)), base_url="http://127.0.0.1")
        clients.append(client)
        return client.__enter__()

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    """A server as it is by default."""
    return start()
