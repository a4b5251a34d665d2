"""What a report says of a study in a sentence."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from imagematch.reporting import StudyPlots, feature_store_text, study_steps, study_summary
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE

LOSSES = CategoricalDistribution(("a", "b"))


@pytest.mark.parametrize(
    ("computed", "says"),
    [
        (60, "computed once, in 2.0 s, and used by 12 trials: computing them in every trial would have taken about 22"),
        (0, "The features were cached before the study, and used by 12 trials: no image went through the network."),
        (20, "20 of 60 images went through the network, in 2.0 s: the features of the others were cached"),
        (None, ""),
    ],
)
def test_what_the_cached_features_saved_is_stated_where_they_were_computed_for_the_study(study, computed, says):
    pixels = {**study.user_attrs[BASELINE]["pixels"], "images_through_network": computed}
    if computed is None:
        del pixels["images_through_network"]
    study.set_user_attr(BASELINE, {"pixels": pixels})
    told = feature_store_text(study)
    assert says in told
    assert ("would have taken" in told) == (computed == 60)
    assert bool(told) == (computed is not None)


def made_of(values, params, distributions, direction="maximize"):
    made = optuna.create_study(direction=direction)
    for value, given in zip(values, params, strict=True):
        kinds = {name: distributions[name] for name in given}
        made.add_trial(optuna.trial.create_trial(value=value, params=given, distributions=kinds))
    return made


def test_the_first_words_name_the_winner_whatever_another_trial_reached(study):
    second = attributes.best_of(study.trials, study.directions)[1].number
    study.set_user_attr(attributes.WINNER, second)
    assert study_summary(study).startswith(f"Winner: trial {second} (")
    assert "; the frozen extractor alone 0.4000." in study_summary(study)


def test_a_winner_at_an_end_of_the_search_asks_for_a_wider_one():
    kinds = {"learning_rate": FloatDistribution(1e-4, 1e-2), "dropout": FloatDistribution(0, 1), "loss": LOSSES}
    kinds["dim"] = CategoricalDistribution((16, 32, 64))
    params = [{"learning_rate": 1e-2, "dropout": 0.0, "loss": "b", "dim": 64}] * 2
    (wider, dim) = [step for step in study_steps(made_of((0.1, 0.2), params, kinds)) if "an end" in step]
    assert wider == "learning_rate won at 0.01, an end of what was searched: search beyond it."
    assert dim.startswith("dim won at 64")


@pytest.mark.parametrize(
    ("best", "says"),
    [(19, "The best of 20 trials was number 20: more trials"), (3, "The last 16 of 20 trials"), (13, "")],
)
def test_more_trials_are_asked_for_where_the_best_came_late(best, says):
    values = [1.0 if number == best else 0.5 for number in range(20)]
    steps = study_steps(made_of(values, [{}] * 20, {}))
    assert steps == [] if not says else steps[0].startswith(says)


def test_a_study_in_which_all_trials_failed_says_what_to_do():
    failed = optuna.create_study()
    failed.tell(failed.ask(), state=optuna.trial.TrialState.FAIL)
    assert study_steps(failed) == [
        "1 trial failed: the reasons stand below.",
        "Finish a trial: raise n_trials, or mend what made them fail.",
    ]


def test_one_outlier_does_not_flatten_the_history():
    made = made_of([0.90 + number / 1000 for number in range(20)] + [0.1], [{}] * 21, {})
    figure = StudyPlots(made).history()
    low, high = figure.layout.yaxis.range
    assert 0.85 < low < 0.9
    assert 0.919 < high < 0.95
    assert [note.text for note in figure.layout.annotations] == ["1 trial is outside of this range: 0.1"]
    whole = StudyPlots(made_of([0.90 + number / 1000 for number in range(20)], [{}] * 20, {})).history()
    assert whole.layout.yaxis.range is None


def test_a_search_that_ended_early_says_why(study: optuna.Study) -> None:
    study.set_user_attr(attributes.ENDED, "the last 9 trials were no better")
    assert "The search ended early: the last 9 trials were no better." in study_summary(study)
    study.set_user_attr(attributes.ENDED, "")
    assert "ended early" not in study_summary(study)
