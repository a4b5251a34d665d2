"""The training loop: chunks of steps inside one graph, validation after each epoch, the best epoch's weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from imagematch.config import direction_of
from imagematch.errors import ConfigError, TrainingFailedError
from imagematch.interruption import StopRequest, interrupted
from imagematch.losses import Loss
from imagematch.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from imagematch.training.optimizers import make_optimizer
from imagematch.training.schedules import learning_rates, mixup_shares
from imagematch.training.stages import Stage
from imagematch.training.steps import compiled_steps

_CHECKPOINT_IMAGES = 20_000
"""Training on the cached features of so many images takes about 20 times as long as writing a checkpoint."""
_EPOCH_WORTH_FINISHING_S = 2.0
_COLLAPSED_SPREAD = 1e-3
_COLLAPSED_EPOCHS = 3
EMPTY_STEPS = "empty_steps"
"""Key in an epoch's record: the number of steps in which the loss had no term, so that nothing was learnt; if any."""

EpochRecord = Mapping[str, Any]
OnEpoch = Callable[[EpochRecord], bool]
"""Called with each epoch's record; True ends the training there (a pruned trial)."""


@dataclass(frozen=True)
class FitResult:
    """The outcome of a training; the model holds the best epoch's weights.

    Attributes:
        history: one record for each epoch.
        best_epoch: counted from 1.
        best_value: the objective there.
        ended_by: "epochs", "early_stopping", or "callback" where `on_epoch` ended it before its last epoch.
        seconds: wall time of training and of validation, since the start or the resumption.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_value: float
    ended_by: str
    seconds: dict[str, float]


def fit(
    stages: Sequence[Stage],
    loss: Loss,
    *,
    on_epoch: OnEpoch = lambda _record: False,
    on_resume: Callable[[int], None] = lambda _epochs: None,
    stop: StopRequest | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    discard_unfit: bool = False,
    last_epoch: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> FitResult:
    """Trains the stages' models in place, one stage after the other, and restores the best epoch of all.

    A stage ends when its epochs are over, or when the objective has not improved for its patience. The next stage
    begins with the best epoch so far.

    A checkpoint is written at the end of an epoch: of each one where images are decoded, else after every 20,000 images
    of training; when a stage is over; and when `stop` ends the training.

    Args:
        stages: at least one; the last one's model holds every variable that is trained.
        loss: with its own variables, if it has any.
        on_epoch: called with each epoch's record, those of the checkpoint first; True ends the training.
        on_resume: called once, before `on_epoch`, with the number of epochs in the checkpoint; not without one.
        stop: checked between chunks.
        checkpoint: the file of the training's state; read first where it exists; the caller removes it.
        identity: digest of what is trained; a checkpoint of another identity is refused.
        discard_unfit: removes a checkpoint that is refused, or damaged, instead of raising an error.
        last_epoch: the training ends with it and takes its weights, whatever validation says; None: the best epoch's.
        clock: seconds; an epoch that has taken under 2 of them when `stop` is set is finished first.

    Raises:
        ConfigError: the objective is not among the validation metrics.
        InterruptedRunError: `stop` was set; the last checkpoint remains.
        TrainingFailedError: the loss or the embeddings are not numbers, or collapsed; says what to change.
        ModelError: the checkpoint is damaged or refused.
    """
    saved = None if checkpoint is None else read_checkpoint(checkpoint, identity, discard_unfit=discard_unfit)
    run = _Run(stages, loss, clock) if saved is None else _Run.restored(stages, loss, clock, saved)
    run.last_epoch = last_epoch
    if saved is not None:
        on_resume(len(run.history))
    ended_by = run.advance(cut_at=next((record["epoch"] for record in run.history if on_epoch(record)), 0))
    unsaved_images = 0
    while not ended_by:
        run.train_epoch(stop)
        record = run.validate()
        cut_at = record["epoch"] if on_epoch(record) else 0
        stopping = stop is not None and stop.at_next_step
        unsaved_images += run.source.images
        due = unsaved_images >= _CHECKPOINT_IMAGES or not run.source.cached
        if checkpoint is not None and (stopping or due or run.next_stage_is_due):
            write_checkpoint(checkpoint, run.snapshot(identity))
            unsaved_images = 0
        ended_by = run.advance(cut_at)
        if stopping and not ended_by:
            raise interrupted()
    return run.finish(ended_by)


class _Run:
    """Everything that changes while a model is trained."""

    def __init__(self, stages: Sequence[Stage], loss: Loss, clock: Callable[[], float], number: int = 1) -> None:
        self._stages = stages
        self._loss = loss
        self._clock = clock
        self._sign = 1.0 if direction_of(stages[0].settings.objective) == "maximize" else -1.0
        self._weights = [*stages[-1].model.variables, *loss.variables]
        self._history: list[dict[str, Any]] = []
        self._best: list[np.ndarray] = []
        self._seconds = {"training": 0.0, "validation": 0.0}
        self._pending: dict[str, float] = {}
        self.last_epoch: int | None = None
        self._begin(number)

    def _begin(self, number: int) -> None:
        """Begins a stage, counted from 1, with the weights as they are and a new optimiser."""
        self._number = number
        self._first = len(self._history)
        stage = self._stages[number - 1]
        self.source, self._validator, self._settings = stage.source, stage.validator, stage.settings
        model, settings = stage.model, stage.settings
        trained, lr_multipliers = stage.variables()
        proxies = list(self._loss.trainable_variables)
        self._optimizer = make_optimizer(settings)
        self._optimizer.build([*trained, *proxies])
        self._steps = compiled_steps(
            model,
            self._loss,
            self._optimizer,
            [*trained, *proxies],
            precision=settings.training_precision,
            lr_multipliers=[*lr_multipliers, *([settings.proxy_rate] * len(proxies))],
        )
        self._embed = tf.function(
            lambda inputs: model(tf.cast(inputs, tf.float32), training=False), reduce_retracing=True
        )

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record for each epoch so far."""
        return list(self._history)

    @property
    def _state(self) -> list[Any]:
        seen = {id(variable) for variable in self._weights}
        return [*self._weights, *(v for v in self._optimizer.variables if id(v) not in seen)]

    def snapshot(self, identity: str) -> Checkpoint:
        """The state as a checkpoint."""
        return Checkpoint(identity, [np.asarray(v) for v in self._state], self._best, self._history)

    @classmethod
    def restored(cls, stages: Sequence[Stage], loss: Loss, clock: Callable[[], float], saved: Checkpoint) -> _Run:
        """The run of a checkpoint, in the stage of its last epoch."""
        number = saved.history[-1].get("stage", 1)
        run = cls(stages, loss, clock, number)
        for variable, value in zip(run._state, saved.variables, strict=True):
            variable.assign(value)
        run._best = list(saved.best)
        run._history = [dict(record) for record in saved.history]
        run._first = sum(record.get("stage", 1) < number for record in run._history)
        return run

    @property
    def next_stage_is_due(self) -> bool:
        """Whether the stage is over and another one follows."""
        return self._number < len(self._stages) and bool(self._stage_ended_by())

    def advance(self, cut_at: int) -> str:
        """Begins the next stage if this one is over. Returns why the training has ended; "" if it has not.

        Args:
            cut_at: the epoch at which `on_epoch` asked for the end, 0 for none. At the last epoch nothing is cut off.
        """
        if cut_at:
            whole = cut_at == len(self._history) and not self.next_stage_is_due
            return (self._stage_ended_by() if whole else "") or "callback"
        if self.next_stage_is_due:
            self._restore_best()
            self._begin(self._number + 1)
        return self._stage_ended_by()

    def train_epoch(self, stop: StopRequest | None) -> None:
        """One pass over the training images."""
        started = self._clock()
        source = self.source
        number = len(self._history) - self._first
        rates = learning_rates(self._settings, number, source.steps, source.images)
        shares = mixup_shares(self._settings, number, source.steps, source.images)
        totals, done = np.zeros(3), 0
        for inputs, labels in source.chunks(len(self._history)):
            part = slice(done, done + len(labels))
            chunk = [inputs, labels, rates[part], *([] if shares is None else [shares[part]])]
            totals += np.asarray(self._steps(*map(tf.convert_to_tensor, chunk)))
            done += len(labels)
            if stop is not None and stop.at_next_step and self._clock() - started > _EPOCH_WORTH_FINISHING_S:
                raise interrupted()
        self._pending = {"loss": float(totals[0] / done), "active": float(totals[1] / done)}
        if totals[2]:
            self._pending[EMPTY_STEPS] = int(totals[2])
        self._seconds["training"] += self._clock() - started
        if not math.isfinite(self._pending["loss"]):
            raise TrainingFailedError(
                f"the loss is not a number in epoch {len(self._history) + 1}",
                where=self._settings.experiment_name,
                do=f"lower learning_rate (now {self._settings.learning_rate:g}), or check the images",
            )

    def validate(self) -> dict[str, Any]:
        """Completes the epoch's record with the validation metrics, and notes the weights if they are the best."""
        started = self._clock()
        metrics = self._validator.metrics(self._embed)
        self._seconds["validation"] += self._clock() - started
        epoch = len(self._history) + 1
        rate = float(np.asarray(self._optimizer.learning_rate))
        stage = {"stage": self._number} if len(self._stages) > 1 else {}
        record = {"epoch": epoch, **stage, **self._pending, **metrics, "learning_rate": rate}
        self._check_spread(record)
        objective = self._settings.objective
        if objective not in record:
            names = ", ".join(name for name in record if name.startswith("val_"))
            raise ConfigError(f"objective {objective!r} is not measured each epoch", do=f"choose one of {names}")
        best = self._best_record()
        if self.last_epoch or best is None or self._sign * record[objective] > self._sign * best[objective]:
            self._best = [np.asarray(v) for v in self._weights]
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
        settings = self._settings
        remedies = [f"lower learning_rate (now {settings.learning_rate:g})"]
        if settings.margin is not None:
            remedies.append(f"raise margin (now {settings.margin:g})")
        if settings.loss != "triplet_semihard":
            remedies.append("use loss: triplet_semihard")
        return TrainingFailedError(problem, where=settings.experiment_name, do=" or ".join(remedies))

    def _best_record(self) -> dict[str, Any] | None:
        if self.last_epoch:
            return self._history[-1] if self._history else None
        objective = self._settings.objective
        return max(self._history, key=lambda r: self._sign * r[objective], default=None)

    def _stage_ended_by(self) -> str:
        if self.last_epoch:
            return "epochs" if len(self._history) >= self.last_epoch else ""
        if len(self._history) - self._first >= self._settings.epochs:
            return "epochs"
        best = self._best_record()
        since = 0 if best is None else len(self._history) - max(best["epoch"], self._first)
        return "early_stopping" if since >= max(1, self._settings.early_stopping_patience) else ""

    def finish(self, ended_by: str) -> FitResult:
        """Restores the best epoch's weights."""
        best = self._best_record()
        assert best is not None, "settings allow no training without an epoch"
        if best["spread"] < _COLLAPSED_SPREAD:
            raise self._collapse(best)
        self._restore_best()
        return FitResult(self._history, best["epoch"], best[self._settings.objective], ended_by, self._seconds)

    def _restore_best(self) -> None:
        for variable, value in zip(self._weights, self._best, strict=True):
            variable.assign(value)
