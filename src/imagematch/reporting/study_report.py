"""The report of a study: the winner beside the baseline, how it was found, and how far luck had a hand in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.reporting.metrics_tables import figures_table, number
from imagematch.reporting.model_report import add_summary
from imagematch.reporting.notes import Note, table_or_note
from imagematch.reporting.page import Card, Page
from imagematch.reporting.study_facts import (
    data_text,
    feature_store_text,
    maximises,
    objective_name,
    ranked_trials,
    state_counts,
    winning_trial,
)
from imagematch.reporting.study_figures import StudyFigures
from imagematch.reporting.study_tables import (
    baseline_table,
    best_configuration,
    front_table,
    repeated_runs,
    time_table,
    trials_overview,
    unfinished_trials,
)
from imagematch.tuning.attributes import DEFINITION, values_text
from imagematch.tuning.baseline import baseline_value

if TYPE_CHECKING:
    import optuna

_MANY_ROWS = 1000


def write_study_report(path: Path, study: optuna.Study, metrics: Mapping[str, Any] | None = None) -> None:
    """Writes the report of a study: one HTML file that needs nothing else.

    Args:
        path: the file.
        study: any Optuna study; what only ours note is left out where it is missing.
        metrics: the winner's `metrics.json`; None where it was not trained.

    Raises:
        StudyError: the file cannot be written.
    """
    page = Page(study.study_name, "study")
    _add_search_summary(page, study)
    if metrics:
        page.section("The winner, trained and measured")
        add_summary(page, metrics)
        page.table(table_or_note(lambda: figures_table(metrics), "Figures"))
    _add_winner(page, study)
    _add_figures(page, study)
    page.section("Trials")
    page.table(
        table_or_note(lambda: trials_overview(study).drop(columns="what happened", errors="ignore"), "Trials"),
        at_most=_MANY_ROWS,
    )
    page.heading("Pruned, failed and repeated trials, and why")
    page.table(table_or_note(lambda: unfinished_trials(study), "Pruned, failed or repeated trials"), at_most=_MANY_ROWS)
    page.section("Time", feature_store_text(study))
    page.table(table_or_note(lambda: time_table(study), "Times by part"))
    page.write(path)


def study_summary(study: optuna.Study) -> str:
    """The study in one line: how many trials ended how, the best value, the front; says so where none is finished."""
    counts = state_counts(study)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no trials"
    told = "Trials: " + told
    winner = winning_trial(study)
    if winner is None or winner.values is None:
        return f"{told}. No trial is finished yet, so there is nothing to compare."
    best = ranked_trials(study)[0]
    value = number(float((best.values or [0.0])[0]))
    told = f"{told}. Best {objective_name(study)}: {value} (trial {best.number})."
    if len(study.directions) == 1:
        return told
    names = " and ".join(objective_name(study, objective) for objective in range(len(study.directions)))
    front = "; ".join(f"trial {t.number}: {values_text(t.values or [])}" for t in ranked_trials(study))
    return f"{told} Pareto front of {names}: {front}. The winner is trial {winner.number}."


def _add_search_summary(page: Page, study: optuna.Study) -> None:
    page.text(study_summary(study))
    if data := data_text(study):
        page.text(data)
    ranked = ranked_trials(study)
    winner = winning_trial(study)
    if winner is None:
        page.warning("No trial is finished: the figures below stay empty until one is.")
        return
    objective, better = objective_name(study), "higher" if maximises(study) else "lower"
    cards = [
        Card(
            f"best {objective} in the search",
            number(_value(ranked[0])),
            (f"trial {ranked[0].number}", f"{better} is better"),
        )
    ]
    runs = table_or_note(lambda: repeated_runs(study), "Repeated runs")
    if not isinstance(runs, Note):
        by_trial = {row["trial"]: row for _, row in runs.iterrows()}
        cards += _mean_cards(by_trial.get(str(winner.number)), by_trial.get(str(ranked[0].number)))
    baseline = baseline_value(study.user_attrs, winner.params)
    if baseline is not None:
        cards.append(Card("baseline", number(baseline), ("the frozen extractor alone", "same images")))
    page.cards(cards)


def _mean_cards(winner: Mapping[Any, Any] | None, best: Mapping[Any, Any] | None) -> list[Card]:
    """What the winner came to by mean, and how much too good the best single trial looked; rows of `repeated_runs`."""
    cards = []
    if winner is not None:
        one_seed = winner["spread"] is None or math.isnan(winner["spread"])
        told = (f"trial {winner['trial']}", "" if one_seed else f"spread {number(winner['spread'])}")
        cards.append(Card("the winner's mean over other seeds", number(float(winner["mean"])), told))
    if best is not None:
        optimism = number(float(best["optimism of the search"]))
        told = (f"trial {best['trial']}: best single value less its mean", f"mean {number(float(best['mean']))}")
        cards.append(Card("optimism of the search", optimism, told))
    return cards


def _value(trial: Any) -> float:
    return float((trial.values or [0.0])[0])


def _add_winner(page: Page, study: optuna.Study) -> None:
    winner = winning_trial(study)
    page.section("The best configuration")
    if winner is not None:
        runs = (
            "; best_config.yaml beside this report runs with train.py as it is"
            if DEFINITION in study.user_attrs
            else ""
        )
        page.text(f"Of trial {winner.number}{runs}.")
    page.table(table_or_note(lambda: best_configuration(study), "Best configuration"))
    if len(study.directions) > 1:
        page.heading("The Pareto front")
        page.text(
            "Trials that no other beats in one objective without being worse in the other. The best of them in the "
            "first objective are run again with other seeds, and the winner is the best of those by its mean."
        )
        page.table(table_or_note(lambda: front_table(study), "Pareto front"))
    page.heading("Run again with other seeds")
    page.text("The search keeps the luckiest of many runs, so its best value is too good.")
    runs_again = table_or_note(lambda: repeated_runs(study), "Trials run again with other seeds")
    if not isinstance(runs_again, Note):
        page.text(
            "The best few were run again with other seeds, and the winner is the best by their mean. The difference to "
            "the baseline is taken run by run on the same images; its interval covers the seeds, not the choice of "
            "images."
        )
    page.table(runs_again)
    page.heading("The frozen extractor alone")
    page.table(table_or_note(lambda: baseline_table(study), "Baseline"))


def _add_figures(page: Page, study: optuna.Study) -> None:
    objectives = len(study.directions)
    for objective in range(objectives):
        of = f" of {objective_name(study, objective)}" if objectives > 1 else ""
        page.section(f"Figures{of}")
        for titled in StudyFigures(study, objective).all():
            page.heading(titled.title)
            page.figure(titled.shown, "" if isinstance(titled.shown, Note) else titled.reading)
