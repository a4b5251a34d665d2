"""One training from its settings: of a head on cached features, or of a feature model on images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import TrainSettings, direction_of
from imagematch.errors import ConfigError
from imagematch.evaluation import epoch_metrics
from imagematch.features import map_blocks, row_blocks
from imagematch.files import digest_json
from imagematch.interruption import StopRequest
from imagematch.losses import make_loss
from imagematch.model import (
    AnyHeadShape,
    HeadShape,
    Whitening,
    build_feature_model,
    build_head,
    flip_average,
    head_in_numpy,
)
from imagematch.training.joining import HEAD_ALONE, Join, join_heads
from imagematch.training.loop import EpochRecord, FitResult, fit
from imagematch.training.stages import Stage, network_to_train, prepare_stages, training_classes, validation_rows
from imagematch.training.training_data import TrainingData
from imagematch.training.validation import embedding_metric_names, spread_of

tf.get_logger().setLevel("ERROR")  # each head is compiled once, which TensorFlow takes for needless retracing

_VERSION = 3
"""Raised whenever the same settings come to train something else: no checkpoint of an older version is resumed."""


@dataclass(frozen=True)
class Training:
    """A finished training; the models hold the best epoch's weights.

    Attributes:
        data: what it was trained on.
        head: features -> embedding.
        network: the extractor, images -> features; None where it stayed frozen.
        result: history and best epoch; of the trained head alone where something is joined.
        parameters: number of weights of the head, and of the extractor where it was trained.
        shape: of the head.
        metrics: `val_*` of the validation images, by the model as it is; `val_loss` is the trained head's.
        join: what stands beside the trained head; None for nothing.
        flip: whether embeddings are averaged with those of mirror images.
    """

    data: TrainingData
    head: keras.Model
    network: keras.Model | None
    result: FitResult
    parameters: int
    shape: AnyHeadShape
    metrics: Mapping[str, float]
    join: Join | None
    _blocks: Callable[..., Iterator[Any]]
    _model: keras.Model
    flip: bool = False

    def embed(self, rows: np.ndarray, *, as_validated: bool = False) -> np.ndarray:
        """Embeddings of data-set rows; with `flip` averaged over each image and its mirror image.

        On features of a frozen extractor they are, to the last bit, those of the saved matcher.

        Args:
            rows: (m,) at least one row of the data set.
            as_validated: the embeddings of per-epoch validation: without flips, and by the model that was trained.

        Returns:
            (m, embedding_dim) float32, L2-normalised.
        """

        def trained(block: Any) -> Any:
            return self._model(np.asarray(block, np.float32), training=False)

        as_trained = self.network is not None or (as_validated and self.join is None)
        embed = trained if as_trained else head_in_numpy(self.shape, self.head)
        embeddings = map_blocks(embed, self._blocks(rows), len(rows))
        if as_validated or not self.flip:
            return embeddings
        return flip_average(embeddings, map_blocks(embed, self._blocks(rows, mirrored=True), len(rows)))

    def feature_model(self) -> keras.Model:
        """Extractor and head joined: images (batch, height, width, 3), 0 to 255 -> (batch, embedding_dim)."""
        network = self.network if self.network is not None else self.data.extractor.build()
        return build_feature_model(network, self.head)


def training_identity(data: TrainingData, settings: TrainSettings) -> str:
    """Digest of all that determines the weights; a checkpoint of another identity is not resumed."""
    return digest_json([_VERSION, data.dataset.digest, data.extractor.digest, settings.trained_values])


def train_model(
    data: TrainingData,
    settings: TrainSettings,
    *,
    on_epoch: Callable[[EpochRecord], bool] = lambda _record: False,
    on_resume: Callable[[int], None] = lambda _epochs: None,
    stop: StopRequest | None = None,
    checkpoint: Path | None = None,
    discard_unfit: bool = False,
    last_epoch: int | None = None,
    validate_on: np.ndarray | None = None,
) -> Training:
    """Trains one configuration.

    Args:
        data: of these settings, see `load_training_data`.
        settings: of the whole training.
        validate_on: as `prepare_stages`.

    The other arguments are those of `fit`.

    Raises:
        DataError: as `prepare_stages`.
        ConfigError: as `prepare_stages` and `fit`; or `feature_whitening` or `join` is not possible.
        ImagematchError: as `fit`.
    """
    extractor = data.extractor
    seed = settings.training_seed
    words = np.random.SeedSequence(seed).generate_state(4)
    plan_seed, view_seed, head_seed, network_seed = (int(word) for word in words)
    keras.utils.set_random_seed(head_seed)
    tf.config.experimental.enable_op_determinism()  # the same settings give the same weights, at no measurable cost
    if settings.trains_nothing:
        return _untrained(data, settings, on_epoch, validate_on)
    if settings.joined is not None and settings.joined["weight"] != HEAD_ALONE:
        data.half_whitening(settings.joined["power"], settings.joined["dim"])  # refused before anything is trained
    network = network_to_train(data, network_seed)
    n_classes = len(training_classes(data.dataset))

    def trained(
        units: tuple[int, ...], number: int, told: Callable[[EpochRecord], bool], resumed: Callable[[int], None]
    ) -> tuple[keras.Model, HeadShape, list[Stage], FitResult]:
        """Trains one head; the first, number 1, has the checkpoint's own name."""
        seed = head_seed if number == 1 else int(np.random.SeedSequence([head_seed, number]).generate_state(1)[0])
        head = build_head(
            extractor.feature_dim,
            units=units,
            dropout=settings.dropout,
            embedding_dim=settings.embedding_dim,
            seed=seed,
            whitening=_whitening(data, settings.feature_whitening),
            feature_dropout=settings.feature_dropout,
            name="head" if settings.joined is None else f"head_{number}",
        )
        loss = make_loss(settings, n_classes=n_classes, embedding_dim=settings.embedding_dim)
        stages = prepare_stages(data, settings, loss, network, head, (plan_seed, view_seed), validate_on=validate_on)
        parts = [training_identity(data, settings), "" if last_epoch is None else f", to epoch {last_epoch}"]
        own = checkpoint
        if number > 1:
            parts.append(f", head {number}")
            own = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-{number}{checkpoint.suffix}")
        result = fit(
            stages,
            loss,
            on_epoch=told,
            on_resume=resumed,
            stop=stop,
            checkpoint=own,
            identity="".join(parts),
            discard_unfit=discard_unfit,
            last_epoch=last_epoch,
        )
        return (
            head,
            HeadShape(extractor.feature_dim, units, settings.embedding_dim, settings.feature_whitening),
            stages,
            result,
        )

    first, shape, stages, result = trained(settings.intermediate_ff_block_units, 1, on_epoch, on_resume)
    head: keras.Model = first
    metrics, join = _metrics_of(result), None
    found: AnyHeadShape = shape
    if settings.joined is not None and result.ended_by != "callback":
        further = [
            trained(units, number, lambda _record: False, lambda _epochs: None)[:2]
            for number, units in enumerate(settings.parallel_heads, 2)
        ]
        rows = validation_rows(data.dataset, settings) if validate_on is None else validate_on
        join = join_heads(data, settings, [(first, shape), *further], settings.joined, rows)
        head, found, metrics = join.head, join.shape, {**metrics, **join.metrics}
    parameters = head.count_params() + (0 if network is None else network.count_params())
    blocks, model = stages[-1].source.blocks, stages[-1].model
    done = Training(data, head, network, result, parameters, found, metrics, join, blocks, model)
    return done if result.ended_by == "callback" else _flipped(done, settings, validate_on)


def _flipped(training: Training, settings: TrainSettings, validate_on: np.ndarray | None) -> Training:
    """The training with its mirror images, if they are asked for or, with auto, make validation better."""
    flipped, dataset = replace(training, flip=True), training.data.dataset
    if settings.test_time_flip != "auto":
        return flipped if settings.test_time_flip else training
    rows = validation_rows(dataset, settings) if validate_on is None else validate_on
    names = embedding_metric_names([settings.objective]) or ["map_at_r"]
    values = [epoch_metrics(one.embed(rows), dataset.labels[rows], names)[names[0]] for one in (training, flipped)]
    better = max if direction_of(f"val_{names[0]}") == "maximize" else min
    return flipped if better(values) != values[0] else training


def _metrics_of(result: FitResult) -> dict[str, float]:
    """The validation metrics of the best epoch."""
    best = next(record for record in result.history if record["epoch"] == result.best_epoch)
    return {name: value for name, value in best.items() if name.startswith("val_")}


def _untrained(
    data: TrainingData,
    settings: TrainSettings,
    on_epoch: Callable[[EpochRecord], bool],
    validate_on: np.ndarray | None,
) -> Training:
    """Half-whitened features alone as a model; its history has them as epoch 0."""
    started = time.perf_counter()
    assert settings.joined is not None
    rows = validation_rows(data.dataset, settings) if validate_on is None else validate_on
    join = join_heads(data, settings, [], settings.joined, rows)
    plain = data.inputs[-1].views
    assert plain is not None

    def blocks(rows: np.ndarray, *, mirrored: bool = False) -> Iterator[np.ndarray]:
        array = data.inputs[-1].mirrored if mirrored else plain[0]
        assert array is not None
        return row_blocks(array, rows)

    embeddings = map_blocks(head_in_numpy(join.shape, join.head), blocks(rows), len(rows))
    record = {"epoch": 0, **join.metrics, "spread": spread_of(embeddings)}
    on_epoch(record)
    seconds = {"training": 0.0, "validation": time.perf_counter() - started}
    result = FitResult([record], 0, join.metrics[settings.objective], "epochs", seconds)
    parameters = join.head.count_params()
    done = Training(data, join.head, None, result, parameters, join.shape, join.metrics, join, blocks, join.head)
    return _flipped(done, settings, validate_on)


def _whitening(data: TrainingData, dim: int | None) -> Whitening | None:
    """The head's first layer. Raises ConfigError where the extractor is trained: its features would not stay white."""
    if dim is None:
        return None
    if not data.extractor.frozen:
        what = f"{data.extractor.name} is trained, and whitening needs a frozen extractor"
        raise ConfigError(what, where="feature_whitening", do="leave feature_whitening out")
    return data.whitening(dim)
