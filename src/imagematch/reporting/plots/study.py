"""Plots of a study, drawn by Optuna; each is a note where it cannot be made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from imagematch.errors import StudyError
from imagematch.reporting.escaping import visible
from imagematch.reporting.notes import Note, plot_or_note
from imagematch.reporting.plots.drawable import drawable_copy, sampled_copy, varying_parameters
from imagematch.reporting.plots.importance import Importance, importances
from imagematch.reporting.plots.optuna_style import focus_history, importance_plot, restyled, timeline
from imagematch.reporting.studies import objective_name, trial_seconds

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure

_IMPORTANCE_READING = (
    "How much each setting sets the best trials apart from all (PED-ANOVA), with its 90 % interval; the cross is what "
    "shuffled values would give. A setting matters whose interval lies right of its cross."
)
_FEWEST_TRIALS = 2
_MOST_IN_CONTOUR = 3
_MOST_IN_RANK = 4
_MOST_IN_SLICE = 8
_MOST_TRIALS = 500
"""Of a larger study, plots with a line or several points for each trial show a sample, and state it."""


@dataclass(frozen=True)
class TitledPlot:
    """A plot (or the note in its place) with its title and one sentence on how to read it."""

    title: str
    reading: str
    shown: Figure | Note


class StudyPlots:
    """Draws a study. Single-objective studies have no `objective` to choose; others are drawn one objective at a time.

    Args:
        study: any Optuna study, also one that other programs made.
        objective: which of several objectives, from 0.

    Raises:
        StudyError: the study has no such objective.
    """

    def __init__(self, study: optuna.Study, objective: int = 0) -> None:
        count = len(study.directions)
        if objective not in range(count):
            many = "one objective" if count == 1 else f"{count} objectives"
            raise StudyError(f"the study has {many}: none is number {objective}", do="they count from 0")
        self._trials = len(study.get_trials(deepcopy=False))
        self._sampled = self._trials > _MOST_TRIALS
        self._study = sampled_copy(study, _MOST_TRIALS) if self._sampled else drawable_copy(study)
        self._whole = drawable_copy(study, bare=True) if self._sampled else self._study
        self._objective = objective
        self._several = len(study.directions) > 1
        self._name = _plain_name(study, objective)
        self._directions = [direction.name for direction in study.directions]
        self._complete = [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.name == "COMPLETE" and trial.values is not None and math.isfinite(trial.values[objective])
        ]
        self._source = study

    @property
    def _target(self) -> Callable[[FrozenTrial], float] | None:
        objective = self._objective
        return (lambda trial: float(trial.values[objective])) if self._several else None

    @property
    def _parameters(self) -> list[str]:
        return varying_parameters(self._complete)

    def _drawn(
        self,
        what: str,
        make: Callable[[], Figure],
        *,
        trials: int = _FEWEST_TRIALS,
        parameters: int = 0,
        height: int = 450,
        whole: bool = False,
        scale: str = "Blues",
    ) -> Figure | Note:
        if len(self._complete) < trials:
            return Note(f"{what}: needs {trials} finished trials, there {_are(len(self._complete))}.")
        if len(self._parameters) < parameters:
            found = len(self._parameters)
            return Note(f"{what}: needs {_several(parameters)} that vary, there {_are(found)}.")
        return plot_or_note(lambda: restyled(make(), height, "" if whole else self._sample, scale), what)

    @property
    def _sample(self) -> str:
        """The line over a plot of a sample; empty where every trial is drawn."""
        return f"{_MOST_TRIALS:,} of {self._trials:,} trials, drawn at random" if self._sampled else ""

    def history(self) -> Figure | Note:
        """Each trial's value, and the best so far."""
        from optuna.trial import TrialState
        from optuna.visualization import plot_optimization_history

        name = self._name
        return self._drawn(
            "Optimisation history",
            lambda: focus_history(
                plot_optimization_history(self._whole, target=self._target, target_name=name),
                [
                    self._value_of(trial)
                    for trial in self._whole.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                ],
            ),
            trials=1,
            whole=True,
        )

    def intermediate_values(self) -> Figure | Note:
        """The objective by epoch (or fold), one line a trial; pruned trials end early."""
        from optuna.visualization import plot_intermediate_values

        what = "Intermediate values"
        if self._several:
            return Note(f"{what}: studies with several objectives report none.")
        if not any(trial.intermediate_values for trial in self._study.get_trials(deepcopy=False)):
            return Note(f"{what}: no trial reported any.")
        return self._drawn(what, lambda: plot_intermediate_values(self._study), trials=0)

    def slices(self) -> Figure | Note:
        """Each parameter against the objective."""
        from optuna.visualization import plot_slice

        names = self._parameters[:_MOST_IN_SLICE]
        return self._drawn(
            "Slice", lambda: plot_slice(self._study, names, target=self._target, target_name=self._name), parameters=1
        )

    def parallel_coordinates(self) -> Figure | Note:
        """Whole configurations as lines."""
        from optuna.visualization import plot_parallel_coordinate

        names = self._parameters[:_MOST_IN_SLICE]
        return self._drawn(
            "Parallel coordinates",
            lambda: plot_parallel_coordinate(self._study, names, target=self._target, target_name=self._name),
            parameters=1,
        )

    def contour(self) -> Figure | Note:
        """The objective over pairs of parameters."""
        from optuna.visualization import plot_contour

        names = self._parameters[:_MOST_IN_CONTOUR]
        return self._drawn(
            "Contour",
            lambda: plot_contour(self._study, names, target=self._target, target_name=self._name),
            parameters=2,
            height=450 if len(names) == 2 else 720,
        )

    def importances(self) -> Figure | Note:
        """How much each parameter matters for being among the best trials, with its uncertainty (PED-ANOVA)."""
        return self._importance("Importance", lambda: self.important)

    def duration_importances(self) -> Figure | Note:
        """What the quickest trials have in common, with its uncertainty (PED-ANOVA)."""
        found = cache(lambda: importances(self._complete, trial_seconds, maximise=False))
        return self._importance("Importance for the duration", found)

    def _value_of(self, trial: FrozenTrial) -> float:
        return float(trial.values[self._objective])

    @property
    def _maximised(self) -> bool:
        return self._directions[self._objective] == "MAXIMIZE"

    @cached_property
    def important(self) -> list[Importance]:
        """The importance of each parameter, the largest first. Raises StudyError where the trials are too few."""
        return importances(self._complete, self._value_of, maximise=self._maximised)

    def _importance(self, what: str, found: Callable[[], list[Importance]]) -> Figure | Note:
        def draw() -> Figure:
            return restyled(importance_plot(found(), self._sample), 120 + 44 * len(found()))

        return plot_or_note(draw, what)

    def rank(self) -> Figure | Note:
        """Trials over pairs of parameters, coloured by rank."""
        from optuna.visualization import plot_rank

        names = self._parameters[:_MOST_IN_RANK]
        return self._drawn(
            "Rank",
            lambda: plot_rank(self._study, names, target=self._target, target_name=self._name),
            parameters=1,
            scale="RdYlBu_r",
            height=450 if len(names) <= 2 else 720,
        )

    def timeline(self) -> Figure | Note:
        """When each trial ran, and how it ended."""
        if not any(trial.datetime_start for trial in self._source.get_trials(deepcopy=False)):
            return Note("Timeline: no trial has begun.")
        shown = self._study if self._sampled else drawable_copy(self._source, duplicates=True)
        return plot_or_note(lambda: restyled(timeline(shown), 420, self._sample), "Timeline")

    def edf(self) -> Figure | Note:
        """Which share of the trials is at least (or at most) how good."""
        from optuna.visualization import plot_edf

        return self._drawn(
            "EDF", lambda: plot_edf(self._whole, target=self._target, target_name=self._name), whole=True
        )

    def pareto_front(self) -> Figure | Note:
        """The trials that no other beats in every objective; only where there are two or three objectives."""
        from optuna.visualization import plot_pareto_front

        if not self._several:
            return Note("Pareto front: the study has one objective.")
        names = [_plain_name(self._source, number) for number in range(len(self._directions))]
        return self._drawn(
            "Pareto front", lambda: plot_pareto_front(self._whole, target_names=names), trials=1, whole=True
        )

    @property
    def finished(self) -> int:
        """How many trials the importance is computed from."""
        return len(self._complete)

    def of_settings(self) -> list[TitledPlot]:
        """What shows how settings decide the objective, and the time."""
        return _drawn_all(
            ("Importance", _IMPORTANCE_READING, self.importances),
            ("Slice", "Each parameter against the objective; the bluer a point, the later the trial.", self.slices),
            ("Contour", "The objective over pairs of parameters, interpolated between trials.", self.contour),
            ("Parallel coordinates", "One line a trial, through all its parameters.", self.parallel_coordinates),
            ("Rank", "Trials over pairs of parameters, coloured by their rank.", self.rank),
            (
                "Importance for the duration",
                "How much each setting sets the quickest trials apart from all.",
                self.duration_importances,
            ),
        )

    def of_search(self) -> list[TitledPlot]:
        """What shows how the search went."""
        front = ("Pareto front", "Trials that no other beats in every objective.", self.pareto_front)
        return _drawn_all(
            *((front,) if self._several else ()),
            ("Optimisation history", "Points are trials, the line is the best so far.", self.history),
            (
                "Intermediate values",
                "One line a trial, by epoch (or by fold, the mean so far); pruned trials end early.",
                self.intermediate_values,
            ),
            ("Timeline", "When each trial ran, and how it ended.", self.timeline),
            ("EDF", "Which share of the trials lies at or under a value.", self.edf),
        )

    def all(self) -> list[TitledPlot]:
        """Every plot."""
        return self.of_settings() + self.of_search()


def _drawn_all(*plots: tuple[str, str, Callable[[], Figure | Note]]) -> list[TitledPlot]:
    return [TitledPlot(title, reading, draw()) for title, reading, draw in plots]


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"


def _several(count: int) -> str:
    return "one parameter" if count == 1 else f"{count} parameters"


def _plain_name(study: optuna.Study, objective: int) -> str:
    """The objective's name for titles and axes, without anything plotly would take as a tag."""
    return visible(objective_name(study, objective)).replace("<", "‹").replace(">", "›")
