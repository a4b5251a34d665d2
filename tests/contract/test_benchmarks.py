"""Benchmarks print what `--json` promises, at sizes of a few seconds each."""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent

TINY = {
    "features": ["--images", "20", "--extractor", "small_cnn"],
    "study": ["--images", "100", "--trials", "1", "--extractor", "pixels"],
    "head_epoch": ["--images", "256"],
    "memory": ["--trials", "2"],
    "evaluation": ["--rounds", "1"],
    "interval_coverage": ["--classes", "5", "--draws", "2"],
    "losses": ["--loss", "triplet_offline"],
    "retrieval": [],
    "gallery": [],
    "serving": ["--extractor", "pixels", "--seconds", "0.2", "--gallery", "500", "--bad", "40"],
    "decoding": [],
}
SIZES = {
    "memory": "memory.SIZES = (1_000, 2_000)",
    "evaluation": "evaluation.SIZE, evaluation.DIM, evaluation.CLASSES, evaluation.MANY_CLASSES = 200, 8, 5, (20,)",
    "interval_coverage": "interval_coverage.POPULATION = 10_000",
    "retrieval": "retrieval.COUNT, retrieval.QUERIES, retrieval.CENTRES = 3_000, 20, 50",
    "gallery": "gallery.COUNT, gallery.QUERIES, gallery.AT_ONCE = 2_000, 3, 500",
    "decoding": "decoding.PIXELS_A_ROUND, decoding.ROUNDS, decoding.LARGE, decoding.NETWORK = 1, 1, (1200, 900), "
    "'small_cnn'; decoding.FILES, decoding.SIZES = {'small': 2}, {'small': (640, 480)}",
    "losses": "losses.BATCHES, losses.ROUNDS, losses.IMAGES_PER_TURN = (32, 64), 1, 64",
}
"""Sizes that no option sets."""


@functools.cache
def printed(name: str) -> dict[str, Any]:
    program = ["-c", f"import {name}; {SIZES[name]}; {name}.main()"] if name in SIZES else [f"{name}.py"]
    command = [sys.executable, *program, "--json", *TINY[name]]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_json_is_one_object_of_flat_numbers(name: str) -> None:
    found = printed(name)
    assert found["name"] == name
    assert found["ratios"]
    for group in ("ratios", "seconds"):
        assert all(isinstance(value, int | float) for value in found[group].values()), found[group]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "group", "keys"),
    [
        (
            "memory",
            "megabytes",
            {"peak_mb_1000", "peak_mb_2000", "growth_mb_per_trial"}
            | {f"{what}_peak_mb_2000" for what in ("duplicates", "search")},
        ),
        (
            "retrieval",
            "ratios",
            {
                f"{kind} {what}"
                for kind in ("flat", "hnsw", "ivfpq")
                for what in ("memory to vectors", "to bare faiss", "recall@10", "bare recall@10")
            },
        ),
        (
            "retrieval",
            "seconds",
            {f"{kind} {what}" for kind in ("flat", "hnsw", "ivfpq") for what in ("build", "search", "bare faiss")},
        ),
    ],
)
def test_what_is_measured_is_named(name: str, group: str, keys: set[str]) -> None:
    assert set(printed(name)[group]) == keys


def test_the_offline_loss_is_timed_on_triplets() -> None:
    spec = importlib.util.spec_from_file_location("timed_losses", ROOT / "benchmarks" / "losses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    features, labels = module.labelled_features(256, triplets=True)
    assert features.shape == (*labels.shape, module.FEATURE_DIM)
    assert labels.shape[1] == 255
    anchors, positives, negatives = np.moveaxis(labels.reshape(len(labels), -1, 3), 2, 0)
    assert (anchors == positives).all()
    assert (anchors != negatives).all()
    assert module.labelled_features(256)[0].shape == (8, 256, module.FEATURE_DIM)
