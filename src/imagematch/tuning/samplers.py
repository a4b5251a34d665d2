"""Samplers by name; every trial gets a fresh sampler, seeded by the study's seed and the trial's index in the plan.

TPE draws all fields at once, conditional ones included. Optuna's TPE models together only what every trial has drawn,
and would draw a conditional field, such as the dropout of heads that may have no block, independently of the rest. Here
each trial is drawn from a copy of the study in memory in which every trial has every field: what it did not draw is
drawn at random, the same each time. The first trials are a quasi-random sequence.
`benchmarks/search_quality.py` measures both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import StudySettings
from imagematch.errors import ConfigError
from imagematch.tuning import attributes
from imagematch.tuning.space import labels_at, quasi_random_labels, suggest_every
from imagematch.tuning.storage import quiet_about_experiments

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

QUASI_RANDOM_TRIALS = 8
_MODELLED = ("COMPLETE", "PRUNED", "RUNNING")
_PURPOSE = 2_000_000


def derived_seed(seed: int, index: int, purpose: int = 0) -> int:
    """A seed for one index in the plan (and one purpose there), 0 to 2^31 - 1."""
    return int(np.random.SeedSequence((seed, index, purpose)).generate_state(1)[0] >> 1)


def make_sampler(name: str, seed: int, index: int) -> BaseSampler:
    """The sampler for the trial at `index`. `grid` and `qmc` queue their configurations, and random stands in.

    CMA-ES moves ranges that count in every trial; choices and conditional fields beside them are TPE's.

    Raises:
        ConfigError: the sampler needs a package that is not installed.
    """
    import importlib.util

    import optuna

    own = derived_seed(seed, index)
    tpe = optuna.samplers.TPESampler(seed=own)
    if name == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise ConfigError("sampler: cmaes needs the package cmaes", do="pip install cmaes, or choose tpe")
        return _cmaes(own, index, tpe)
    return tpe if name == "tpe" else optuna.samplers.RandomSampler(seed=own)


def _cmaes(seed: int, index: int, independent: BaseSampler) -> BaseSampler:
    """CMA-ES that draws by the index: Optuna's adds the trial's number to the seed, and a retry has another number."""
    import optuna

    class PlacedCmaEsSampler(optuna.samplers.CmaEsSampler):
        def sample_relative(
            self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
        ) -> dict[str, Any]:
            placed = copy.copy(trial)
            placed.number = index
            return super().sample_relative(study, placed, search_space)

    return PlacedCmaEsSampler(seed=seed, independent_sampler=independent, warn_independent_sampling=False)


def draw_configuration(
    study: optuna.Study, trials: Sequence[FrozenTrial], settings: StudySettings, index: int
) -> dict[str, Any]:
    """The parameters of the trial at `index`, inactive fields left out.

    Args:
        study: for its directions.
        trials: all that it has so far.
        settings: the search space and the seed.
        index: the trial's, in the plan.
    """
    import optuna

    if index < QUASI_RANDOM_TRIALS:
        return quasi_random_labels(settings, index)
    with quiet_about_experiments():
        modelled = optuna.create_study(directions=study.directions, sampler=make_sampler("tpe", settings.seed, index))
        distributions = _distributions(settings)
        for trial in trials:
            if trial.state.name in _MODELLED and trial.params:
                modelled.add_trial(_completed(trial, settings, distributions))
        drawn = modelled.ask()
        values = suggest_every(drawn, settings)
    return labels_at(settings, values)


def _distributions(settings: StudySettings) -> dict[str, Any]:
    import optuna

    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_every(trial, settings)
    return dict(trial.distributions)


def _completed(trial: FrozenTrial, settings: StudySettings, distributions: dict[str, Any]) -> FrozenTrial:
    """The trial with a value for every field."""
    import optuna

    seed = derived_seed(settings.seed, trial.user_attrs.get(attributes.TRIAL_INDEX, trial.number), _PURPOSE)
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
