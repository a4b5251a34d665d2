"""Trials of dead processes are failed and queued again, once, at their place."""

import os
import socket

import optuna
from optuna.trial import TrialState

from imagematch.tuning import attributes
from imagematch.tuning.recovery import alive, queue, recover, this_process
from imagematch.tuning.samplers import derived_seed


def running_trial(study: optuna.Study, *, owner: dict[str, object], drawn: bool = True) -> optuna.Trial:
    queue(study, attributes.next_index(study.trials), {})
    trial = study.ask()
    trial.set_user_attr(attributes.OWNER, owner)
    trial.suggest_categorical("a", ["x", "y"])
    if drawn:
        trial.set_user_attr(attributes.CONFIG_DIGEST, "point")
    return trial


def dead() -> dict[str, object]:
    return {**this_process(), "started": 1.0}


def test_a_dead_trial_is_failed_and_queued_at_its_place() -> None:
    study = optuna.create_study()
    trial = running_trial(study, owner=dead())
    assert recover(study) == [(0, False)]
    first, again = study.trials
    assert first.state == TrialState.FAIL
    assert attributes.REASON in first.user_attrs
    assert again.state == TrialState.WAITING
    assert again.user_attrs[attributes.TRIAL_INDEX] == first.user_attrs[attributes.TRIAL_INDEX] == 0
    assert again.user_attrs[attributes.RETRY_OF] == 0
    retried = study.ask()
    assert retried.suggest_categorical("a", ["x", "y"]) == trial.params["a"]


def test_a_recovery_can_be_repeated() -> None:
    study = optuna.create_study()
    running_trial(study, owner=dead())
    recover(study)
    assert recover(study) == []
    assert len(study.trials) == 2


def test_a_living_process_and_another_host_are_left_alone() -> None:
    study = optuna.create_study()
    running_trial(study, owner=this_process())
    running_trial(study, owner={**dead(), "host": "elsewhere"})
    assert recover(study, ours=[0]) == []
    assert alive(study) == [1]
    assert {t.state for t in study.trials} == {TrialState.RUNNING}


def test_what_this_process_runs_without_knowing_is_queued_again() -> None:
    study = optuna.create_study()
    running_trial(study, owner=this_process())
    assert recover(study, ours=[]) == [(0, False)]


def test_what_this_process_runs_is_never_taken_for_abandoned() -> None:
    """Whatever the clock, the host's name or a heartbeat say meanwhile."""
    study = optuna.create_study()
    for owner in (dead(), {"host": socket.gethostname(), "pid": os.getpid(), "started": 1.0}):
        running_trial(study, owner=owner)
    assert recover(study, ours=[0, 1]) == []
    assert recover(study) == [(0, False), (1, False)]


def test_a_trial_cut_off_before_its_parameters_keeps_its_place_only() -> None:
    study = optuna.create_study()
    running_trial(study, owner=dead(), drawn=False)
    recover(study)
    again = study.trials[1]
    assert again.user_attrs[attributes.TRIAL_INDEX] == 0
    assert again.system_attrs["fixed_params"] == {}


def test_places_count_what_was_planned_not_what_was_tried() -> None:
    study = optuna.create_study()
    running_trial(study, owner=dead())
    recover(study)
    assert attributes.next_index(study.trials) == 1


def test_seeds_differ_by_place_and_purpose_and_stay() -> None:
    seeds = {derived_seed(s, p, q) for s in range(3) for p in range(20) for q in range(4)}
    assert len(seeds) == 240


def test_a_trial_that_costs_two_workers_fails_for_good() -> None:
    study, pid = optuna.create_study(), 4_000_000
    running_trial(study, owner={**this_process(), "pid": pid, "started": 1.0})
    assert recover(study, died={pid: "killed"}) == [(0, False)]
    assert "killed; queued again" in study.trials[0].user_attrs[attributes.REASON]
    again = study.ask()
    again.set_user_attr(attributes.OWNER, {**this_process(), "pid": pid, "started": 2.0})
    assert recover(study, died={pid: "killed"}) == [(1, True)]
    assert study.trials[1].user_attrs[attributes.FAILURE] == {"what": "killed"}
    assert len(study.trials) == 2


def test_a_trial_that_was_cut_off_with_its_supervisor_is_queued_again_however_often() -> None:
    study = optuna.create_study()
    running_trial(study, owner=dead())
    for number in range(3):
        assert recover(study) == [(number, False)]
        study.ask().set_user_attr(attributes.OWNER, dead())
