"""Samplers and pruners by name; every trial gets a fresh sampler, seeded by the study's seed and its place."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import StudySettings
from imagematch.errors import ConfigError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 5
WARMUP_EPOCHS = 5
WARMUP_FOLDS = 1


def derived_seed(seed: int, place: int, purpose: int = 0) -> int:
    """A seed for one place in the plan (and one purpose there), 0 to 2^31 - 1."""
    return int(np.random.SeedSequence((seed, place, purpose)).generate_state(1)[0] >> 1)


def make_sampler(name: str, seed: int, place: int) -> BaseSampler:
    """The sampler for the trial at `place`. `grid` and `qmc` have none: their points are queued (random stands in).

    CMA-ES moves ranges that count in every trial; choices and conditional fields beside them are TPE's.

    Raises:
        ConfigError: the sampler needs a package that is not installed.
    """
    import importlib.util

    import optuna

    own = derived_seed(seed, place)
    tpe = optuna.samplers.TPESampler(seed=own)
    if name == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise ConfigError("sampler: cmaes needs the package cmaes", do="pip install cmaes, or choose tpe")
        return _cmaes(own, place, tpe)
    return tpe if name == "tpe" else optuna.samplers.RandomSampler(seed=own)


def _cmaes(seed: int, place: int, independent: BaseSampler) -> BaseSampler:
    """CMA-ES that draws by the place: Optuna's adds the trial's number to the seed, and a retry has another number."""
    import optuna

    class PlacedCmaEsSampler(optuna.samplers.CmaEsSampler):
        def sample_relative(
            self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
        ) -> dict[str, Any]:
            placed = copy.copy(trial)
            placed.number = place
            return super().sample_relative(study, placed, search_space)

    return PlacedCmaEsSampler(seed=seed, independent_sampler=independent, warn_independent_sampling=False)


def make_pruner(name: str, *, longest: int, folds: int = 1) -> BasePruner:
    """The pruner; the first trials, and the first epochs (or the first fold) of each, are let go on.

    Args:
        name: `median`, `asha`, `hyperband` or `none`.
        longest: the most epochs that a trial may have.
        folds: where it is over 1, the steps of a trial are its folds.
    """
    import optuna

    from imagematch.tuning.halving import Halving

    if name == "median":
        if folds > 1:
            return _fold_median()
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    first = WARMUP_FOLDS + 1 if folds > 1 else WARMUP_EPOCHS
    if name == "asha":
        return Halving(first, factor=2 if folds > 1 else 4)
    if name == "hyperband":
        return Halving(first, factor=2 if folds > 1 else 3, longest=folds if folds > 1 else longest)
    return optuna.pruners.NopPruner()


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


def _fold_median() -> BasePruner:
    """Prunes a trial whose mean over its folds so far is worse than the median of the others' at the same fold.

    Optuna's own median pruner goes by a trial's best step, and among folds that is an easy fold, not a good trial.
    """
    import optuna

    class FoldMedianPruner(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            step = trial.last_step
            if step is None or step <= WARMUP_FOLDS:
                return False
            others = [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]
            values = [t.intermediate_values[step] for t in others if step in t.intermediate_values]
            if len(values) < STARTUP_TRIALS:
                return False
            sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
            return bool(sign * trial.intermediate_values[step] < sign * np.median(values))

    return FoldMedianPruner()
