"""Reading all trials at once gives what Optuna's own storage gives."""

import gc
import math

import optuna
import pytest
from sqlalchemy import event
from tests.large_study import NAME, make_study

from imagematch.tuning.sound_storage import BulkReadingStorage
from imagematch.tuning.storage import open_storage, sqlite_url


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The URL of a study of sixty trials, and of a second one with odd values and two objectives."""
    path = tmp_path_factory.mktemp("studies") / "large.db"
    make_study(path, 60)
    odd = optuna.create_study(study_name="odd", storage=sqlite_url(path), directions=["minimize", "maximize"])
    kinds = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        "k": optuna.distributions.CategoricalDistribution([1, "a"]),
    }
    complete = optuna.trial.create_trial(
        values=[1.0, -math.inf],
        params={"x": 0.5, "k": "a"},
        distributions=kinds,
        user_attrs={"noted": {"deep": [1, None]}},
        system_attrs={"system": 1},
    )
    odd.add_trial(complete)
    odd.enqueue_trial({"x": 0.25})
    odd.ask()
    single = optuna.create_study(study_name="single", storage=sqlite_url(path))
    trial = single.ask()
    for step, value in enumerate((1.5, math.inf, -math.inf)):
        trial.report(value, step)
    return sqlite_url(path)


@pytest.mark.parametrize("study", [NAME, "odd", "single"])
def test_trials_are_those_that_optuna_reads(made, study):
    plain, bulk = optuna.storages.RDBStorage(made), BulkReadingStorage(made)
    study_id = plain.get_study_id_from_name(study)
    expected = plain.get_all_trials(study_id)
    assert expected
    assert bulk.get_all_trials(study_id) == expected
    assert [list(t.params) for t in bulk.get_all_trials(study_id)] == [list(t.params) for t in expected]


def test_a_value_that_is_no_number_comes_back_as_it_was(made):
    bulk = BulkReadingStorage(made)
    study = optuna.create_study(study_name="nan", storage=bulk)
    study.ask().report(math.nan, 3)
    (trial,) = bulk.get_all_trials(study._study_id)
    assert math.isnan(trial.intermediate_values[3])


def test_outlines_count_and_rank_as_whole_trials_do(made):
    storage = open_storage(made)
    whole = {trial.number: trial for trial in storage.get_all_trials(1, deepcopy=False)}
    outlined = storage.outlined_trials(1, ("duplicate_of", "reason"))
    assert [trial.number for trial in outlined] == sorted(whole)
    assert any("duplicate_of" in trial.user_attrs for trial in outlined)
    for trial in outlined:
        there = whole[trial.number]
        assert (trial.state, trial.values) == (there.state, there.values)
        wanted = {name: value for name, value in there.user_attrs.items() if name in ("duplicate_of", "reason")}
        assert trial.user_attrs == wanted


def test_the_number_of_queries_does_not_grow_with_the_trials(made):
    bulk = BulkReadingStorage(made)
    asked = []
    event.listen(bulk.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    bulk.get_all_trials(1, deepcopy=False)
    assert len(asked) <= 10


def test_the_garbage_collector_is_left_as_it_was(made):
    bulk = BulkReadingStorage(made)
    assert gc.isenabled()
    bulk.get_all_trials(1)
    assert gc.isenabled()
