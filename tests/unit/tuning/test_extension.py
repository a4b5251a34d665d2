"""What a study keeps of its own: the points it starts from, and its trials when its search space changes."""

import contextlib
import itertools
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.unit.tuning.fakes import FakeTrainer, work

from imagematch.config import StudySettings, TrainSettings, parse_study
from imagematch.errors import ConfigError, StudyError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.reporting.studies import state_counts, what_happened
from imagematch.tuning import attributes, choose_winner, extend_study, open_study, working_on
from imagematch.tuning.attributes import CONFIG_DIGEST, ENDED, OUTSIDE, STARTING_POINTS, TRIAL_INDEX, WINNER
from imagematch.tuning.plan import Plan

LINEAR = {"loss": "nt_xent", "split_by": "class"}


def settings_of(**values: Any) -> StudySettings:
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "epochs": 1, "n_trials": 6}
    return parse_study({**base, "rerun_top_k": 2, "rerun_seeds": 1, **values})


# ---- what it starts from


def test_the_points_are_settled_when_the_study_is_made(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("experiment_name: x\ndataset: digits\nembedding_dim: 8\n")
    settings = settings_of(embedding_dim_grid=[4, 8], start_from=[str(file)])
    open_study(settings, Layout(tmp_path))
    file.unlink()
    assert open_study(settings, Layout(tmp_path)).user_attrs[STARTING_POINTS] == [{"embedding_dim": 8}]


def test_a_point_that_is_not_there_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        open_study(settings_of(embedding_dim_grid=[4, 8], start_from=["nowhere"]), Layout(tmp_path))
    assert not list(tmp_path.rglob("*.db"))


def test_a_study_of_an_earlier_version_goes_on_without_recipes(tmp_path: Path) -> None:
    settings, layout = settings_of(**LINEAR, learning_rate_grid=[3e-4, 1e-3]), Layout(tmp_path)
    assert open_study(settings, layout).user_attrs[STARTING_POINTS] == [{"learning_rate": 3e-4}]
    with contextlib.closing(sqlite3.connect(layout.study_database("s"))) as base, base:
        base.execute("DELETE FROM study_user_attributes WHERE key = ?", (STARTING_POINTS,))
    assert STARTING_POINTS not in open_study(settings, layout).user_attrs


# ---- its trials in a changed space

NARROW: dict[str, Any] = {"embedding_dim_grid": [4, 8], "learning_rate_grid": [1e-3, 1e-2]}


def value_of(settings: TrainSettings, seed: int) -> float:
    return settings.embedding_dim + settings.learning_rate + seed / 1000


def run(folder: Path, **values: Any) -> optuna.Study:
    """Works on the study as far as these settings go."""
    settings = settings_of(**values)
    study = open_study(settings, Layout(folder))
    work(study, settings, FakeTrainer(value_of), folder)
    choose_winner(study, settings, SILENT)
    return study


def extend(folder: Path, **values: Any) -> None:
    extend_study(settings_of(**values), Layout(folder))


def stored(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What may not change: all but how parameters are stored."""
    return [
        (t.number, t.state, t.values, t.intermediate_values, t.user_attrs[TRIAL_INDEX], t.datetime_complete)
        for t in study.trials
    ]


def chosen(study: optuna.Study) -> dict[str, Any]:
    return study.trials[study.user_attrs[WINNER]].params


WIDER = {
    "a longer grid": {"embedding_dim_grid": [2, 8, 4, 16], "learning_rate_grid": [1e-3, 1e-2]},
    "a range for a grid": {
        "embedding_dim_range": {"low": 2, "high": 16},
        "learning_rate_range": {"low": 1e-4, "high": 1e-1, "log": True},
    },
    "another field": {**NARROW, "embedding_dim_grid": [4, 8, 16], "optimizer_grid": ["sgd", "adam"]},
}


@pytest.mark.parametrize(
    ("sampler", "change"),
    [("tpe", "a longer grid"), ("grid", "a longer grid"), ("cmaes", "a range for a grid"), ("qmc", "another field")],
)
def test_a_finished_study_goes_on_in_a_wider_space(tmp_path: Path, sampler: str, change: str) -> None:
    wider = WIDER[change]
    before = run(tmp_path, **NARROW, sampler=sampler, n_trials=4)
    old, params = stored(before), [t.params for t in before.trials]
    with pytest.raises(StudyError, match=r"the study searches something else: .*--extend"):
        run(tmp_path, **wider, sampler=sampler, n_trials=8)
    extend(tmp_path, **wider, sampler=sampler)
    after = run(tmp_path, **wider, sampler=sampler, n_trials=8)
    assert stored(after)[: len(old)] == old
    for trial, had in zip(after.trials, params, strict=False):
        assert {field: trial.params[field] for field in had} == had
    counted = attributes.counted(after.trials)
    assert len(counted) == 8
    assert len({t.user_attrs[CONFIG_DIGEST] for t in counted}) == 8, "none was trained again"
    best = max(counted, key=lambda t: t.value or 0)
    assert chosen(after) == best.params


def test_what_the_space_has_no_more_is_set_aside_and_comes_back(tmp_path: Path) -> None:
    study = run(tmp_path, **NARROW, n_trials=4)
    assert chosen(study)["embedding_dim"] == 8
    less: dict[str, Any] = {"embedding_dim_grid": [2, 4], "learning_rate_grid": [1e-3, 1e-2]}
    extend(tmp_path, **less)
    study = run(tmp_path, **less, n_trials=4)
    aside = [t for t in study.trials if OUTSIDE in t.user_attrs]
    assert {t.user_attrs[OUTSIDE]["embedding_dim"] for t in aside} == {8}
    assert len(attributes.counted(study.trials)) == 4
    assert chosen(study)["embedding_dim"] == 4
    assert state_counts(study)["set aside"] == len(aside) == 2
    assert "set aside: the search space has embedding_dim 8, learning_rate" in what_happened(aside[0])
    wide = {**less, "embedding_dim_grid": [8, 4, 2]}
    extend(tmp_path, **wide)
    study = run(tmp_path, **wide)
    assert not any(OUTSIDE in t.user_attrs for t in study.trials)
    assert chosen(study)["embedding_dim"] == 8


def test_a_field_that_is_fixed_keeps_the_trials_of_its_value(tmp_path: Path) -> None:
    run(tmp_path, **NARROW, n_trials=4)
    fixed: dict[str, Any] = {"embedding_dim_grid": [4, 8, 16], "learning_rate": 1e-2}
    extend(tmp_path, **fixed)
    study = run(tmp_path, **fixed, n_trials=3)
    assert {t.params["embedding_dim"] for t in attributes.counted(study.trials)} == {4, 8, 16}
    assert sum(OUTSIDE in t.user_attrs for t in study.trials) == 2


def test_a_field_without_effect_stays_so(tmp_path: Path) -> None:
    blocks: dict[str, Any] = {"intermediate_ff_block_units_grid": [[], [8]], "dropout_grid": [0.2]}
    run(tmp_path, **blocks, n_trials=2)
    more = {"intermediate_ff_block_units_grid": [[16], [8], []], "dropout_grid": [0.4, 0.2]}
    extend(tmp_path, **more)
    study = run(tmp_path, **more, n_trials=5)
    assert not any(OUTSIDE in t.user_attrs for t in study.trials)
    assert {len(t.params) for t in study.trials if t.params["intermediate_ff_block_units"] == "[]"} == {1}


def test_a_search_that_had_stagnated_is_given_new_trials(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"stop_after_stagnation": 1, "n_trials": 40, "sampler": "grid", "rerun_top_k": 0}
    rates = {"learning_rate_grid": [1e-3, 2e-3, 3e-3, 4e-3]}
    study = run(tmp_path, **rates, embedding_dim_grid=[4, 8], **limits)
    assert study.user_attrs[ENDED] == "the last 1 trials were no better than one before them"
    before = len(attributes.counted(study.trials))
    wider = {**rates, "embedding_dim_grid": [1, 2, 3, 4, 8], **limits}
    extend(tmp_path, **wider)
    assert study.user_attrs[ENDED] == ""
    study = run(tmp_path, **wider)
    assert before < len(attributes.counted(study.trials)) < 20
    assert study.user_attrs[ENDED]


def test_a_trial_that_was_cut_off_is_queued_in_the_new_space(tmp_path: Path) -> None:
    settings = settings_of(**NARROW, n_trials=4)
    study = open_study(settings, Layout(tmp_path))
    planned = Plan(study, settings, SILENT).next_trial()
    assert planned is not None
    wider = {**NARROW, "embedding_dim_grid": [16, 8, 4]}
    extend(tmp_path, **wider)
    study = open_study(settings_of(**wider), Layout(tmp_path))
    again = Plan(study, settings_of(**wider), SILENT).next_trial()
    assert again is not None
    assert (again.index, again.trial.params, again.settings) == (0, planned.trial.params, planned.settings)


def test_what_extending_cannot_do_changes_nothing(tmp_path: Path) -> None:
    study = run(tmp_path, **NARROW, n_trials=2, rerun_top_k=0)
    before = contents(study, tmp_path)
    for changed, says in (
        ({"epochs": 7}, "--extend changes what is searched, and here more differs: epochs: fixed 1 became fixed 7"),
        ({"seed": 3}, "more differs: seed: 0 became 3"),
        ({"objective": "val_roc_auc"}, "more differs: objective"),
        ({"embedding_dim_grid": [16, 32]}, "no trial is in the new space: embedding_dim: choices 4, 8 became"),
    ):
        with pytest.raises(StudyError, match=says):
            extend(tmp_path, **{**NARROW, **changed})
    with (
        working_on(study, Layout(tmp_path), StopRequest()),
        pytest.raises(StudyError, match="another process works on this study"),
    ):
        extend(tmp_path, **{**NARROW, "embedding_dim_grid": [4, 8, 16]})
    extend(tmp_path, **NARROW)
    assert contents(study, tmp_path) == before


def contents(_: optuna.Study, folder: Path) -> list[str]:
    """Everything in the file but when it was opened."""
    with contextlib.closing(sqlite3.connect(Layout(folder).study_database("s"))) as base:
        return list(base.iterdump())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process of this one")
def test_a_kill_at_any_statement_leaves_the_study_as_it_was_or_extends_it(tmp_path: Path) -> None:
    study = run(tmp_path, **NARROW, n_trials=2)
    before = contents(study, tmp_path)
    wider = {**NARROW, "embedding_dim_grid": [16, 8, 4]}
    for statement in itertools.count():
        child = os.fork()
        if not child:
            killing(statement)
            extend(tmp_path, **wider)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not status:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert contents(study, tmp_path) == before
    assert statement > 5
    assert len(attributes.counted(run(tmp_path, **wider, n_trials=3, rerun_top_k=0).trials)) == 3


def killing(statement: int) -> None:
    """Kills this process before it sends the writing statement of this number, or the commit after the last one."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    sent = itertools.count()

    def look(*arguments: Any) -> None:
        writes = len(arguments) < 3 or not str(arguments[2]).lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if writes and next(sent) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", look)
    event.listen(Engine, "commit", look)
