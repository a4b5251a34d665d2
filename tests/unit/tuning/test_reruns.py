"""The winner is the best by the mean over other seeds: of the present best, also with failures and after cuts."""

from collections.abc import Iterator, Sequence
from typing import Any

import optuna
import pytest
from imagematch.tuning.rerun import COMPARED, SEED_NUMBER, WINNER, rank_again
from imagematch.tuning.siblings import RERUN_OF
from optuna.trial import FrozenTrial

from imagematch.config import StudySettings, parse_study
from imagematch.errors import InterruptedRunError
from imagematch.events import SILENT
from imagematch.reporting import repeated_runs
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan

Values = dict[int, Sequence[float | None]]
"""embedding_dim of a trial -> what it comes to with the other seeds; None fails."""


class FakeSearch:
    """Answers each training with what `values` has for its embedding_dim; the run goes down after some answers."""

    def __init__(
        self, study: optuna.Study, settings: StudySettings, values: Values, answers: int | None = None
    ) -> None:
        self.plan = Plan(study, settings, SILENT)
        self.trained: list[tuple[int, int]] = []
        self.seeds: set[int] = set()
        self._values = values
        self._answers = answers

    def training_task(self, train: Any, name: str) -> dict[str, Any]:
        self.seeds.add(train.effective_training_seed)
        return {"dim": train.embedding_dim, "seed": int(name.rpartition("-")[2])}

    def call_all(self, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, task in enumerate(tasks):
            if self._answers is not None and len(self.trained) >= self._answers:
                raise InterruptedRunError("interrupted")
            self.trained.append((task["dim"], task["seed"]))
            value = self._values[task["dim"]][task["seed"] - 1]
            failed = {"event": "failed", "reason": "not a number"}
            yield place, failed if value is None else {"event": "done", "values": [value], "figures": {}}


def settings_of(**values: Any) -> StudySettings:
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0, "n_trials": 4}
    return parse_study({**base, "embedding_dim_grid": [2, 4, 8, 16], **values})


def study_of(single: dict[int, float], settings: StudySettings, direction: str = "maximize") -> optuna.Study:
    """A finished search: embedding_dim -> value."""
    study = optuna.create_study(study_name="s", direction=direction)
    for place, (dim, value) in enumerate(single.items()):
        study.add_trial(
            optuna.trial.create_trial(
                params={"embedding_dim": dim},
                distributions={"embedding_dim": optuna.distributions.CategoricalDistribution((2, 4, 8, 16))},
                value=value,
                user_attrs={attributes.TRIAL_INDEX: place},
            )
        )
    return study


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    return attributes.best_of(study.trials, study.directions)


def winner_of(
    study: optuna.Study, settings: StudySettings, values: Values, answers: int | None = None
) -> tuple[int, FakeSearch]:
    """The embedding_dim of the winner, and who trained."""
    search = FakeSearch(study, settings, values, answers)
    winner = rank_again(ranked(study), study, search, settings, SILENT)  # type: ignore[arg-type]
    assert study.user_attrs[WINNER] == winner.number
    return winner.params["embedding_dim"], search


SINGLE = {2: 0.95, 4: 0.90, 8: 0.85, 16: 0.10}
RUNS: Values = {2: (0.60, 0.62, 0.64), 4: (0.80, 0.79, 0.81), 8: (0.70, 0.99, 0.20)}


def test_the_winner_is_the_best_by_mean_not_the_best_single_trial() -> None:
    settings = settings_of()
    winner, search = winner_of(study_of(SINGLE, settings), settings, RUNS)
    assert winner == 4
    assert len(search.trained) == len(search.seeds) == 9
    assert not search.seeds & {search.plan.settings_of({"embedding_dim": 2}, place).training_seed for place in range(4)}


def test_where_small_is_good_the_smallest_mean_wins() -> None:
    settings = settings_of(objective="val_eer")
    study = study_of({2: 0.05, 4: 0.10, 8: 0.15, 16: 0.90}, settings, "minimize")
    assert winner_of(study, settings, {2: (0.4, 0.4, 0.4), 4: (0.2, 0.2, 0.3), 8: (0.3, 0.3, 0.3)})[0] == 4


def test_a_seed_that_fails_is_left_out_and_a_trial_without_any_cannot_win() -> None:
    settings = settings_of()
    assert winner_of(study_of(SINGLE, settings), settings, {**RUNS, 4: (0.9, None, 0.7)})[0] == 4
    assert winner_of(study_of(SINGLE, settings), settings, {**RUNS, 4: (None, None, None)})[0] == 8


def test_a_run_that_failed_is_not_tried_again() -> None:
    """Else each process that ends the study might try it, with another end, and name another winner."""
    settings = settings_of()
    study = study_of(SINGLE, settings)
    winner, search = winner_of(study, settings, {**RUNS, 4: (None, 0.79, None)})
    assert (winner, len(search.trained)) == (4, 9)
    winner, search = winner_of(study, settings, {**RUNS, 4: (0.1, 0.1, 0.1)})
    assert (winner, search.trained) == (4, [])


def test_where_all_fail_the_best_single_trial_wins() -> None:
    settings = settings_of()
    assert winner_of(study_of(SINGLE, settings), settings, dict.fromkeys((2, 4, 8), (None,) * 3))[0] == 2


def test_cut_off_in_the_middle_it_goes_on_and_comes_to_the_same() -> None:
    settings = settings_of()
    study = study_of(SINGLE, settings)
    with pytest.raises(InterruptedRunError):
        winner_of(study, settings, RUNS, answers=4)
    winner, search = winner_of(study, settings, RUNS)
    assert winner == 4
    assert search.trained == [(4, 2), (4, 3), (8, 1), (8, 2), (8, 3)]
    assert winner_of(study, settings, RUNS)[1].trained == []


@pytest.mark.parametrize(("top", "seeds"), [(1, 3), (0, 3), (3, 0)])
def test_without_repeated_runs_the_best_single_trial_wins(top: int, seeds: int) -> None:
    settings = settings_of(rerun_top_k=top, rerun_seeds=seeds)
    winner, search = winner_of(study_of(SINGLE, settings), settings, RUNS)
    assert (winner, search.trained) == (2, [])


def test_runs_of_earlier_do_not_count_where_none_are_asked_for_any_more() -> None:
    study = study_of(SINGLE, settings_of())
    winner_of(study, settings_of(), RUNS)
    assert len(repeated_runs(study)) == 3
    assert winner_of(study, settings_of(rerun_top_k=0), RUNS)[0] == 2
    assert repeated_runs(study).empty, "the report lists no runs that the winner was not chosen by"


def test_a_study_that_grew_is_judged_as_if_it_had_been_so_from_the_first() -> None:
    """Runs of trials that are among the best no more, and with more seeds than are asked for, do not count."""
    settings = settings_of(rerun_top_k=2)
    study = study_of({2: 0.95, 4: 0.90}, settings)
    winner_of(study, settings, RUNS)
    (better,) = study_of({16: 0.93}, settings).trials
    study.add_trial(better)
    fewer = settings_of(rerun_top_k=2, rerun_seeds=2)
    winner, search = winner_of(study, fewer, {16: (0.65, 0.66), **RUNS})
    assert winner == 16, "4, which has the best mean of all, is third in the search now"
    assert search.trained == [(16, 1), (16, 2)]
    assert study.user_attrs[COMPARED] == {"trials": [0, 2], "seeds": 2}
    sibling = optuna.load_study(study_name="s-rerun", storage=study._storage).trials
    assert rerun_values(sibling, study.user_attrs[COMPARED]) == {0: [0.60, 0.62], 2: [0.65, 0.66]}


def test_of_two_runs_with_one_seed_one_counts() -> None:
    runs = [
        optuna.trial.create_trial(value=value, user_attrs={RERUN_OF: 3, SEED_NUMBER: seed})
        for seed, value in ((2, 0.5), (1, 0.4), (2, 0.6))
    ]
    assert rerun_values(runs) == {3: [0.4, 0.6]}
