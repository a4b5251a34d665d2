"""The replay of kept learning curves prunes as Optuna does."""

import json

import numpy as np
import optuna
import pytest

from pruning import CURVES, STARTUP, replay


@pytest.mark.parametrize(("percentile", "first"), [(50, 5), (75, 10)])
def test_a_replay_prunes_as_optuna_does(percentile: int, first: int) -> None:
    curves = np.array(json.loads(CURVES.read_text())["by_image"])[np.random.default_rng(3).permutation(30)][:16]
    pruner = optuna.pruners.PercentilePruner(percentile, n_startup_trials=STARTUP, n_warmup_steps=first)
    study, epochs, found = optuna.create_study(direction="maximize", pruner=pruner), 0, -1.0
    for curve in curves:
        trial, state = study.ask(), optuna.trial.TrialState.COMPLETE
        for epoch, value in enumerate(curve, start=1):
            epochs += 1
            trial.report(value, epoch)
            if epoch < len(curve) and trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        else:
            found = max(found, curve.max())
        study.tell(trial, curve.max() if state.name == "COMPLETE" else None, state=state)
    assert epochs < curves.size
    assert replay(curves, percentile, first) == (found < curves.max(), curves.max() - found, 1 - epochs / curves.size)
