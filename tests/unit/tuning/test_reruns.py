"""The winner is the best by the mean over other seeds: of the present best, also with failures and after cuts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.unit.tuning.fakes import FakeTrainer, work

from imagematch.config import StudySettings, TrainSettings, parse_study
from imagematch.errors import InterruptedRunError, StudyError, TrainingFailedError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.reporting import read_study, reruns_table
from imagematch.reporting.studies import rerun_trials
from imagematch.tuning import attributes, choose_winner, delete_study, open_study
from imagematch.tuning.attributes import COMPARED, RERUN_OF, SEED_NUMBER, WINNER
from imagematch.tuning.planned_trial import settings_of as trial_settings
from imagematch.tuning.recovery import queue, recover, this_process
from imagematch.tuning.reruns import open_rerun_study, rerun_values
from imagematch.tuning.storage import open_storage
from imagematch.tuning.tables import study_overviews

Values = dict[int, Sequence[float | None]]
"""embedding_dim of a trial -> its values with the other seeds; None fails."""


def settings_of(**values: Any) -> StudySettings:
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0, "n_trials": 4}
    return parse_study({**base, "embedding_dim_grid": [2, 4, 8, 16], **values})


def study_of(single: dict[int, float], settings: StudySettings, direction: str = "maximize") -> optuna.Study:
    """A finished search: embedding_dim -> value."""
    study = optuna.create_study(study_name="s", direction=direction)
    for index, (dim, value) in enumerate(single.items()):
        study.add_trial(
            optuna.trial.create_trial(
                params={"embedding_dim": dim},
                distributions={"embedding_dim": optuna.distributions.CategoricalDistribution((2, 4, 8, 16))},
                value=value,
                user_attrs={attributes.TRIAL_INDEX: index},
            )
        )
    return study


def run_reruns(study: optuna.Study, settings: StudySettings, values: Values, answers: int | None = None) -> FakeTrainer:
    """Lets a worker train the reruns; a stop is requested after some answers."""
    stop = StopRequest()

    def value_of(train: TrainSettings, seed: int) -> float:
        value = values[train.embedding_dim][seed - 1]
        if answers is not None and len(trainer.trained) >= answers:
            stop.ask(1)
        if value is None:
            raise TrainingFailedError("not a number")
        return value

    trainer = FakeTrainer(value_of)
    work(study, settings, trainer, Path("unused"), stop=stop)
    return trainer


def winner_of(
    study: optuna.Study, settings: StudySettings, values: Values, answers: int | None = None
) -> tuple[int, list[tuple[int, int]]]:
    """The embedding_dim of the winner, and what was trained for it: embedding_dim, number of the seed."""
    trainer = run_reruns(study, settings, values, answers)
    winner = choose_winner(study, settings, SILENT)
    assert winner is not None
    assert study.user_attrs[WINNER] == winner.number
    return winner.params["embedding_dim"], [(train.embedding_dim, seed) for train, seed in trainer.trained]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SINGLE = {2: 0.95, 4: 0.90, 8: 0.85, 16: 0.10}
RUNS: Values = {2: (0.60, 0.62, 0.64), 4: (0.80, 0.79, 0.81), 8: (0.70, 0.99, 0.20)}


def test_the_winner_is_the_best_by_mean_not_the_best_single_trial() -> None:
    settings = settings_of()
    study = study_of(SINGLE, settings)
    trainer = run_reruns(study, settings, RUNS)
    seeds = {train.training_seed for train, _ in trainer.trained}
    assert len(trainer.trained) == len(seeds) == 9
    assert not seeds & {trial_settings(settings, {"embedding_dim": 2}, index).training_seed for index in range(4)}
    winner = choose_winner(study, settings, SILENT)
    assert winner is not None
    assert winner.params["embedding_dim"] == 4


def test_where_small_is_good_the_smallest_mean_wins() -> None:
    settings = settings_of(objective="val_eer")
    study = study_of({2: 0.05, 4: 0.10, 8: 0.15, 16: 0.90}, settings, "minimize")
    assert winner_of(study, settings, {2: (0.4, 0.4, 0.4), 4: (0.2, 0.2, 0.3), 8: (0.3, 0.3, 0.3)})[0] == 4


def test_failed_reruns_rank_last() -> None:
    """Two failures and one 0.901 do not beat three times 0.900: the configuration collapses."""
    settings = settings_of()
    collapses: Values = {2: (0.1, 0.1, 0.1), 4: (None, 0.901, None), 8: (0.9, 0.9, 0.9)}
    assert winner_of(study_of(SINGLE, settings), settings, collapses)[0] == 8
    assert winner_of(study_of(SINGLE, settings), settings, {**RUNS, 4: (0.9, None, 0.7)})[0] == 8
    assert winner_of(study_of(SINGLE, settings), settings, {**RUNS, 4: (None, None, None)})[0] == 8
    one_each: Values = {2: (None, 0.6, 0.7), 4: (0.8, None, 0.9), 8: (0.9, None, None)}
    assert winner_of(study_of(SINGLE, settings), settings, one_each)[0] == 4, "the best mean of the fewest failures"


def test_a_rerun_that_failed_is_not_tried_again() -> None:
    """Else each process that ends the study might try it, with another end, and name another winner."""
    settings = settings_of()
    study = study_of(SINGLE, settings)
    winner, trained = winner_of(study, settings, {**RUNS, 4: (None, 0.79, None)})
    assert (winner, len(trained)) == (8, 9)
    winner, trained = winner_of(study, settings, {**RUNS, 4: (0.1, 0.1, 0.1)})
    assert (winner, trained) == (8, [])


def test_a_rerun_whose_worker_died_is_trained_again() -> None:
    settings = settings_of()
    study = study_of(SINGLE, settings)
    with pytest.raises(InterruptedRunError):
        run_reruns(study, settings, RUNS, answers=1)
    reruns = open_rerun_study(study)
    queue(reruns, 1, {"embedding_dim": 2}, {RERUN_OF: 0, SEED_NUMBER: 2})
    reruns.ask().set_user_attr(attributes.OWNER, {**this_process(), "started": 1.0})
    assert recover(reruns) == [(1, False)]
    winner, trained = winner_of(study, settings, RUNS)
    assert winner == 4
    assert trained == [(2, 2), (2, 3), (4, 1), (4, 2), (4, 3), (8, 1), (8, 2), (8, 3)]


def test_where_all_fail_the_best_single_trial_wins() -> None:
    settings = settings_of()
    assert winner_of(study_of(SINGLE, settings), settings, dict.fromkeys((2, 4, 8), (None,) * 3))[0] == 2


def test_cut_off_in_the_middle_it_goes_on_and_comes_to_the_same() -> None:
    settings = settings_of()
    study = study_of(SINGLE, settings)
    with pytest.raises(InterruptedRunError):
        winner_of(study, settings, RUNS, answers=4)
    winner, trained = winner_of(study, settings, RUNS)
    assert winner == 4
    assert trained == [(4, 2), (4, 3), (8, 1), (8, 2), (8, 3)]
    assert winner_of(study, settings, RUNS)[1] == []


@pytest.mark.parametrize(("top", "seeds"), [(1, 3), (0, 3), (3, 0)])
def test_without_reruns_the_best_single_trial_wins(top: int, seeds: int) -> None:
    settings = settings_of(rerun_top_k=top, rerun_seeds=seeds)
    assert winner_of(study_of(SINGLE, settings), settings, RUNS) == (2, [])


def test_runs_of_earlier_do_not_count_where_none_are_asked_for_any_more() -> None:
    study = study_of(SINGLE, settings_of())
    winner_of(study, settings_of(), RUNS)
    assert len(reruns_table(study)) == 3
    assert winner_of(study, settings_of(rerun_top_k=0), RUNS)[0] == 2
    assert reruns_table(study).empty, "the report lists no runs that the winner was not chosen by"


def test_a_study_that_grew_is_judged_as_if_it_had_been_so_from_the_first() -> None:
    """Runs of trials that are among the best no more, and with more seeds than are asked for, do not count."""
    settings = settings_of(rerun_top_k=2, n_trials=2)
    study = study_of({2: 0.95, 4: 0.90}, settings)
    winner_of(study, settings, RUNS)
    (better,) = study_of({16: 0.93}, settings).trials
    study.add_trial(better)
    fewer = settings_of(rerun_top_k=2, rerun_seeds=2, n_trials=3)
    winner, trained = winner_of(study, fewer, {16: (0.65, 0.66), **RUNS})
    assert winner == 16, "4, which has the best mean of all, is third in the search now"
    assert trained == [(16, 1), (16, 2)]
    assert study.user_attrs[COMPARED] == {"trials": [0, 2], "seeds": 2}
    sibling = optuna.load_study(study_name="s-rerun", storage=study._storage).trials
    assert rerun_values(sibling, study.user_attrs[COMPARED]) == {0: [0.60, 0.62], 2: [0.65, 0.66]}


def test_of_two_runs_with_one_seed_one_counts() -> None:
    runs = [
        optuna.trial.create_trial(value=value, user_attrs={RERUN_OF: 3, SEED_NUMBER: seed})
        for seed, value in ((2, 0.5), (1, 0.4), (2, 0.6))
    ]
    assert rerun_values(runs) == {3: [0.4, 0.6]}


# ---- the rerun study


@pytest.fixture(name="settings")
def settings_fixture(tmp_path: Path) -> StudySettings:
    base = {"study_name": "x", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0}
    return parse_study({**base, "embedding_dim_grid": [2, 4], "storage": f"sqlite:///{tmp_path}/shared.db"})


def names_in(settings: StudySettings) -> list[str]:
    return sorted(optuna.get_all_study_names(open_storage(str(settings.storage))))


def study_of_somebody(settings: StudySettings) -> optuna.Study:
    """A study `x-rerun` with a trial of its own."""
    study = optuna.create_study(study_name="x-rerun", storage=open_storage(str(settings.storage)))
    study.add_trial(optuna.trial.create_trial(value=0.5))
    return study


def test_the_rerun_study_is_hidden_and_goes_with_its_study(settings: StudySettings, tmp_path: Path) -> None:
    study = open_study(settings, Layout(tmp_path))
    reruns = open_rerun_study(study)
    reruns.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={RERUN_OF: 0}))
    assert [trial.value for trial in rerun_trials(study)] == [0.5]
    assert [row.name for row in study_overviews(Layout(tmp_path), settings.storage)] == ["x"]
    assert read_study(str(settings.storage)).study_name == "x"
    delete_study("x", str(settings.storage))
    assert names_in(settings) == []


def test_the_rerun_study_that_an_older_version_left_is_one(settings: StudySettings, tmp_path: Path) -> None:
    study = open_study(settings, Layout(tmp_path))
    older = optuna.create_study(study_name="x-rerun", storage=study._storage)
    older.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={RERUN_OF: 0}))
    assert [row.name for row in study_overviews(Layout(tmp_path), settings.storage)] == ["x"]
    assert len(open_rerun_study(study).trials) == 1
    delete_study("x", str(settings.storage))
    assert names_in(settings) == []


def test_a_study_of_somebody_else_is_shown_and_stays(settings: StudySettings, tmp_path: Path) -> None:
    study_of_somebody(settings)
    alone = settings.model_copy(update={"rerun_top_k": 0})
    study = open_study(alone, Layout(tmp_path))
    assert rerun_trials(study) == []
    assert [row.name for row in study_overviews(Layout(tmp_path), settings.storage)] == ["x", "x-rerun"]
    delete_study("x", str(alone.storage))
    assert names_in(settings) == ["x-rerun"]


def test_where_the_name_is_taken_nothing_is_searched(settings: StudySettings, tmp_path: Path) -> None:
    other = study_of_somebody(settings)
    with pytest.raises(StudyError, match=r"another study is called x-rerun.*rerun_top_k: 0") as refused:
        open_study(settings, Layout(tmp_path))
    assert "\n" not in str(refused.value)
    assert (names_in(settings), len(other.trials)) == (["x-rerun"], 1)
