"""Benchmarks print what `--json` promises, at sizes of a few seconds each."""

import contextlib
import functools
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent

TINY = {
    "pruning": ["--orders", "2", "--draws", "1"],
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
    "peer_search": ["--seeds", "1"],
}
SIZES: dict[str, dict[str, Any]] = {
    "pruning": {"OBJECTIVES": 1},
    "evaluation": {"SIZE": 200, "DIM": 8, "CLASSES": 5, "MANY_CLASSES": (20,)},
    "interval_coverage": {"POPULATION": 10_000},
    "retrieval": {"COUNT": 3_000, "QUERIES": 20, "CENTRES": 50},
    "gallery": {"COUNT": 2_000, "QUERIES": 3, "AT_ONCE": 500},
    "decoding": {
        **{"PIXELS_A_ROUND": 1, "ROUNDS": 1, "LARGE": (1200, 900), "NETWORK": "small_cnn"},
        **{"FILES": {"small": 2}, "SIZES": {"small": (640, 480)}},
    },
    "losses": {"BATCHES": (32, 64), "ROUNDS": 1, "IMAGES_PER_TURN": 64},
}
"""Sizes that no option sets."""
ALONE = {"memory": "memory.SIZES = (1_000, 2_000); ", "study": "", "serving": "", "peer_search": ""}
"""What starts or measures processes, itself among them, and what is set before."""


@functools.cache
def printed(name: str) -> dict[str, Any]:
    arguments = ["--json", *TINY[name]]
    if name in ALONE:
        command = [sys.executable, "-c", f"import {name}; {ALONE[name]}{name}.main()", *arguments]
        done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))
    module, output = importlib.import_module(name), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        patch.chdir(ROOT / "benchmarks")
        for constant, value in SIZES.get(name, {}).items():
            patch.setattr(module, constant, value)
        module.main()
    return dict(json.loads(output.getvalue()))


LONG = {
    "memory": "eight processes",
    "study": "a worker's process and the original's way of training",
    "peer_search": "a whole study",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] if name in LONG else []) for name in TINY]
)
def test_json_is_one_object_of_flat_numbers(name: str) -> None:
    found = printed(name)
    assert found["name"] == name
    assert found["ratios"]
    for group in ("ratios", "seconds"):
        assert all(isinstance(value, int | float) for value in found[group].values()), found[group]


@pytest.mark.parametrize(
    ("name", "group", "keys"),
    [
        pytest.param(
            "memory",
            "megabytes",
            {"peak_mb_1000", "peak_mb_2000", "growth_mb_per_trial"}
            | {f"{what}_peak_mb_2000" for what in ("duplicates", "search")},
            marks=pytest.mark.soak,
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
