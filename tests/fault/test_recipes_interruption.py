"""The comparison of losses: killed in the middle and started again, it comes to the table it would have had."""

import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from tests.conftest import ROOT, run_command

OPTIONS = ("--losses", "nt_xent", "arcface", "--trials", "1", "--seeds", "2", "--output", "out")
PROGRAM = "benchmarks/recipes.py"


def table(folder: Path) -> pd.DataFrame:
    """What was found, without the time it took."""
    return pd.read_csv(folder / "out" / "recipes.csv").drop(columns="search_minutes")


@pytest.mark.soak  # three whole comparisons
def test_kill_9_and_the_same_command_give_the_same_table(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    done = run_command(PROGRAM, *OPTIONS, cwd=whole)
    assert done.returncode == 0, done.stderr

    process = subprocess.Popen(
        [sys.executable, str(ROOT / PROGRAM), *OPTIONS],
        cwd=cut,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines = iter(process.stdout)
    assert any("loss 2 of 2" in line for line in lines)
    assert any("baseline (" in line for line in lines)
    process.kill()
    process.communicate()
    assert list(table(cut)["recipe"]) == ["nt_xent", "baseline"]

    done = run_command(PROGRAM, *OPTIONS, cwd=cut)
    assert done.returncode == 0, done.stderr
    assert "nt_xent again" in done.stdout
    pd.testing.assert_frame_equal(table(cut), table(whole), check_exact=True)
    storage = f"sqlite:///{cut}/out/hpt_studies/reality_check_nt_xent.db"
    assert len(optuna.load_study(study_name="reality_check_nt_xent", storage=storage).trials) == 1
