"""The plan: duplicates copy, budgets hold, seeds follow the index; on a study in memory, without training."""

import optuna
import pytest
from optuna.trial import TrialState

from imagematch.config import StudySettings, parse_study
from imagematch.events import SILENT
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan
from imagematch.tuning.planned_trial import settings_of as trial_settings
from imagematch.tuning.recovery import fail, requeue


def settings_of(**values: object) -> StudySettings:
    base = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0}
    return parse_study({**base, "embedding_dim_grid": [2, 4, 8, 16], "learning_rate_grid": [1e-3, 1e-2], **values})


def value_of(trial: optuna.Trial) -> float:
    return -abs(trial.params["embedding_dim"] - 8) - 10 * trial.params["learning_rate"]


def run(settings: StudySettings, study: optuna.Study, at_most: int | None = None) -> None:
    plan = Plan(study, settings, SILENT)
    done = 0
    while (at_most is None or done < at_most) and (planned := plan.next_trial()) is not None:
        study.tell(planned.trial, value_of(planned.trial))
        done += 1


def finished(study: optuna.Study) -> list[tuple[object, ...]]:
    return [(t.user_attrs["place"], t.params, t.value, attributes.is_duplicate(t)) for t in study.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc"])
def test_the_budget_counts_distinct_trials_only(sampler: str) -> None:
    study = optuna.create_study(direction="maximize")
    run(settings_of(sampler=sampler, n_trials=6), study)
    counted = attributes.counted(study.trials)
    assert len(counted) == 6
    assert len({t.user_attrs["point"] for t in counted}) == 6


def test_a_repeat_has_the_value_of_the_earlier_trial() -> None:
    study = optuna.create_study(direction="maximize")
    run(settings_of(sampler="random", n_trials=7), study)
    repeats = [t for t in study.trials if attributes.is_duplicate(t)]
    assert repeats, "eight points, drawn at random"
    for repeat in repeats:
        earlier = study.trials[repeat.user_attrs["duplicate_of"]]
        assert (repeat.params, repeat.value, repeat.state) == (earlier.params, earlier.value, earlier.state)


@pytest.mark.parametrize("sampler", ["tpe", "grid", "random", "qmc", "cmaes"])
def test_every_point_of_a_finite_space_is_tried_and_ends_the_study(sampler: str) -> None:
    study = optuna.create_study(direction="maximize")
    settings = settings_of(sampler=sampler, n_trials=100)
    run(settings, study)
    assert len(attributes.counted(study.trials)) == settings.grid_points == 8
    trials = len(study.trials)
    run(settings, study)
    assert len(study.trials) == trials, "a finished study draws nothing more"


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_grid_in_parts_is_the_grid_in_one(sampler: str) -> None:
    settings = settings_of(sampler=sampler, learning_rate_grid=[k / 1000 for k in range(1, 9)], n_trials=32)
    whole, parts = (optuna.create_study(direction="maximize") for _ in range(2))
    run(settings, whole)
    while len(attributes.counted(parts.trials)) < 32:
        run(settings, parts, at_most=1)
    assert finished(parts) == finished(whole)
    assert len(attributes.counted(whole.trials)) == 32


def test_points_that_fail_do_not_keep_the_study_from_its_end() -> None:
    study = optuna.create_study(direction="maximize")
    plan = Plan(study, settings_of(sampler="random", n_trials=100), SILENT)
    while (planned := plan.next_trial()) is not None:
        if planned.trial.params["embedding_dim"] == 4:
            fail(study, planned.trial.number, "not a number")
        else:
            study.tell(planned.trial, value_of(planned.trial))
    assert len(attributes.counted(study.trials)) == 6


def test_an_endless_space_that_gives_nothing_new_ends_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.tuning.plan.LARGEST_GRID", 0)
    study = optuna.create_study(direction="maximize")
    settings = settings_of(sampler="random", embedding_dim_grid=[2, 4], n_trials=100)
    run(settings, study)
    trials = len(study.trials)
    assert trials <= 60
    run(settings, study)
    assert len(study.trials) == trials, "nor does a resumed one draw any more"


@pytest.mark.parametrize("cuts", [(2,), (1, 2, 3)])
def test_a_study_in_parts_is_the_study_in_one(cuts: tuple[int, ...]) -> None:
    settings = settings_of(n_trials=7)
    whole, parts = (optuna.create_study(direction="maximize") for _ in range(2))
    run(settings, whole)
    for cut in cuts:
        run(settings, parts, at_most=cut)
    run(settings, parts)
    assert finished(parts) == finished(whole)


def test_a_trial_that_was_cut_off_keeps_place_parameters_and_seed() -> None:
    settings = settings_of(n_trials=4)
    whole, cut = (optuna.create_study(direction="maximize") for _ in range(2))
    run(settings, whole)
    run(settings, cut, at_most=2)
    planned = Plan(cut, settings, SILENT).next_trial()
    assert planned is not None
    requeue(cut, cut.trials[planned.trial.number])
    fail(cut, planned.trial.number, "cut off")
    again = Plan(cut, settings, SILENT).next_trial()
    assert again is not None
    assert (again.index, again.trial.params) == (planned.index, planned.trial.params)
    assert again.settings == planned.settings
    cut.tell(again.trial, value_of(again.trial))
    run(settings, cut)
    told = [row for row, t in zip(finished(cut), cut.trials, strict=True) if t.state == TrialState.COMPLETE]
    assert told == finished(whole)


def test_every_place_has_its_own_training_seed_and_the_studys_split_seed() -> None:
    settings = settings_of()
    made = [trial_settings(settings, {"embedding_dim": 8}, index, seed) for index in range(4) for seed in range(3)]
    assert len({one.training_seed for one in made}) == 12
    assert {one.seed for one in made} == {0}


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc"])
def test_a_model_over_the_limit_is_not_trained_and_does_not_count(sampler: str) -> None:
    settings = settings_of(image_size=8, sampler=sampler, n_trials=4, max_parameters=8 * 8 * 3 * 4 + 4)
    study = optuna.create_study(direction="maximize")
    run(settings, study)
    counted = attributes.counted(study.trials)
    assert {t.params["embedding_dim"] for t in counted} <= {2, 4}
    assert len(counted) == 4
    for trial in study.trials:
        if trial.params["embedding_dim"] > 4:
            assert trial.user_attrs[attributes.OVER_LIMIT] == (8 * 8 * 3 + 1) * trial.params["embedding_dim"]
            assert trial.constraints["max_parameters"] > 0
            assert trial.state == TrialState.PRUNED


def test_a_limit_under_every_model_ends_the_study() -> None:
    study = optuna.create_study(direction="maximize")
    run(settings_of(image_size=8, max_parameters=10), study)
    assert not attributes.counted(study.trials)
    assert len(study.trials) <= 100


def test_a_study_with_a_limit_in_parts_is_the_study_in_one() -> None:
    settings = settings_of(image_size=8, n_trials=4, max_parameters=800)
    whole, parts = (optuna.create_study(direction="maximize") for _ in range(2))
    run(settings, whole)
    run(settings, parts, at_most=2)
    run(settings, parts)
    assert finished(parts) == finished(whole)


def test_a_repeat_copies_both_values() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    plan = Plan(study, settings_of(objective=["val_map_at_r", "parameters"], sampler="random", n_trials=7), SILENT)
    while (planned := plan.next_trial()) is not None:
        study.tell(planned.trial, [value_of(planned.trial), planned.trial.params["embedding_dim"]])
    repeats = [t for t in study.trials if attributes.is_duplicate(t)]
    assert repeats
    for repeat in repeats:
        assert repeat.values == study.trials[repeat.user_attrs["duplicate_of"]].values


def test_running_trials_count_against_the_budget() -> None:
    plan = Plan(optuna.create_study(direction="maximize"), settings_of(n_trials=2), SILENT)
    assert plan.next_trial() is not None
    assert plan.next_trial() is not None
    assert plan.next_trial() is None


def test_a_point_that_runs_is_not_trained_a_second_time() -> None:
    settings = settings_of(embedding_dim_grid=[2, 4], learning_rate_grid=[1e-3], n_trials=2)
    for seed in range(4):
        study = optuna.create_study(direction="maximize")
        plan = Plan(study, settings.model_copy(update={"seed": seed}), SILENT)
        first, second = plan.next_trial(), plan.next_trial()
        assert first is not None
        assert second is not None
        assert first.trial.params != second.trial.params


@pytest.mark.parametrize(("n_trials", "target"), [(5, 5), (100, 8)])
def test_progress_counts_towards_what_will_run(n_trials: int, target: int) -> None:
    assert Plan(optuna.create_study(), settings_of(n_trials=n_trials), SILENT).target == target


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_known_good_points_come_first_and_what_is_outside_of_the_space_is_left_out(sampler: str) -> None:
    study = optuna.create_study(direction="maximize")
    settings = settings_of(sampler=sampler, n_trials=4)
    points = [{"embedding_dim": 16, "learning_rate": 0.01}, {"embedding_dim": 99, "learning_rate": 0.01}]
    study.set_user_attr(attributes.STARTING_POINTS, points)
    run(settings, study, at_most=2)
    assert study.trials[0].params == {"embedding_dim": 16, "learning_rate": 0.01}
    assert study.trials[1].params["learning_rate"] == 0.01


def test_a_search_that_has_stagnated_ends() -> None:
    study = optuna.create_study(direction="maximize")
    settings = settings_of(sampler="grid", stop_after_stagnation=2, n_trials=8)
    run(settings, study)
    best = [t.value for t in sorted(study.trials, key=lambda t: t.user_attrs[attributes.TRIAL_INDEX])]
    since = len(best) - 1 - best.index(max(best))
    assert since == 2
    assert study.user_attrs[attributes.ENDED] == "the last 2 trials were no better than one before them"
    assert len(best) < 8
    assert Plan(study, settings, SILENT).is_complete()
    again = settings_of(sampler="grid", n_trials=8)
    assert not Plan(study, again, SILENT).is_complete()
    run(again, study)
    assert len(study.trials) == 8, "without the limit the same study goes on"
    assert not study.user_attrs[attributes.ENDED]
