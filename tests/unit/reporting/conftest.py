"""A split, its pairs and a study that every test of the room draws."""

from __future__ import annotations

import optuna
import pytest

from imagematch.evaluation import pair_distances
from imagematch.reporting import SplitView
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION

from .samples import make_view


@pytest.fixture
def view() -> SplitView:
    return make_view()


@pytest.fixture
def pairs(view):
    return pair_distances(view.embeddings, view.labels)


@pytest.fixture
def study() -> optuna.Study:
    """A study as a search leaves it: complete, pruned, failed and repeated trials, baseline and definition."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(study_name="made", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    made.set_user_attr(DEFINITION, {"objective": "val_map_at_r", "fixed": {"dataset": "digits"}, "space": {}})
    pixels = {"val_map_at_r": 0.4, "val_roc_auc": 0.8, "extraction_s": 2.0, "images_through_network": 60}
    made.set_user_attr(BASELINE, {"pixels": pixels})
    splits = {"train": {"images": 50, "classes": 5}, "test": {"images": 10, "classes": 5}}
    made.set_user_attr(DATA, {"dataset": "digits", "images": 60, "classes": 5, "split_by": "image", "splits": splits})
    for number in range(12):
        trial = made.ask()
        trial.set_user_attr(attributes.TRIAL_INDEX, number)
        dim = trial.suggest_categorical("embedding_dim", (16, 32, 64))
        units = trial.suggest_categorical("intermediate_ff_block_units", ("[]", "[256]", "[512, 256]"))
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        value = 0.5 + dim / 300 + len(units) / 100 - 10 * rate
        for step in range(1, 4):
            trial.report(value - 0.1 / step, step)
        trial.set_user_attr(
            attributes.SECONDS, {"training": 1.0 + dim / 100, "validation": 0.5, "total": 2.0 + dim / 100}
        )
        if number == 9:
            made.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number == 10:
            trial.set_user_attr(attributes.REASON, "the loss is not a number")
            made.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            made.tell(trial, value)
    first = made.trials[0]
    copy = optuna.trial.create_trial(
        params=first.params,
        distributions=first.distributions,
        value=first.value,
        user_attrs={attributes.DUPLICATE_OF: 0},
    )
    made.add_trial(copy)
    return made
