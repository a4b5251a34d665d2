"""The two scripts at the top, where the package is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT


@pytest.mark.parametrize("script", ["hpt.py", "train.py"])
def test_without_the_package_one_line_says_what_to_do(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / script), "--help"]  # -S: no installed packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (f"error: imagematch is not installed; run `make hpt`, then .venv/bin/python {script} ...\n")
