"""Figures of a study, by Optuna's own drawing; each is a note where it cannot be made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagematch.errors import StudyError
from imagematch.reporting.escaping import visible
from imagematch.reporting.notes import Note, figure_or_note
from imagematch.reporting.study_facts import objective_name, trial_seconds
from imagematch.reporting.study_layout import in_house, timeline
from imagematch.reporting.study_reading import drawable_copy, sampled_copy

if TYPE_CHECKING:
    import optuna
    from optuna.importance import BaseImportanceEvaluator
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure

_FEWEST_TRIALS = 2
_FEWEST_FOR_IMPORTANCE = 4
_MOST_IN_CONTOUR = 3
_MOST_IN_RANK = 4
_MOST_IN_SLICE = 8
_MOST_TRIALS = 1000
"""Of a larger study, figures with a line or several points for each trial show a sample, and say so."""


@dataclass(frozen=True)
class Titled:
    """A figure (or the note in its place) with its title and one sentence on how to read it."""

    title: str
    reading: str
    shown: Figure | Note


class StudyFigures:
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
        return _varying(self._complete)

    def _drawn(
        self,
        what: str,
        make: Callable[[], Figure],
        *,
        trials: int = _FEWEST_TRIALS,
        parameters: int = 0,
        height: int = 450,
        whole: bool = False,
    ) -> Figure | Note:
        if len(self._complete) < trials:
            return Note(f"{what}: needs {trials} finished trials, there {_are(len(self._complete))}.")
        if len(self._parameters) < parameters:
            found = len(self._parameters)
            return Note(f"{what}: needs {_several(parameters)} that vary, there {_are(found)}.")
        return figure_or_note(lambda: in_house(make(), height, "" if whole else self._sample), what)

    @property
    def _sample(self) -> str:
        """What a figure of a sample says of it; empty where every trial is drawn."""
        return f"{_MOST_TRIALS:,} of {self._trials:,} trials, drawn at random" if self._sampled else ""

    def history(self) -> Figure | Note:
        """Each trial's value, and the best so far."""
        from optuna.visualization import plot_optimization_history

        name = self._name
        return self._drawn(
            "Optimisation history",
            lambda: plot_optimization_history(self._whole, target=self._target, target_name=name),
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
        """How much each parameter matters for being among the best trials (PED-ANOVA)."""
        from optuna.importance import PedAnovaImportanceEvaluator

        sign = -1.0 if self._directions[self._objective] == "MAXIMIZE" else 1.0  # of a target it takes lower for better
        target = (lambda trial: sign * float(trial.values[self._objective])) if self._several else None
        method = PedAnovaImportanceEvaluator()
        return self._importance("Importance (PED-ANOVA)", method, target, self._name, conditional=True)

    def fanova_importances(self) -> Figure | Note:
        """How much of the objective's variance each parameter explains (fANOVA)."""
        from imagematch.reporting.fanova import QuickFanova

        return self._importance("Importance (fANOVA)", QuickFanova(seed=0), self._target, self._name)

    def duration_importances(self) -> Figure | Note:
        """Which parameters decide how long a trial takes (fANOVA)."""
        from imagematch.reporting.fanova import QuickFanova

        return self._importance("Importance for the duration", QuickFanova(seed=0), trial_seconds, "duration (seconds)")

    def _importance(
        self,
        what: str,
        method: BaseImportanceEvaluator,
        target: Callable[[FrozenTrial], float] | None,
        name: str,
        *,
        conditional: bool = False,
    ) -> Figure | Note:
        """Shares of one method. Unless it is made for conditional parameters, those are left out, and named.

        Optuna would leave out the trials that lack one instead: where two exclude each other, all of them.
        """
        trials = [trial for trial in self._complete if target is None or math.isfinite(target(trial))]
        varying = _varying(trials)
        taken = [one for one in varying if conditional or all(one in trial.params for trial in trials)]
        if len(trials) < _FEWEST_FOR_IMPORTANCE:
            return Note(f"{what}: needs {_FEWEST_FOR_IMPORTANCE} finished trials, there {_are(len(trials))}.")
        if not taken:
            every = " and that every trial has" if varying else ""
            return Note(f"{what}: needs one parameter that varies{every}, there are none.")

        def draw() -> Figure:
            from optuna.visualization import plot_param_importances

            figure = plot_param_importances(self._study, method, taken, target=target, target_name=name)
            if left_out := [one for one in varying if one not in taken]:
                axis = f"{figure.layout.xaxis.title.text}<br>(not in every trial, so left out: {', '.join(left_out)})"
                figure.update_xaxes(title=axis, automargin=True)
            return in_house(figure, 360, self._sample)

        return figure_or_note(draw, what)

    def rank(self) -> Figure | Note:
        """Trials over pairs of parameters, coloured by rank."""
        from optuna.visualization import plot_rank

        names = self._parameters[:_MOST_IN_RANK]
        return self._drawn(
            "Rank",
            lambda: plot_rank(self._study, names, target=self._target, target_name=self._name),
            parameters=1,
            height=450 if len(names) <= 2 else 720,
        )

    def timeline(self) -> Figure | Note:
        """When each trial ran, and how it ended."""
        if not any(trial.datetime_start for trial in self._source.get_trials(deepcopy=False)):
            return Note("Timeline: no trial has begun.")
        return figure_or_note(lambda: in_house(timeline(self._source, bare=self._sampled), 420), "Timeline")

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

    def all(self) -> list[Titled]:
        """Every figure, in the order of the report."""
        drawn: list[tuple[str, str, Callable[[], Figure | Note]]] = [
            ("Optimisation history", "Points are trials, the line is the best so far.", self.history),
            (
                "Intermediate values",
                "One line a trial, by epoch (or by fold, the mean so far); pruned trials end early.",
                self.intermediate_values,
            ),
            (
                "Importance (PED-ANOVA)",
                "What tells the best trials from the rest; needs many trials.",
                self.importances,
            ),
            ("Importance (fANOVA)", "How much of the objective's variance each explains.", self.fanova_importances),
            ("Importance for the duration", "What decides how long a trial takes (fANOVA).", self.duration_importances),
            ("Slice", "Each parameter against the objective; darker points are later trials.", self.slices),
            ("Parallel coordinates", "One line a trial, through all its parameters.", self.parallel_coordinates),
            ("Contour", "The objective over pairs of parameters, interpolated between trials.", self.contour),
            ("Rank", "Trials over pairs of parameters, coloured by their rank.", self.rank),
            ("Timeline", "When each trial ran, and how it ended.", self.timeline),
            ("EDF", "Which share of the trials lies at or under a value.", self.edf),
        ]
        if self._several:
            drawn.insert(0, ("Pareto front", "Trials that no other beats in every objective.", self.pareto_front))
        return [Titled(title, reading, draw()) for title, reading, draw in drawn]


def _varying(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters that have at least two values among the trials."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"


def _several(count: int) -> str:
    return "one parameter" if count == 1 else f"{count} parameters"


def _plain_name(study: optuna.Study, objective: int) -> str:
    """The objective's name for titles and axes, without anything plotly would take as a tag."""
    return visible(objective_name(study, objective)).replace("<", "‹").replace(">", "›")
