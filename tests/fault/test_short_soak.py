"""The long studies of `test_long_studies`, short enough to run each time; memory: `unit/training/test_graph_memory`."""

from pathlib import Path

from tests.fault.conftest import Start
from tests.fault.shared_studies import assert_sound, finish, kill_at_random_moments, seconds_to_resume, trials_in
from tests.postgres import Server

from imagematch.tuning import attributes

TRIALS = 20


def test_a_study_that_is_killed_three_times_loses_nothing(tmp_path: Path, quick: Start) -> None:
    finished = kill_at_random_moments(tmp_path, quick, kills=3, trials=TRIALS)
    assert finished
    seconds_to_resume(tmp_path, quick, trials=TRIALS)
    trials = finish(tmp_path, quick, trials=TRIALS)
    assert {number: trials[number].value for number in finished} == finished
    assert_sound(trials, planned=TRIALS, processes=1)


def test_two_workers_on_postgresql(server: Server, quick: Start) -> None:
    process = quick(server.url, "--trials", str(TRIALS), "--workers", "2", "--sampler", "random")
    _, stderr = process.communicate(timeout=600)
    assert (process.returncode, stderr) == (0, "")
    trials = trials_in(server.url)
    assert_sound(trials, planned=TRIALS, processes=2)
    assert not [t for t in trials if t.state.name == "FAIL" and not attributes.is_duplicate(t)]
