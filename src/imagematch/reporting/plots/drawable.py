"""A copy of a study that plots are drawn from: harmless names, no duplicates, of a large study a sample."""

from __future__ import annotations

import copy
import html
import json
import random
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from optuna.storages import InMemoryStorage

from imagematch.events import printable
from imagematch.tuning import attributes

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, TrialState


class _GivenTrials(InMemoryStorage):
    """A storage of one study whose trials are given and, being read-only, never copied.

    Args:
        trials: by number.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._given = list(trials)

    def replace(self, trials: Sequence[FrozenTrial]) -> None:
        """Replaces the trials."""
        self._given = list(trials)

    def get_all_trials(  # the arguments are Optuna's
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials themselves, whatever `deepcopy` is."""
        return [trial for trial in self._given if states is None or trial.state in states]


def drawable_copy(study: optuna.Study, *, duplicates: bool = False, bare: bool = False) -> optuna.Study:
    """A copy in memory for plots: numbers, values, times and parameters, with harmless names and no attributes.

    Names and choices are escaped, since plotly interprets tags in them. Trials have their numbers unchanged.

    Args:
        study: stays as it is.
        duplicates: whether trials that only copied an earlier value have it; else they stand as waiting, which no plot
            draws, so that no point counts twice.
        bare: without parameters and intermediate values, which take most of the time.
    """
    trials = study.get_trials(deepcopy=False)
    shown = [trial if duplicates or not attributes.is_duplicate(trial) else None for trial in trials]
    return _copied(study, shown, bare)


def sampled_copy(study: optuna.Study, at_most: int) -> optuna.Study:
    """As `drawable_copy`, but only so many trials, drawn at random with a fixed seed; the others stand as waiting.

    The best trial in each objective is always among them.
    """
    trained = [trial for trial in study.get_trials(deepcopy=False) if not attributes.is_duplicate(trial)]
    complete = [trial for trial in trained if trial.state.name == "COMPLETE" and trial.values is not None]
    drawn = set()
    for objective, direction in enumerate(study.directions):
        sign = 1.0 if direction.name == "MAXIMIZE" else -1.0
        if complete:
            drawn.add(max(complete, key=lambda t: sign * t.values[objective]).number)
    others = [trial.number for trial in trained if trial.number not in drawn]
    drawn |= set(random.Random(0).sample(others, min(at_most - len(drawn), len(others))))
    trials = study.get_trials(deepcopy=False)
    return _copied(study, [trial if trial.number in drawn else None for trial in trials], bare=False)


class RevaluedStudy:
    """A study in memory, to be minimised, whose trials are given anew each time; one may be there more than once."""

    def __init__(self) -> None:
        self._storage = _GivenTrials([])
        self._study = _quiet_study(self._storage)

    def of(self, trials: Sequence[FrozenTrial], values: Sequence[float]) -> optuna.Study:
        """The study of these trials with these values instead of their own."""
        given = []
        for number, (trial, value) in enumerate(zip(trials, values, strict=True)):
            one = copy.copy(trial)
            one.number = one._trial_id = number
            one.values = [value]
            given.append(one)
        self._storage.replace(given)
        return self._study


def _quiet_study(storage: InMemoryStorage, directions: Sequence[StudyDirection] | None = None) -> optuna.Study:
    """A new study, without the line that Optuna prints for each."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(directions=directions, storage=storage)
    finally:
        optuna.logging.set_verbosity(before)


def varying_parameters(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters that have at least two values among the trials."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]


def _copied(study: optuna.Study, trials: Sequence[FrozenTrial | None], bare: bool) -> optuna.Study:
    distributions: dict[str, dict[str, BaseDistribution]] = {}
    shown = [_hidden(n) if trial is None else _harmless(trial, distributions, bare) for n, trial in enumerate(trials)]
    return _quiet_study(_GivenTrials(shown), study.directions)


def _hidden(number: int) -> FrozenTrial:
    import optuna

    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING)
    trial.number = number
    return trial


def _harmless(trial: FrozenTrial, seen: dict[str, dict[str, BaseDistribution]], bare: bool) -> FrozenTrial:
    from optuna.trial import FrozenTrial

    params, kinds = {}, {}
    for name, value in () if bare else trial.params.items():
        shown = escaped_choice(name)
        kinds[shown] = _same(seen, shown, _escaped_distribution(trial.distributions[name]))
        params[shown] = escaped_choice(value)
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=list(trial.values) if trial.values is not None else None,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=params,
        distributions=kinds,
        user_attrs={attributes.SECONDS: trial.user_attrs.get(attributes.SECONDS)},
        system_attrs={},
        intermediate_values={} if bare else dict(trial.intermediate_values),
        trial_id=trial._trial_id,
    )


def _same(seen: dict[str, dict[str, BaseDistribution]], name: str, kind: BaseDistribution) -> BaseDistribution:
    """One object for equal distributions: a study of thousands of trials stays small."""
    return seen.setdefault(name, {}).setdefault(repr(kind), kind)


def _escaped_distribution(kind: BaseDistribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    if not isinstance(kind, CategoricalDistribution):
        return kind
    return CategoricalDistribution(tuple(escaped_choice(choice) for choice in kind.choices))


def escaped_choice(value: Any) -> Any:
    """A name or choice as plots show it: escaped text with its quotes (lists are JSON strings)."""
    if not isinstance(value, str):
        return (
            value
            if isinstance(value, (int, float, bool)) or value is None
            else html.escape(json.dumps(value, default=str))
        )
    return html.escape(printable(value).replace("\n", "\\n").replace("\t", "\\t"), quote=False)
