"""The training loop: whole chunks of steps inside one graph, one judgement an epoch, the best epoch kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import TrainSettings, direction_of
from imagematch.errors import ConfigError, ModelError
from imagematch.losses import Loss
from imagematch.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from imagematch.training.interruption import StopRequest, interrupted
from imagematch.training.mixup import mixed_value, mixup_shares
from imagematch.training.optimization import learning_rates, make_optimizer
from imagematch.training.precision import computing_in
from imagematch.training.sources import Source
from imagematch.training.validation import Validator

_CHECKPOINT_EVERY_S = 5.0
_EPOCH_WORTH_FINISHING_S = 2.0
_COLLAPSED_SPREAD = 1e-3
_COLLAPSED_EPOCHS = 3

EpochRecord = Mapping[str, Any]
OnEpoch = Callable[[EpochRecord], bool]
"""Told each epoch's record; returns True to end the training there (a pruned trial)."""


class TrainingFailedError(ModelError):
    """The training cannot go on: the loss is not a number, or the embeddings have collapsed."""


@dataclass(frozen=True)
class FitResult:
    """What a training run came to; the model holds the best epoch's weights.

    Attributes:
        history: one record an epoch.
        best_epoch: counted from 1.
        best_value: the objective there.
        ended_by: "epochs", "early_stopping" or "callback".
        seconds: wall time of training and validation, by part.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_value: float
    ended_by: str
    seconds: dict[str, float]


def fit(
    model: keras.Model,
    loss: Loss,
    source: Source,
    validator: Validator,
    settings: TrainSettings,
    *,
    on_epoch: OnEpoch = lambda _record: False,
    stop: StopRequest | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    discard_unfit: bool = False,
) -> FitResult:
    """Trains `model` in place until the epochs are over, `objective` has not improved for the patience, or a stop.

    Args:
        model: inputs of `source` -> (batch, embedding_dim) on the unit sphere.
        loss: with its own variables, if it has any.
        source: training chunks and validation blocks.
        validator: the figures of an epoch.
        settings: optimiser, schedule, epochs, patience and objective.
        on_epoch: told each epoch's record, those of a checkpoint first; true ends the training.
        stop: looked at between chunks.
        checkpoint: where the state is kept while training; read first if it is there; removed by the caller.
        identity: digest of what is trained; a checkpoint of another identity is refused.
        discard_unfit: such a checkpoint, or a damaged one, is removed instead.

    Raises:
        ConfigError: the objective is not among the validation figures.
        InterruptedRunError: `stop` asked for it; the last checkpoint stays.
        TrainingFailedError: NaN, or a collapse; says what to change.
        ModelError: the checkpoint is damaged or foreign.
    """
    run = _Run(model, loss, settings)
    if checkpoint is not None:
        kept = read_checkpoint(checkpoint, identity, discard_unfit=discard_unfit)
        if kept is not None:
            run.restore(kept)
    ended_by = run.ended_by()
    if any(on_epoch(record) for record in run.history):  # a resumed run tells its earlier epochs again
        ended_by = "callback"
    written = time.monotonic()
    while not ended_by:
        run.train_epoch(source, stop)
        record = run.judge(validator)
        ended_by = run.ended_by()
        if on_epoch(record):
            ended_by = "callback"
        asked = stop is not None and stop.at_next_step
        if checkpoint is not None and (asked or time.monotonic() - written > _CHECKPOINT_EVERY_S):
            write_checkpoint(checkpoint, run.snapshot(identity))
            written = time.monotonic()
        if asked and not ended_by:
            raise interrupted()
    return run.finish(ended_by)


class _Run:
    """Everything that changes while a model is trained."""

    def __init__(self, model: keras.Model, loss: Loss, settings: TrainSettings) -> None:
        self._model = model
        self._loss = loss
        self._settings = settings
        self._sign = 1.0 if direction_of(settings.objective) == "maximize" else -1.0
        self._optimizer = make_optimizer(settings)
        self._trained = [*model.trainable_variables, *loss.trainable_variables]
        self._optimizer.build(self._trained)
        self._history: list[dict[str, Any]] = []
        self._best: list[np.ndarray] = []
        self._seconds = {"training": 0.0, "validation": 0.0}
        precision = settings.training_precision
        self._steps = compiled_steps(model, loss, self._optimizer, self._trained, precision=precision)
        self._embed = tf.function(
            lambda inputs: model(tf.cast(inputs, tf.float32), training=False), reduce_retracing=True
        )
        self._pending: dict[str, float] = {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record for each epoch so far."""
        return list(self._history)

    @property
    def _state(self) -> list[Any]:
        model = list(self._model.variables)
        seen = {id(variable) for variable in model}
        rest = [v for v in [*self._loss.variables, *self._optimizer.variables] if id(v) not in seen]
        return [*model, *rest]

    def snapshot(self, identity: str) -> Checkpoint:
        """The state as a checkpoint."""
        return Checkpoint(identity, [np.asarray(v) for v in self._state], self._best, self._history)

    def restore(self, kept: Checkpoint) -> None:
        """Goes on from a checkpoint."""
        for variable, value in zip(self._state, kept.variables, strict=True):
            variable.assign(value)
        self._best = list(kept.best)
        self._history = [dict(record) for record in kept.history]

    def train_epoch(self, source: Source, stop: StopRequest | None) -> None:
        """One pass over the training images."""
        started = time.perf_counter()
        number = len(self._history)
        rates = learning_rates(self._settings, number, source.steps, source.images)
        shares = mixup_shares(self._settings, number, source.steps, source.images)
        totals, done = np.zeros(2), 0
        for inputs, labels in source.chunks(number):
            part = slice(done, done + len(labels))
            chunk = [inputs, labels, rates[part], *([] if shares is None else [shares[part]])]
            totals += np.asarray(self._steps(*map(tf.convert_to_tensor, chunk)))
            done += len(labels)
            if stop is not None and stop.at_next_step and time.perf_counter() - started > _EPOCH_WORTH_FINISHING_S:
                raise interrupted()
        self._pending = {"loss": float(totals[0] / done), "active": float(totals[1] / done)}
        self._seconds["training"] += time.perf_counter() - started
        if not math.isfinite(self._pending["loss"]):
            raise TrainingFailedError(
                f"the loss is not a number in epoch {number + 1}",
                where=self._settings.experiment_name,
                do=f"lower learning_rate (now {self._settings.learning_rate:g}), or check the images",
            )

    def judge(self, validator: Validator) -> dict[str, Any]:
        """Closes the epoch: its record, and the weights kept if it is the best so far."""
        started = time.perf_counter()
        figures = validator.figures(self._embed)
        self._seconds["validation"] += time.perf_counter() - started
        epoch = len(self._history) + 1
        rate = float(np.asarray(self._optimizer.learning_rate))
        record = {"epoch": epoch, **self._pending, **figures, "learning_rate": rate}
        self._check_spread(record)
        objective = self._settings.objective
        if objective not in record:
            names = ", ".join(name for name in record if name.startswith("val_"))
            raise ConfigError(f"objective {objective!r} is not measured each epoch", do=f"choose one of {names}")
        best = self._best_record()
        if best is None or self._sign * record[objective] > self._sign * best[objective]:
            self._best = [np.asarray(v) for v in self._model.variables]
        self._history.append(record)
        return record

    def _check_spread(self, record: Mapping[str, Any]) -> None:
        """Refuses NaN at once, and a collapse that lasts: a new network's batch norms need an epoch or two."""
        if math.isnan(record["spread"]):
            raise self._failure(f"the embeddings are not numbers in epoch {record['epoch']}")
        latest = [*self._history, record][-_COLLAPSED_EPOCHS:]
        if len(latest) == _COLLAPSED_EPOCHS and all(one["spread"] < _COLLAPSED_SPREAD for one in latest):
            raise self._collapse(record)

    def _collapse(self, record: Mapping[str, Any]) -> TrainingFailedError:
        spread = f"spread {record['spread']:.1e}"
        return self._failure(f"the embeddings have collapsed to one point ({spread}) in epoch {record['epoch']}")

    def _failure(self, problem: str) -> TrainingFailedError:
        rate = self._settings.learning_rate
        return TrainingFailedError(
            problem,
            where=self._settings.experiment_name,
            do=f"lower learning_rate (now {rate:g}), raise the margin, or use triplet_semihard",
        )

    def _best_record(self) -> dict[str, Any] | None:
        objective = self._settings.objective
        return max(self._history, key=lambda r: self._sign * r[objective], default=None)

    def ended_by(self) -> str:
        """Why the training is over by now; empty if it is not."""
        if len(self._history) >= self._settings.epochs:
            return "epochs"
        best = self._best_record()
        if best is not None and len(self._history) - best["epoch"] >= max(1, self._settings.early_stopping_patience):
            return "early_stopping"
        return ""

    def finish(self, ended_by: str) -> FitResult:
        """Puts the best weights back."""
        best = self._best_record()
        assert best is not None, "settings allow no training without an epoch"
        if best["spread"] < _COLLAPSED_SPREAD:
            raise self._collapse(best)
        for variable, value in zip(self._model.variables, self._best, strict=True):
            variable.assign(value)
        return FitResult(self._history, best["epoch"], best[self._settings.objective], ended_by, self._seconds)


def compiled_steps(
    model: keras.Model, loss: Loss, optimizer: Any, variables: list[Any], *, precision: str = "float32"
) -> Callable[..., Any]:
    """A graph that trains on a chunk and gives the sums of loss and activity.

    It takes inputs (steps, batch, ...), labels (steps, batch), learning rates (steps,) and, for MixUp, shares (steps,).
    """

    def embed(inputs: Any) -> Any:
        with computing_in(precision, model):
            return model(inputs, training=True)

    @tf.function(reduce_retracing=True)
    def run_steps(inputs: Any, labels: Any, rates: Any, shares: Any = None) -> Any:
        totals = tf.zeros(2)
        for step in tf.range(tf.shape(labels)[0]):
            optimizer.learning_rate.assign(rates[step])
            with tf.GradientTape() as tape:
                batch = tf.cast(inputs[step], tf.float32)
                if shares is None:
                    value = loss(embed(batch), labels[step])
                else:
                    value = mixed_value(embed, loss, batch, labels[step], shares[step])
                total = tf.add_n([value.loss, *model.losses])
            optimizer.apply(tape.gradient(total, variables), variables)
            totals += tf.stack([tf.cast(value.loss, tf.float32), tf.cast(value.active, tf.float32)])
        return totals

    return run_steps
