"""Samplers and pruners by name.

Every trial gets a fresh sampler, seeded by the study's seed and the trial's index in the plan. TPE draws all fields at
once, conditional ones included. Optuna's TPE models together only what every trial has drawn, and would draw a
conditional field, such as the dropout of heads that may have no block, independently of the rest. Here each trial is
drawn from a copy of the study in memory in which every trial has every field: what it did not draw is drawn at random,
the same each time. The first trials are a quasi-random sequence. `benchmarks/search_quality.py` measures both.

Successive halving decides the same in a study that was cut off and resumed.
"""

from __future__ import annotations

import binascii
import copy
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import BasePruner, MedianPruner, NopPruner

from imagematch.config import StudySettings
from imagematch.errors import ConfigError
from imagematch.tuning import attributes
from imagematch.tuning.attributes import TRIAL_INDEX
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
        distributions = distributions_of(settings)
        for trial in trials:
            if trial.state.name in _MODELLED and trial.params:
                modelled.add_trial(_completed(trial, settings, distributions))
        drawn = modelled.ask()
        values = suggest_every(drawn, settings)
    return labels_at(settings, values)


def distributions_of(settings: StudySettings) -> dict[str, Any]:
    """Searched field -> Optuna's distribution."""
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


_STARTUP_TRIALS = 5
_WARMUP_EPOCHS = 5
_WARMUP_FOLDS = 1
_WARMUP_OF_COSINE = 2 / 3
"""Of a training: until then its order among others says little of the end. benchmarks/pruning.py measures it."""


def make_pruner(name: str, *, longest: int, folds: int = 1, cosine: bool = False) -> BasePruner:
    """The pruner; the first trials, and the first epochs (or the first fold) of each, are never pruned.

    Args:
        name: `median`, `asha`, `hyperband` or `none`.
        longest: the most epochs that a trial may have.
        folds: where it is over 1, the steps of a trial are its folds.
        cosine: whether learning rates fall by a cosine: the median is not asked before the last third of the epochs.
    """
    if name == "median":
        if folds > 1:
            return FoldMedian()
        late = round(_WARMUP_OF_COSINE * longest) if cosine else 0
        return MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(late, _WARMUP_EPOCHS))
    first = _WARMUP_FOLDS + 1 if folds > 1 else _WARMUP_EPOCHS
    if name == "asha":
        return Halving(first, factor=2 if folds > 1 else 4)
    if name == "hyperband":
        return Halving(first, factor=2 if folds > 1 else 3, longest=folds if folds > 1 else longest)
    return NopPruner()


def falls_by_cosine(settings: StudySettings) -> bool:
    """Whether `lr_schedule` is cosine in some trial."""
    searched = settings.space.get("lr_schedule")
    return "cosine" in (searched.ends if searched is not None else (settings.fixed.get("lr_schedule"),))


def longest_training(settings: StudySettings) -> int:
    """The most epochs that the fields of a trial of this study ask for, all stages together.

    The BiT-HyperRule goes by the images instead: no pruner that needs this goes with it.
    """
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    varied = [field for field in ("epochs", "stages") if field in settings.space]
    return max(
        sum(
            stage.epochs
            for stage in settings.settings_for({**first, **dict(zip(varied, ends, strict=True))}).stage_settings
        )
        for ends in itertools.product(*(settings.space[field].ends for field in varied))
    )


class FoldMedian(BasePruner):
    """Prunes a trial whose mean over its folds so far is worse than the median of the others' at the same fold.

    Optuna's own median pruner goes by a trial's best step, and among folds that is an easy fold, not a good trial.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        step = trial.last_step
        if step is None or step <= _WARMUP_FOLDS:
            return False
        others = [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]
        values = [t.intermediate_values[step] for t in others if step in t.intermediate_values]
        if len(values) < _STARTUP_TRIALS:
            return False
        sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
        return bool(sign * trial.intermediate_values[step] < sign * np.median(values))


class Halving(BasePruner):
    """Prunes at the steps `first` x `factor`^k a trial that is not among the best 1 / `factor` that came so far.

    Decides as Optuna's SuccessiveHalvingPruner (one bracket) and HyperbandPruner (several, of which bracket b skips the
    first b of those steps). Those go by what they store on trials and by their numbers, so a trial that was cut off and
    trained again under another number counts twice, and moves all later ones to other brackets. Here only the reported
    values of trials that did not fail count, and a trial's bracket comes from its index in the plan.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020, algorithm 2 (ASHA); Li et al.,
    Hyperband, 2018, algorithm 1.

    Args:
        first: the earliest step at which a trial may be pruned.
        factor: at least 2.
        longest: the last step there can be; with it there are as many brackets as Hyperband has, without it one.
    """

    def __init__(self, first: int, factor: int, longest: int | None = None) -> None:
        self._first, self._factor = first, factor
        brackets = 1
        while longest is not None and first * factor**brackets <= longest:
            brackets += 1
        shares = [math.ceil(brackets * factor**left / (left + 1)) for left in reversed(range(brackets))]
        self._bracket_of_share = [bracket for bracket, share in enumerate(shares) for _ in range(share)]

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        step, bracket = trial.last_step, self._bracket(study, trial)
        if step is None or not self._halves_at(step, bracket):
            return False
        value = trial.intermediate_values[step]
        if math.isnan(value):
            return True
        rivals = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if step in other.intermediate_values
            and other.number != trial.number
            and other.state.name != "FAIL"
            and self._bracket(study, other) == bracket
        ]
        sign = -1.0 if study.direction.name == "MAXIMIZE" else 1.0
        losses = sorted(sign * one for one in (value, *rivals) if not math.isnan(one))
        return sign * value > losses[max(1, len(losses) // self._factor) - 1]

    def _halves_at(self, step: int, bracket: int) -> bool:
        rung = self._first * self._factor**bracket
        while rung < step:
            rung *= self._factor
        return rung == step

    def _bracket(self, study: optuna.Study, trial: FrozenTrial) -> int:
        index = trial.user_attrs.get(TRIAL_INDEX, trial.number)
        draw = binascii.crc32(f"{study.study_name}_{index}".encode())
        return self._bracket_of_share[draw % len(self._bracket_of_share)]
