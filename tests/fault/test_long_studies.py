"""Long studies under duress, with the figures they come to: `make soak`, some fifteen minutes on 2 cores."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.conftest import ROOT
from tests.fault.conftest import Start
from tests.fault.shared_studies import (
    assert_sound,
    drawn_twice,
    finish,
    kill_at_random_moments,
    processes_of,
    seconds_to_resume,
    trials_in,
)
from tests.postgres import Server

from imagematch.tuning import attributes

pytestmark = pytest.mark.soak

KILLS, TRIALS = 100, 60
MEMORY_STUDY = """\
study_name: memory
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [8, 16, 32]
intermediate_ff_block_units_grid: [[], [16], [32], [64]]
learning_rate_range: {low: 0.0001, high: 0.01, log: true}
epochs: 1
n_trials: 200
rerun_top_k: 0
"""


def test_kill_9_at_random_moments(tmp_path: Path, quick: Start) -> None:
    finished = kill_at_random_moments(tmp_path, quick, kills=KILLS, trials=TRIALS)
    resumed = [seconds_to_resume(tmp_path, quick, trials=TRIALS) for _ in range(5)]
    trials = finish(tmp_path, quick, trials=TRIALS)
    assert {number: trials[number].value for number in finished} == finished
    assert_sound(trials, planned=TRIALS, processes=1)
    imports = imports_s()
    print(f"\n{KILLS} kills; {len(finished)} of {TRIALS} trials were finished between them, none lost, none done twice")
    print(f"resumed after {statistics.median(resumed):.1f} s (median), {max(resumed):.1f} s at most", end="")
    print(f"; {imports:.1f} s of them are imports")
    assert max(resumed) < 5 + imports


def imports_s() -> float:
    """What starting Python and importing what the study's parent needs takes."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tests.quick_study, optuna, sqlalchemy"], cwd=ROOT, check=True)
    return time.monotonic() - started


def test_eight_workers_on_postgresql(server: Server, quick: Start) -> None:
    started = time.monotonic()
    process = quick(server.url, "--trials", "200", "--workers", "8", "--sampler", "random")
    _, stderr = process.communicate(timeout=900)
    assert (process.returncode, stderr) == (0, "")
    trials = trials_in(server.url)
    assert_sound(trials, planned=200, processes=8)
    failed = [t for t in trials if t.state.name == "FAIL" and not attributes.is_duplicate(t)]
    assert not failed
    told = f"{drawn_twice(trials)} points drawn twice at a time, {len(failed)} errors"
    print(f"\n200 trials of 8 workers in {time.monotonic() - started:.0f} s: {told}")


def test_eight_processes_on_postgresql_one_killed(server: Server, quick: Start) -> None:
    options = ("--trials", "200", "--sampler", "random")
    doomed, *processes = (quick(server.url, *options, trial_s=0.2) for _ in range(8))
    time.sleep(20)
    doomed.kill()
    doomed.communicate()
    outputs = [process.communicate(timeout=900) for process in processes]
    assert [(process.returncode, stderr) for process, (_, stderr) in zip(processes, outputs, strict=True)] == [
        (0, "")
    ] * 7
    trials = trials_in(server.url)
    assert_sound(trials, planned=200, processes=8)
    assert processes_of(trials) > 4
    print(f"\n200 trials of eight processes, one killed: {drawn_twice(trials)} points drawn twice at a time")


def used_mb(parent: psutil.Process) -> float:
    """What a process and its children hold by themselves."""
    return sum(one.memory_full_info().uss for one in (parent, *parent.children(recursive=True))) / 2**20


def test_memory_over_two_hundred_trials(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(MEMORY_STUDY)
    command = [sys.executable, str(ROOT / "hpt.py"), "--hpt-config-filepath", "study.yaml"]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=nowhere, text=True) as process:
        parent = psutil.Process(process.pid)
        assert process.stdout is not None
        held = [used_mb(parent) for line in process.stdout if line.startswith("trial ")]
    assert process.returncode == 0
    assert len(held) >= 200
    early, late = statistics.median(held[10:30]), statistics.median(held[-20:])
    print(f"\nparent and worker: {early:.0f} MB by trial 30, {late:.0f} MB at the end, {max(held):.0f} MB at most")
    assert late - early < 100
