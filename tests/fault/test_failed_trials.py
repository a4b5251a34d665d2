"""Trials that come to nothing fail with a reason and cost nothing else: the study has its trials all the same."""

from pathlib import Path

import pytest
from tests.fault.conftest import Start
from tests.fault.shared_studies import assert_sound, trials_in

from imagematch.tuning import attributes


@pytest.mark.parametrize(
    ("variable", "reason", "tries"),
    [("QUICK_NAN_DIM", "not a number", 1), ("QUICK_DEAD_DIM", "signal 9): out of memory", 2)],
)
def test_a_trial_that_fails_costs_one_trial(
    variable: str, reason: str, tries: int, quick: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that kills its worker has a second try, and no third."""
    monkeypatch.setenv(variable, "16")
    url = f"sqlite:///{tmp_path}/kept.db"
    process = quick(url, "--trials", "8", "--workers", "2", "--sampler", "random")
    stdout, stderr = process.communicate(timeout=600)
    assert (process.returncode, stderr) == (0, "")
    trials = trials_in(url)
    assert_sound(trials, planned=8, processes=2)
    doomed = [t for t in trials if t.params["embedding_dim"] == 16 and not attributes.is_duplicate(t)]
    assert doomed, "the seed drew some"
    assert {t.state.name for t in doomed} == {"FAIL"}
    for trial in doomed:
        assert reason in trial.user_attrs[attributes.REASON]
    assert stdout.count("failed: ") * tries == len(doomed)
    indices = [t.user_attrs[attributes.TRIAL_INDEX] for t in trials]
    assert sorted(set(indices)) == list(range(len(set(indices)))), "the plan goes on"
    assert all(indices.count(t.user_attrs[attributes.TRIAL_INDEX]) == tries for t in doomed)


def test_images_that_are_gone_end_the_search_after_three_trials_and_leave_none_running(
    quick: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/kept.db"
    first = quick(url, "--trials", "2", "--sampler", "random")
    assert first.wait(timeout=600) == 0
    monkeypatch.setenv("QUICK_GONE_DIM", "16")
    process = quick(url, "--trials", "60", "--workers", "2", "--sampler", "random", trial_s=0.6)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 3
    assert stderr == "error: here: the images are gone; bring them back\n"
    trials = trials_in(url)
    gone = [t for t in trials if "gone" in t.user_attrs.get(attributes.REASON, "")]
    assert len(gone) == 3
    assert not [t for t in trials if t.state.name == "RUNNING"]
    cut = [t for t in trials if "queued again" in t.user_attrs.get(attributes.REASON, "")]
    waiting = [t for t in trials if t.state.name == "WAITING"]
    assert len(waiting) == len(cut) <= 1, "what the other worker was at is queued again"
    monkeypatch.delenv("QUICK_GONE_DIM")
    again = quick(url, "--trials", "60", "--workers", "2", "--sampler", "random")
    assert again.wait(timeout=600) == 0
    assert_sound(trials_in(url), planned=60, processes=2)
