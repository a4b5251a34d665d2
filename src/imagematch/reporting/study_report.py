"""The report of a study: the winner beside the baseline, how it was found, and how much of it is luck."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.reporting.escaping import visible
from imagematch.reporting.html import Page, ReportCard
from imagematch.reporting.notes import Note, table_or_note
from imagematch.reporting.numbers import number_text
from imagematch.reporting.plots import StudyPlots
from imagematch.reporting.studies import maximises, objective_name, ranked_trials, state_counts, winning_trial
from imagematch.reporting.study_text import data_text, feature_store_text, importance_text, study_steps, winner_text
from imagematch.reporting.tables import (
    baseline_table,
    best_configuration,
    counts_text,
    front_table,
    metrics_table,
    reruns_table,
    time_table,
    trials_overview,
    unfinished_trials,
    warnings_of,
)
from imagematch.reporting.verdict import verdict
from imagematch.tuning import attributes, baseline_value

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_MANY_ROWS, _MANY_REASONS = 200, 80
_BEST_TRIALS, _REASONS, _WIDTH = 5, 10, 160


def write_study_report(
    path: Path,
    study: optuna.Study,
    metrics: Mapping[str, Any] | None = None,
    *,
    matcher_report: str | None = None,
) -> None:
    """Writes the report of a study: one HTML file that needs nothing else.

    Args:
        path: the file.
        study: any Optuna study; what only our studies store is left out where it is missing.
        metrics: the winner's `metrics.json`; None where it was not trained.
        matcher_report: where the report of the trained winner is, relative to `path`.

    Raises:
        StudyError: the file cannot be written.
    """
    page = Page(study.study_name, "study")
    _add_search_summary(page, study, metrics, matcher_report)
    if metrics:
        page.section("The winner, trained and measured", counts_text(metrics))
        page.table(table_or_note(lambda: metrics_table(metrics), "Metrics"))
    _add_winner(page, study)
    _add_settings(page, study)
    page.section("What to do next")
    steps = study_steps(study)
    if steps:
        page.bullets(steps)
    else:
        page.text("Nothing stands out.")
    _add_plots(page, study)
    page.section("Trials", "The best first; trials.csv beside this report has them all.")
    page.table(
        table_or_note(lambda: trials_overview(study).drop(columns="what happened", errors="ignore"), "Trials"),
        at_most=_MANY_ROWS,
    )
    page.heading("Pruned, failed and duplicate trials, and why")
    page.table(
        table_or_note(lambda: unfinished_trials(study), "Pruned, failed or duplicate trials"), at_most=_MANY_REASONS
    )
    page.section("Time", feature_store_text(study))
    page.table(table_or_note(lambda: time_table(study), "Times by part"))
    page.write(path)


def study_summary(study: optuna.Study) -> str:
    """The study in a line: the winner first, then how many trials ended how, and the front."""
    counts = state_counts(study)
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no trials"
    winner = winning_trial(study)
    if winner is None or winner.values is None:
        return f"Trials: {text}. No trial is finished yet, so there is nothing to compare."
    ended = study.user_attrs.get(attributes.ENDED)
    early = f" The search ended early: {visible(ended, _WIDTH)}." if ended else ""
    text = f"{winner_text(study)} Trials: {text}.{early}"
    if len(study.directions) == 1:
        return text
    names = " and ".join(objective_name(study, objective) for objective in range(len(study.directions)))
    front = "; ".join(f"trial {t.number}: {attributes.values_text(t.values or [])}" for t in ranked_trials(study))
    return f"{text} Pareto front of {names}: {front}."


def _add_search_summary(
    page: Page, study: optuna.Study, metrics: Mapping[str, Any] | None, matcher_report: str | None
) -> None:
    page.lead(study_summary(study))
    if metrics:
        page.text(f"The trained winner: {verdict(metrics)}")
        for line in warnings_of(metrics):
            page.warning(line)
    if matcher_report is not None:
        page.link("The report of the trained winner", matcher_report)
    if data := data_text(study):
        page.text(data)
    ranked = ranked_trials(study)
    winner = winning_trial(study)
    if winner is None:
        page.warning("No trial is finished: the plots below stay empty until one is.")
        return
    objective, better = objective_name(study), "higher" if maximises(study) else "lower"
    cards = [
        ReportCard(
            f"best {objective} in the search",
            number_text(_value(ranked[0])),
            (f"trial {ranked[0].number}", f"{better} is better"),
        )
    ]
    runs = table_or_note(lambda: reruns_table(study), "Reruns")
    if not isinstance(runs, Note):
        by_trial = {row["trial"]: row for _, row in runs.iterrows()}
        cards += _mean_cards(by_trial.get(str(winner.number)), by_trial.get(str(ranked[0].number)))
    baseline = baseline_value(study.user_attrs, winner.params)
    if baseline is not None:
        cards.append(ReportCard("baseline", number_text(baseline), ("the frozen extractor alone", "same images")))
    page.cards(cards)


def _mean_cards(winner: Mapping[Any, Any] | None, best: Mapping[Any, Any] | None) -> list[ReportCard]:
    """What the winner came to by mean, and how much too good the best single trial looked; rows of `reruns_table`."""
    cards = []
    if winner is not None:
        one_seed = winner["spread"] is None or math.isnan(winner["spread"])
        below = (f"trial {winner['trial']}", "" if one_seed else f"spread {number_text(winner['spread'])}")
        cards.append(ReportCard("the winner's mean over other seeds", number_text(float(winner["mean"])), below))
    if best is not None:
        optimism = number_text(float(best["optimism of the search"]))
        below = (f"trial {best['trial']}: best single value less its mean", f"mean {number_text(float(best['mean']))}")
        cards.append(ReportCard("optimism of the search", optimism, below))
    return cards


def _value(trial: Any) -> float:
    return float((trial.values or [0.0])[0])


def _add_winner(page: Page, study: optuna.Study) -> None:
    winner = winning_trial(study)
    page.section("The best configuration")
    if winner is not None:
        runs = (
            "; best_config.yaml beside this report runs with train.py as it is"
            if attributes.DEFINITION in study.user_attrs
            else ""
        )
        page.text(f"Of trial {winner.number}{runs}.")
    page.table(table_or_note(lambda: best_configuration(study), "Best configuration"))
    if len(study.directions) > 1:
        page.heading("The Pareto front")
        page.text(
            "Trials that no other beats in one objective without being worse in the other. The best of them in the "
            "first objective are rerun with other seeds, and the winner is the best of those by its mean."
        )
        page.table(table_or_note(lambda: front_table(study), "Pareto front"))
    page.heading("Rerun with other seeds")
    page.text("The best of many runs is partly luck, so its value is too good.")
    reruns = table_or_note(lambda: reruns_table(study), "Trials rerun with other seeds")
    if not isinstance(reruns, Note):
        page.text(
            "The best few were rerun with other seeds, and the winner is the best by their mean. Spread: the standard "
            "deviation over those seeds. Optimism: how much better the search made a trial look than its mean. The "
            "difference to the baseline is taken run by run on the same images; its interval covers the seeds, not "
            "the choice of images."
        )
    page.table(reruns)
    page.heading("The frozen extractor alone")
    page.table(table_or_note(lambda: baseline_table(study), "Baseline"))


def _add_settings(page: Page, study: optuna.Study) -> None:
    page.section("Which setting mattered")
    for objective in range(len(study.directions)):
        plots = StudyPlots(study, objective)
        if len(study.directions) > 1:
            page.heading(objective_name(study, objective))
        page.text(importance_text(plots))
        for titled in plots.of_settings():
            if titled.title.startswith("Importance") and isinstance(titled.shown, Note):
                continue  # the sentence has said so
            page.heading(titled.title)
            page.plot(titled.shown, "" if isinstance(titled.shown, Note) else titled.reading)


def _add_plots(page: Page, study: optuna.Study) -> None:
    objectives = len(study.directions)
    for objective in range(objectives):
        of = f" of {objective_name(study, objective)}" if objectives > 1 else ""
        page.section(f"The search{of}")
        for titled in StudyPlots(study, objective).of_search():
            page.heading(titled.title)
            page.plot(titled.shown, "" if isinstance(titled.shown, Note) else titled.reading)


def study_lines(study: optuna.Study) -> list[str]:
    """The lines of `study show`; what was not stored is left out."""
    lines = [study_summary(study)]
    objective, baselines = objective_name(study), study.user_attrs.get(attributes.BASELINE)
    for name, metrics in baselines.items() if isinstance(baselines, Mapping) else ():
        if isinstance(metrics, Mapping) and isinstance(metrics.get(objective), (int, float)):
            lines.append(f"baseline {visible(name)}: {objective} {metrics[objective]:.4f}")
    winner = winning_trial(study)
    for trial in ranked_trials(study)[:_BEST_TRIALS]:
        params = ", ".join(f"{name} {value}" for name, value in trial.params.items())
        marked = "  (the winner)" if winner is not None and trial.number == winner.number else ""
        lines.append(
            visible(f"trial {trial.number:>3}  {attributes.values_text(trial.values or ())}  {params}", _WIDTH) + marked
        )
    reasons = Counter(_reason(trial) for trial in study.get_trials(deepcopy=False))
    lines += [f"{count:,} x {reason}" for reason, count in reasons.most_common() if reason][:_REASONS]
    return lines


def _reason(trial: FrozenTrial) -> str:
    """Why a trial gave no value, worded alike for all trials with the same reason."""
    if attributes.is_duplicate(trial) or trial.state.name not in ("FAIL", "PRUNED"):
        return ""
    if attributes.OVER_LIMIT in trial.user_attrs:
        return "not trained: over max_parameters"
    if trial.state.name == "PRUNED":
        return "pruned"
    return f"failed: {visible(trial.user_attrs.get(attributes.REASON, 'no reason was stored'), _WIDTH)}"
