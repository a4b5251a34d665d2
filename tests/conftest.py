"""What tests of whole commands share: running one as a user does, and a small study that is there to be looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL_STUDY = """\
study_name: small
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [8, 16]
intermediate_ff_block_units_grid: [[], [32]]
dropout: 0.1
epochs: 3
n_trials: 3
rerun_top_k: 2
rerun_seeds: 1
"""


def run_command(*arguments: str | Path, cwd: Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` in `cwd`; a script is looked for at the top of the repository."""
    first, *rest = (str(argument) for argument in arguments)
    script = [str(ROOT / first)] if first.endswith(".py") else [first]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, *script, *rest],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(name="command")
def command_fixture(tmp_path: Path) -> Run:
    """Runs a command in the test's own folder."""

    def run(*arguments: str | Path, **options: float) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, cwd=tmp_path, **options)

    return run


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small study on the digits has been run by `hpt.py`; not to be changed."""
    folder = tmp_path_factory.mktemp("small_study")
    (folder / "study.yaml").write_text(SMALL_STUDY)
    done = run_command("hpt.py", "--hpt-config-filepath", "study.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder
