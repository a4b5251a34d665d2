"""Makes the SQLite file of a study of thousands of trials in seconds, without training: for tests and benchmarks.

`python -m tests.large_study FILE [--trials N]` writes a study named `large`, with what `hpt.py` notes on each trial.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from imagematch.config import StudySettings, parse_study
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION, WINNER
from imagematch.tuning.space import config_digest, suggest
from imagematch.tuning.storage import sqlite_url

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

NAME = "large"
EPOCHS = 30
_BEGUN = datetime(2026, 1, 1)


def settings_of(trials: int) -> StudySettings:
    """Seven searched fields, among them one that only counts for some losses."""
    return parse_study(
        {
            "study_name": NAME,
            "dataset": "digits",
            "feature_extractor": "pixels",
            "loss_grid": ["triplet_semihard", "multi_similarity", "nt_xent", "proxy_anchor"],
            "margin_range": {"low": 0.05, "high": 1.0},
            "embedding_dim_grid": [64, 128, 256, 512],
            "intermediate_ff_block_units_grid": [[], [256], [512], [1024], [512, 256]],
            "dropout_range": {"low": 0.0, "high": 0.6, "step": 0.1},
            "learning_rate_range": {"low": 1e-4, "high": 1e-2, "log": True},
            "weight_decay_range": {"low": 1e-6, "high": 1e-2, "log": True},
            "lr_schedule_grid": ["constant", "cosine"],
            "epochs": EPOCHS,
            "n_trials": trials,
        }
    )


def make_study(path: Path, trials: int = 5000) -> None:
    """Writes a study of so many finished trials, of which a third is pruned, and some fail or only repeat another.

    Args:
        path: the SQLite file, not there yet.
        trials: how many, two at least; the same number gives the same study.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = settings_of(trials)
    made = _made_trials(settings, trials)
    study = optuna.create_study(study_name=NAME, storage=sqlite_url(path), direction="maximize")
    study.set_user_attr(DEFINITION, settings.space_json())
    study.set_user_attr(DATA, {"dataset": "digits", "images": 1797, "classes": 10, "split_by": "image", "digest": "0"})
    study.set_user_attr(BASELINE, {"pixels": {"at": {}, "val_map_at_r": 0.41, "val_roc_auc": 0.9, "extraction_s": 0.1}})
    best = max(
        (t for t in made if t.value is not None and not attributes.is_duplicate(t)), key=lambda t: t.value or 0.0
    )
    study.set_user_attr(WINNER, best.number)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        _insert(connection, made)


def _made_trials(settings: StudySettings, trials: int) -> list[FrozenTrial]:
    import optuna

    rng = np.random.default_rng(0)
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made: list[FrozenTrial] = []
    for number in range(trials):
        trial = memory.ask()
        values = suggest(trial, settings)
        asked = memory._storage.get_trial(trial._trial_id)
        fate = "COMPLETE" if number == 0 else str(rng.choice(["COMPLETE", "PRUNED", "FAIL"], p=[0.64, 0.34, 0.02]))
        value = _quality(values) + rng.normal(0, 0.01)
        curve = value * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 4)) + rng.normal(0, 0.003, EPOCHS)
        epochs = int(rng.integers(12, EPOCHS + 1)) if fate == "COMPLETE" else int(rng.integers(1, 12))
        begun = _BEGUN + timedelta(seconds=20 * number)
        seconds = 0.4 * epochs * (1 + values["embedding_dim"] / 256)
        noted: dict[str, Any] = {
            attributes.OWNER: {"host": "host", "pid": 1, "started": "1.0"},
            attributes.TRIAL_INDEX: number,
            attributes.CONFIG_DIGEST: config_digest(settings, values),
        }
        if fate == "FAIL":
            noted[attributes.REASON] = "the loss is not finite after epoch 1"
        else:
            noted |= _figures(curve[:epochs], seconds)
        if fate == "COMPLETE" and number and rng.random() < 0.03:
            asked, noted = made[0], {attributes.TRIAL_INDEX: number, attributes.DUPLICATE_OF: 0}
            epochs = 0
        complete = fate == "COMPLETE"
        made.append(
            optuna.trial.FrozenTrial(
                number=number,
                trial_id=number + 1,
                state=optuna.trial.TrialState[fate],
                value=(made[0].value if not epochs else float(max(curve[:epochs]))) if complete else None,
                datetime_start=begun,
                datetime_complete=begun + timedelta(seconds=seconds),
                params=dict(asked.params),
                distributions=dict(asked.distributions),
                user_attrs=noted,
                system_attrs={},
                intermediate_values={step + 1: float(v) for step, v in enumerate(curve[:epochs])},
            )
        )
    return made


def _quality(values: dict[str, Any]) -> float:
    """An objective that most fields have a hand in."""
    rate = (np.log10(values["learning_rate"]) + 3) ** 2
    losses = {"triplet_semihard": 0.0, "multi_similarity": 0.05, "nt_xent": 0.03, "proxy_anchor": 0.02}
    size = 0.02 * np.log2(values["embedding_dim"] / 64)
    return float(0.6 + losses[values["loss"]] + size - 0.1 * rate - 0.1 * values.get("dropout", 0.0) ** 2)


def _figures(curve: np.ndarray, seconds: float) -> dict[str, Any]:
    best = float(curve.max())
    return {
        attributes.BEST_EPOCH: int(curve.argmax()) + 1,
        attributes.EPOCHS: len(curve),
        attributes.PARAMETERS: 100_000,
        attributes.TRIAL_METRICS: {"val_map_at_r": best, "val_roc_auc": 0.9, "val_eer": 0.1, "val_recall_at_1": 0.8},
        attributes.SECONDS: {"data": 0.05, "training": seconds - 0.15, "validation": 0.1, "total": seconds},
    }


def _insert(connection: sqlite3.Connection, trials: list[FrozenTrial]) -> None:
    """Writes the rows that Optuna would write one transaction each."""
    from optuna.distributions import distribution_to_json

    def put(table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * (columns.count(",") + 1))
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    def when(time: datetime | None) -> str | None:
        return None if time is None else time.isoformat(" ", "microseconds")

    put(
        "trials",
        "trial_id, number, study_id, state, datetime_start, datetime_complete",
        [(t._trial_id, t.number, 1, t.state.name, when(t.datetime_start), when(t.datetime_complete)) for t in trials],
    )
    put(
        "trial_params",
        "trial_id, param_name, param_value, distribution_json",
        [
            (t._trial_id, name, kind.to_internal_repr(t.params[name]), distribution_to_json(kind))
            for t in trials
            for name, kind in t.distributions.items()
        ],
    )
    put(
        "trial_values",
        "trial_id, objective, value, value_type",
        [(t._trial_id, 0, t.value, "FINITE") for t in trials if t.value is not None],
    )
    put(
        "trial_intermediate_values",
        "trial_id, step, intermediate_value, intermediate_value_type",
        [(t._trial_id, step, value, "FINITE") for t in trials for step, value in t.intermediate_values.items()],
    )
    put(
        "trial_user_attributes",
        "trial_id, key, value_json",
        [(t._trial_id, key, json.dumps(value)) for t in trials for key, value in t.user_attrs.items()],
    )


def main(file: Path, trials: Annotated[int, typer.Option(min=2)] = 5000) -> None:
    """Writes the study."""
    make_study(file, trials)


if __name__ == "__main__":
    typer.run(main)
