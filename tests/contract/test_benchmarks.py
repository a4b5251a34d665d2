"""Benchmarks print what `--json` promises, at sizes of a few seconds each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

TINY = {
    "features": ["--images", "20", "--extractor", "small_cnn"],
    "study": ["--images", "100", "--trials", "1", "--extractor", "pixels"],
    "head_epoch": ["--images", "256"],
    "memory": ["--trials", "2"],
    "evaluation": ["--rounds", "1"],
}
SIZES = {
    "memory": "memory.SIZES = (1_000, 2_000)",
    "evaluation": "evaluation.SIZE, evaluation.DIM, evaluation.CLASSES = 200, 8, 5",
}
"""Sizes that no option sets."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_json_is_one_object_of_flat_numbers(name: str) -> None:
    program = ["-c", f"import {name}; {SIZES[name]}; {name}.main()"] if name in SIZES else [f"{name}.py"]
    command = [sys.executable, *program, "--json", *TINY[name]]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == name
    assert found["ratios"]
    for group in ("ratios", "seconds"):
        assert all(isinstance(value, int | float) for value in found[group].values()), found[group]
