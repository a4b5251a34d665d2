"""TPE over all fields at once, those included that only count beside others.

Optuna's TPE models together only what every trial has drawn, so a conditional field, such as the dropout of heads that
may have no block, would be drawn as if it had nothing to do with the rest. Here each trial is asked from a copy of the
study in memory, in which every trial has every field: what it did not draw is drawn at random, the same each time. The
first trials are a quasi-random sequence. `benchmarks/search_quality.py` shows what both are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import StudySettings
from imagematch.tuning import records
from imagematch.tuning.samplers import derived_seed, make_sampler
from imagematch.tuning.space import labels_at, quasi_random_labels, suggest_every
from imagematch.tuning.storage import quiet_about_experiments

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

QUASI_RANDOM_TRIALS = 8
_KNOWN = ("COMPLETE", "PRUNED", "RUNNING")
_PURPOSE = 2_000_000


def draw(study: optuna.Study, trials: Sequence[FrozenTrial], settings: StudySettings, place: int) -> dict[str, Any]:
    """The parameters of the trial at `place`, inactive fields left out.

    Args:
        study: for its directions.
        trials: all that it has so far.
        settings: the search space and the seed.
        place: in the plan.
    """
    import optuna

    if place < QUASI_RANDOM_TRIALS:
        return quasi_random_labels(settings, place)
    with quiet_about_experiments():
        copy = optuna.create_study(directions=study.directions, sampler=make_sampler("tpe", settings.seed, place))
        distributions = _distributions(settings)
        for trial in trials:
            if trial.state.name in _KNOWN and trial.params:
                copy.add_trial(_completed(trial, settings, distributions))
        asked = copy.ask()
        values = suggest_every(asked, settings)
    return labels_at(settings, values)


def _distributions(settings: StudySettings) -> dict[str, Any]:
    import optuna

    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_every(trial, settings)
    return dict(trial.distributions)


def _completed(trial: FrozenTrial, settings: StudySettings, distributions: dict[str, Any]) -> FrozenTrial:
    """The trial with a value for every field."""
    import optuna

    seed = derived_seed(settings.seed, trial.user_attrs.get(records.PLACE, trial.number), _PURPOSE)
    unit = np.random.default_rng(seed).random(len(settings.space))
    filled = labels_at(
        settings,
        {field: dimension.at(float(u)) for (field, dimension), u in zip(settings.space.items(), unit, strict=True)},
        every=True,
    )
    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values if trial.state.name == "COMPLETE" else None,
        params={**filled, **trial.params},
        distributions=distributions,
        intermediate_values=trial.intermediate_values,
        system_attrs={key: value for key, value in trial.system_attrs.items() if key.startswith("constraints")},
    )
