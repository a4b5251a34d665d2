"""Samplers and pruners by name; every trial gets a fresh sampler, seeded by the study's seed and its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import ConfigError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

STARTUP_TRIALS = 5
WARMUP_EPOCHS = 5


def derived_seed(seed: int, place: int, purpose: int = 0) -> int:
    """A seed for one place in the plan (and one purpose there), 0 to 2^31 - 1."""
    return int(np.random.SeedSequence((seed, place, purpose)).generate_state(1)[0] >> 1)


def make_sampler(name: str, seed: int, place: int) -> BaseSampler:
    """The sampler for the trial at `place`. `grid` has none of its own: its points are queued (random stands in).

    Raises:
        ConfigError: the sampler needs a package that is not installed.
    """
    import optuna

    own = derived_seed(seed, place)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=own)
    if name == "qmc":
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    if name == "cmaes":
        try:
            return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
        except ImportError as error:
            raise ConfigError("sampler cmaes needs the package cmaes", do="pip install cmaes, or choose tpe") from error
    return optuna.samplers.RandomSampler(seed=own)


def make_pruner(name: str, *, warmup_steps: int = WARMUP_EPOCHS) -> BasePruner:
    """The pruner; `median` lets the first trials and the first epochs of each go on."""
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=warmup_steps)
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=warmup_steps)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=warmup_steps)
    return optuna.pruners.NopPruner()
