from __future__ import annotations

import html
import json
import re

import numpy as np
import optuna
import pytest

from imagematch.errors import StudyError
from imagematch.reporting import (
    Note,
    StudyPlots,
    baseline_table,
    best_configuration,
    front_table,
    read_study,
    reruns_table,
    state_counts,
    study_summary,
    table_or_note,
    time_table,
    trials_overview,
    unfinished_trials,
    write_study_report,
)
from imagematch.reporting.plots.drawable import drawable_copy, sampled_copy
from imagematch.tuning import attributes, trials_table
from imagematch.tuning.attributes import COMPARED, DEFINITION, RERUN_OF, SEED_NUMBER, WINNER


def test_every_figure_of_a_study_is_drawn(study):
    notes = [titled.title for titled in StudyPlots(study).all() if isinstance(titled.shown, Note)]
    assert notes == []


def test_repeats_count_in_no_figure_and_numbers_stay(study):
    history = StudyPlots(study).history()
    assert 12 not in history.data[0].x
    assert 11 in history.data[0].x
    assert len(drawable_copy(study).trials) == len(study.trials)


def test_of_a_large_study_a_sample_is_drawn_and_said(study, monkeypatch):
    monkeypatch.setattr("imagematch.reporting.plots.study._MOST_TRIALS", 8)
    figures = StudyPlots(study)
    shown = {titled.title: titled.shown for titled in figures.all()}
    notes = {title for title, figure in shown.items() if isinstance(figure, Note)}
    assert notes == {"Importance", "Importance for the duration"}, "eight trials are too few"
    drawn = {title: figure for title, figure in shown.items() if title not in notes}
    said = {title for title, figure in drawn.items() if any("8 of" in note.text for note in figure.layout.annotations)}
    assert said == set(drawn) - {"Optimisation history", "EDF"}
    complete = [t for t in study.trials if t.state.name == "COMPLETE" and not attributes.is_duplicate(t)]
    assert len(shown["Optimisation history"].data[0].x) == len(complete), "whatever is cheap shows every trial"
    best = study.best_trial.number
    assert best in [trial.number for trial in figures._complete]
    assert len(figures._complete) <= 8


def test_a_sample_is_the_same_each_time_and_trials_keep_their_numbers(study):
    drawn = [[t.number for t in sampled_copy(study, 5).trials if t.state.name != "WAITING"] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 5


@pytest.mark.parametrize("trials", [0, 1])
def test_a_study_with_few_trials_gives_notes_and_no_error(trials):
    small = optuna.create_study()
    for _ in range(trials):
        trial = small.ask()
        small.tell(trial, trial.suggest_float("x", 0, 1))
    shown = {titled.title: titled.shown for titled in StudyPlots(small).all()}
    assert isinstance(shown["Contour"], Note)
    assert isinstance(shown["Importance"], Note)
    assert isinstance(shown["Optimisation history"], Note) == (trials == 0)


def test_no_finished_trial_is_said_in_a_line():
    empty = optuna.create_study()
    assert "No trial is finished" in study_summary(empty)
    assert isinstance(table_or_note(lambda: best_configuration(empty), "Best"), Note)


def test_running_waiting_and_infinite_trials_do_not_stop_anything(study):
    study.ask()
    study.enqueue_trial({})
    study.add_trial(optuna.trial.create_trial(value=float("inf")))
    notes = [titled.title for titled in StudyPlots(study).all() if isinstance(titled.shown, Note)]
    assert notes == []
    assert len(trials_overview(study)) == len(study.trials)


def test_several_objectives_have_a_front_and_figures_each():
    several = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(8):
        trial = several.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_int("y", 1, 5)
        several.tell(trial, [x + number / 10, y])
    shown = {titled.title: titled.shown for titled in StudyPlots(several, 1).all()}
    assert not isinstance(shown["Pareto front"], Note)
    assert isinstance(shown["Importance"], Note), "eight trials are too few"
    assert isinstance(shown["Intermediate values"], Note)
    assert {"objective 1", "objective 2"} <= set(trials_overview(several).columns)


def shares(figure):
    """What an importance figure shows: parameter -> share."""
    bars, _by_chance = figure.data
    return dict(zip(bars.y, bars.x, strict=True))


def test_of_two_objectives_the_importance_is_that_of_the_best_trials():
    names = {"x": optuna.distributions.FloatDistribution(0, 1), "y": optuna.distributions.FloatDistribution(0, 1)}
    alone = optuna.create_study(direction="maximize")
    several = optuna.create_study(directions=["maximize", "minimize"])
    random = np.random.default_rng(0)
    for x, y, noise in random.random((300, 3)):
        value = 0.1 * noise + (x > 0.9) - (y > 0.8)  # the best trials by x, the worst ones by y
        made = {"params": {"x": x, "y": y}, "distributions": names}
        alone.add_trial(optuna.trial.create_trial(value=value, **made))
        several.add_trial(optuna.trial.create_trial(values=[value, -value], **made))
    expected = shares(StudyPlots(alone).importances())
    assert expected["x"] > 0.8
    for objective in (0, 1):
        assert shares(StudyPlots(several, objective).importances()) == pytest.approx(expected)


def with_conditional_fields(common):
    """Twenty trials; `depth` decides value and duration, `dropout` is there with it alone, margin or temperature."""
    made = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(20):
        trial = made.ask()
        depth = number % 2
        if common:
            trial.suggest_categorical("depth", (0, 1))
            depth = trial.params["depth"]
            trial.suggest_float("learning_rate", 1e-4, 1e-2)
        if depth:
            trial.suggest_float("dropout", 0, 1)
        trial.suggest_float("margin" if number % 3 else "temperature", 0, 1)
        trial.set_user_attr(attributes.SECONDS, {"total": 1.0 + depth})
        made.tell(trial, depth + number / 100)
    return made


def test_the_importance_takes_the_fields_that_only_some_trials_have():
    figure = StudyPlots(with_conditional_fields(common=True)).importances()
    assert {"depth", "dropout", "margin"} <= set(shares(figure))


def test_foreign_names_are_inert_in_every_figure():
    hostile = optuna.create_study()
    choices = ("<a href='javascript:alert(1)'>x</a>", "</script><script>alert(2)</script>", "a\nb")
    for number in range(9):
        trial = hostile.ask()
        trial.suggest_categorical("<img src=x onerror=alert(3)>", choices)
        trial.suggest_float("b", 0, 1)
        trial.set_user_attr("<script>", "<script>alert(4)</script>")
        hostile.tell(trial, number)
    for titled in StudyPlots(hostile).all():
        if not isinstance(titled.shown, Note):
            text = json.dumps(titled.shown.to_plotly_json(), default=str)
            for tag in ("<img", "<a ", "<script", "</script"):
                assert tag not in text, titled.title


def test_the_overview_is_best_first_and_says_what_happened(study):
    overview = trials_overview(study).set_index("trial")
    values = [value for value in overview["val_map_at_r"][:10] if value is not None]
    assert values == sorted(values, reverse=True)
    assert overview.loc["10", "what happened"] == "failed: the loss is not a number"
    assert overview.loc["9", "what happened"].startswith("pruned at step 3")
    assert overview.loc["12", "what happened"] == "duplicates trial 0, whose value it has"
    assert set(unfinished_trials(study)["trial"]) == {"9", "10", "12"}


def test_a_searched_field_called_epochs_stands_beside_the_epochs_that_were_trained():
    made = optuna.create_study()
    whole = optuna.distributions.IntDistribution(1, 99)
    made.add_trial(
        optuna.trial.create_trial(
            params={"epochs": 40, "seconds": 7},
            distributions={"epochs": whole, "seconds": whole},
            value=0.5,
            user_attrs={attributes.EPOCHS: 12, attributes.SECONDS: {"total": 3.0}},
        )
    )
    (row,) = trials_table(made).to_dict("records")
    assert (row["epochs"], row["trained_epochs"], row["params_seconds"], row["seconds"]) == (40, 12, 7, 3.0)
    (shown,) = trials_overview(made).to_dict("records")
    assert (shown["epochs"], shown["trained epochs"]) == ("40", "12")
    assert (shown["params_seconds"], shown["seconds"]) == ("7", "3.0")


def test_states_are_counted_once(study):
    counts = state_counts(study)
    assert counts == {
        "complete": 10,
        "pruned": 1,
        "failed": 1,
        "running": 0,
        "waiting": 0,
        "duplicates": 1,
        "set aside": 0,
        "over max_parameters": 0,
    }
    assert sum(counts.values()) == len(study.trials)


def test_reruns_table_show_spread_optimism_and_the_difference_to_the_baseline(study):
    sibling = optuna.create_study(study_name="made-rerun", storage=study._storage, direction="maximize")
    best = study.best_trial
    for seed, value in enumerate((0.6, 0.7, 0.8), start=1):
        attributes = {RERUN_OF: best.number, SEED_NUMBER: seed}
        sibling.add_trial(optuna.trial.create_trial(value=value, user_attrs=attributes))
    row = reruns_table(study).iloc[0]
    assert row["mean"] == pytest.approx(0.7)
    assert row["spread"] == pytest.approx(0.1)
    assert row["optimism of the search"] == pytest.approx(best.value - 0.7)
    assert row["better than baseline by"] == pytest.approx(0.3)
    assert row["its 95 % interval"] == "0.0516 to 0.5484", "0.3 +- 4.303 x 0.1 / sqrt(3)"


def runs_again(study, runs, compared=None):
    """Notes repeated runs: trial -> values; `compared` as the search would."""
    sibling = optuna.create_study(study_name="made-rerun", storage=study._storage, direction="maximize")
    for number, values in runs.items():
        for seed, value in enumerate(values, start=1):
            attributes = {RERUN_OF: number, SEED_NUMBER: seed}
            sibling.add_trial(optuna.trial.create_trial(value=value, user_attrs=attributes))
    study.set_user_attr(COMPARED, compared)


def cards_of(study, path):
    """Title -> value and the lines below, of the report's first cards."""
    write_study_report(path / "report.html", study)
    code = (path / "report.html").read_text(encoding="utf-8")
    cards: dict[str, list[str]] = {}
    for part, text in re.findall(r'<div class="card-(title|value|below)">(.*?)</div>', code):
        if part == "title":
            title = html.unescape(text)
            cards[title] = []
        elif text:
            cards[title].append(html.unescape(text))
    return cards


def test_the_optimism_is_the_best_single_trials_whoever_wins(study, tmp_path):
    ranked = attributes.best_of(study.trials, study.directions)
    first, second, third = (trial.number for trial in ranked[:3])
    runs_again(study, {first: (0.60, 0.62), second: (0.70, 0.72), third: (0.5, 0.5), 9: (0.99, 0.99)})
    study.set_user_attr(COMPARED, {"trials": [first, second, third], "seeds": 2})
    study.set_user_attr(WINNER, second)
    table = reruns_table(study)
    assert list(table["trial"]) == [str(second), str(first), str(third)], "9 is among the best no more"
    cards = cards_of(study, tmp_path)
    assert cards["the winner's mean over other seeds"][:2] == ["0.7100", f"trial {second}"]
    optimism = cards["optimism of the search"]
    assert optimism[0] == f"{ranked[0].value - 0.61:.4f}"
    assert optimism[1].startswith(f"trial {first}: best single value less its mean")
    assert "mean 0.6100" in optimism[2]


def test_a_best_trial_without_runs_has_no_optimism(study, tmp_path):
    second = attributes.best_of(study.trials, study.directions)[1].number
    runs_again(study, {second: (0.70,)})
    study.set_user_attr(WINNER, second)
    cards = cards_of(study, tmp_path)
    assert "optimism of the search" not in cards
    assert cards["the winner's mean over other seeds"] == ["0.7000", f"trial {second}"]


def test_the_baseline_stands_beside_every_trial(study):
    assert set(trials_overview(study)["baseline"]) == {0.4}
    assert set(trials_table(study)["baseline"]) == {0.4}


def test_times_and_baseline(study):
    assert list(time_table(study)["part"])[-1] == "total"
    assert baseline_table(study)["val_map_at_r"].iloc[0] == 0.4
    assert list(baseline_table(study).columns) == ["extractor", "val_map_at_r", "val_roc_auc"]


def test_a_study_is_opened_by_file_and_nothing_is_created(tmp_path):
    path = tmp_path / "some.db"
    optuna.create_study(study_name="one", storage=f"sqlite:///{path}")
    optuna.create_study(study_name="one-rerun", storage=f"sqlite:///{path}")
    assert read_study(path).study_name == "one"
    with pytest.raises(StudyError, match="holds no study 'two'; it holds: one"):
        read_study(path, "two")
    with pytest.raises(StudyError, match="there are: some"):
        read_study(tmp_path / "other.db")
    assert not (tmp_path / "other.db").exists()


def test_a_study_with_one_objective_has_no_front_and_no_second_one(study):
    assert str(table_or_note(lambda: front_table(study), "Pareto front")) == "Pareto front: the study has one objective"
    for objective in (1, -1):
        with pytest.raises(StudyError, match=f"the study has one objective: none is number {objective}; they count"):
            StudyPlots(study, objective)


def test_a_front_is_told_in_a_table_and_in_a_line():
    made = optuna.create_study(directions=["maximize", "minimize"])
    made.set_user_attr(DEFINITION, {"objective": ["val_map_at_r", "parameters"], "fixed": {}, "space": {}})
    for values in ([0.5, 2000.0], [0.9, 9000.0], [0.4, 3000.0], [0.7, 2500.0]):
        made.add_trial(optuna.trial.create_trial(values=values))
    pruned = optuna.trial.TrialState.PRUNED
    made.add_trial(optuna.trial.create_trial(state=pruned, user_attrs={attributes.OVER_LIMIT: 7}))
    table = front_table(made)
    assert table["trial"].tolist() == ["1", "3", "0"]
    assert table["val_map_at_r"].tolist() == [0.9, 0.7, 0.5]
    assert table["parameters"].tolist() == [9000.0, 2500.0, 2000.0]
    line = study_summary(made)
    assert "4 complete, 1 over max_parameters" in line
    assert "trial 1: 0.9000 and 9,000; trial 3: 0.7000 and 2,500; trial 0: 0.5000 and 2,000" in line
    assert unfinished_trials(made)["trial"].tolist() == ["4"]
