"""The stages of a training: what each one trains of the network, at which learning rates, and on which inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import PROXY_LOSSES, TrainSettings
from imagematch.data import Dataset
from imagematch.errors import ConfigError, DataError
from imagematch.extractors import Concatenation, FrozenPart, network_inside
from imagematch.losses import Loss
from imagematch.model import build_feature_model
from imagematch.training.batch_sources import BatchSource, FeatureSource, ImageSource, embed_rows
from imagematch.training.batches import check_batch_classes, plan_batches
from imagematch.training.devices import gpus, on_devices
from imagematch.training.schedules import settings_in_force
from imagematch.training.training_data import StageInputs, TrainingData
from imagematch.training.validation import EpochValidator, sample_rows


@dataclass(frozen=True)
class Stage:
    """One stage of a training; all stages share the variables of their models.

    Attributes:
        settings: the stage's own: optimiser, schedule, epochs, patience; and the objective, the same in all stages.
        model: inputs of `source` -> (batch, embedding_dim) on the unit sphere.
        source: training chunks and validation blocks.
        validator: computes an epoch's validation metrics.
        trained: the variables to train; empty for all of the model's trainable ones.
        lr_multipliers: for each of `trained`, what multiplies its learning rate.
    """

    settings: TrainSettings
    model: keras.Model
    source: BatchSource
    validator: EpochValidator
    trained: Sequence[Any] = ()
    lr_multipliers: Sequence[float] = field(default=())

    def variables(self) -> tuple[list[Any], list[float]]:
        """The variables to train, and what multiplies each one's learning rate."""
        if not self.trained:
            variables = list(self.model.trainable_variables)
            return variables, [1.0] * len(variables)
        return list(self.trained), list(self.lr_multipliers)


def network_to_train(data: TrainingData, seed: int) -> keras.Model | None:
    """The extractor as a Keras model, images -> features; None where every stage leaves it frozen.

    A network that every stage trains as a whole draws its own initial weights in every training.

    Args:
        data: whose extractor it is.
        seed: of these initial weights.
    """
    if data.extractor.frozen:
        return None
    trained_as_a_whole = all(inputs.extractor.trainable is True for inputs in data.inputs)
    return (replace(data.extractor, seed=seed) if trained_as_a_whole else data.extractor).build()


def training_classes(dataset: Dataset) -> np.ndarray:
    """(classes,) labels of the training images, sorted: the classes that a loss can have proxies of."""
    return np.unique(dataset.labels[dataset.rows("train")])


def numbered_labels(dataset: Dataset) -> np.ndarray:
    """(n,) int32 labels as a loss counts them: the training classes from 0, in order; after them the other classes."""
    classes = training_classes(dataset)
    order = np.concatenate([classes, np.setdiff1d(dataset.labels, classes)])
    numbers = np.empty(len(dataset.class_names), np.int32)
    numbers[order] = np.arange(len(order))
    return numbers[dataset.labels]


def validation_rows(dataset: Dataset, settings: TrainSettings) -> np.ndarray:
    """(m,) rows that epochs are compared on. Raises DataError where they are all of one class."""
    rows = sample_rows(dataset.rows("validation"), dataset.labels, settings.validation_max_images, settings.seed)
    if len(np.unique(dataset.labels[rows])) < 2:
        what = f"the {len(rows)} images for validation are all of one class"
        raise DataError(what, do="raise validation_max_images")
    return rows


def prepare_stages(
    data: TrainingData,
    settings: TrainSettings,
    loss: Loss,
    network: keras.Model | None,
    head: keras.Model,
    seeds: tuple[int, int],
    devices: Sequence[str] | None = None,
    validate_on: np.ndarray | None = None,
) -> list[Stage]:
    """Prepares the stages of `settings`; a training without stages of its own is one stage.

    Args:
        data: data set, extractor, cached features.
        settings: of the whole training.
        loss: shared by the stages.
        network: the extractor, images -> features; None where every stage leaves it frozen.
        head: features -> embedding.
        seeds: of the batches, and of the augmented views.
        devices: where the network runs; None for all GPUs.
        validate_on: (m,) rows to validate on; None: those of the validation split.

    Raises:
        DataError: there is nothing to train on, or to validate on.
        ConfigError: a batch has more classes than there are; a stage freezes what an earlier one trains; the objective
            is `val_loss`, which the loss cannot compute for these classes.
    """
    dataset = data.dataset
    labels = dataset.labels[dataset.rows("train")]
    numbered = numbered_labels(dataset)
    rows = validation_rows(dataset, settings) if validate_on is None else validate_on
    validation_plan = plan_batches(settings, dataset.labels[rows], settings.seed)
    check_batch_classes(settings, labels)
    validation_loss = _validation_loss(settings, loss, np.setdiff1d(dataset.labels[rows], labels))
    devices = gpus() if devices is None else devices
    stages: list[Stage] = []
    before: list[keras.layers.Layer] = []
    for own, inputs in zip(settings.stage_settings, data.inputs, strict=True):
        own = settings_in_force(own, labels)
        model = _model(inputs, network, head, devices)
        source = _source(data, numbered, inputs, own, network, model, seeds, devices)
        validator = EpochValidator(source, rows, numbered, validation_loss, validation_plan, settings.objective)
        layers = _trained_layers(inputs, network)
        if not set(map(id, before)) <= set(map(id, layers)):
            what = f"stage {len(stages) + 1} freezes what stage {len(stages)} trains"
            raise ConfigError(what, where="stages", do="let each stage train as much as the one before, or more")
        before = layers
        trained, lr_multipliers = _trained_variables(layers, head, own.layer_decay)
        stages.append(Stage(own, model, source, validator, trained, lr_multipliers))
    return stages


def _validation_loss(settings: TrainSettings, loss: Loss, unseen: np.ndarray) -> Loss | None:
    """The loss for `val_loss`; None where it has no proxies of some validation classes, those `unseen` in training.

    Raises:
        ConfigError: it is None, and the objective is `val_loss`.
    """
    if settings.loss not in PROXY_LOSSES or len(unseen) == 0:
        return loss
    if settings.objective == "val_loss":
        what = f"val_loss has no meaning with {settings.loss} here: {len(unseen)} validation classes have no proxies"
        raise ConfigError(what, where="objective", do="choose another objective, such as val_map_at_r")
    return None


def _source(
    data: TrainingData,
    labels: np.ndarray,
    inputs: StageInputs,
    settings: TrainSettings,
    network: keras.Model | None,
    model: keras.Model,
    seeds: tuple[int, int],
    devices: Sequence[str],
) -> BatchSource:
    dataset = data.dataset
    rows = dataset.rows("train")
    embed = tf.function(lambda block: model(tf.cast(block, tf.float32), training=False), reduce_retracing=True)
    source: BatchSource  # assigned by the time an epoch begins, which is when a plan embeds
    plan = plan_batches(settings, labels[rows], seeds[0], lambda: embed_rows(source, rows, embed))
    if inputs.cached_for_training and inputs.views is not None:
        source = FeatureSource(inputs.views, rows, labels, plan, seeds[1], inputs.mirrored)
        return source
    source = ImageSource(
        dataset,
        rows,
        labels,
        plan,
        image_size=data.extractor.image_size,
        augment_seed=seeds[1] % (1 << 30) if settings.image_augmentation else None,
        lower=_lower_part(inputs, network, devices),
        cached_features=None if inputs.views is None else inputs.views[0],
        mirrored=inputs.mirrored,
    )
    return source


def _model(inputs: StageInputs, network: keras.Model | None, head: keras.Model, devices: Sequence[str]) -> keras.Model:
    """What a training step runs: inputs of the source -> embeddings."""
    if network is None or inputs.extractor.frozen:
        return head
    if not isinstance(inputs.lower, FrozenPart):
        return build_feature_model(on_devices(network, devices), head)
    upper = inputs.lower.upper_part(network)
    features = keras.Input((inputs.lower.feature_dim,), name="cut")
    return keras.Model(features, head(on_devices(upper, devices)(features)), name="trained_part")


def _lower_part(
    inputs: StageInputs, network: keras.Model | None, devices: Sequence[str]
) -> Callable[[Any], Any] | None:
    """The network below the trained part, always in inference mode; None where there is nothing below."""
    if inputs.lower is None:
        return None
    if network is None or not isinstance(inputs.lower, FrozenPart):
        lower = inputs.lower.build()
    else:
        lower = inputs.lower.lower_part(network)
    parallel = on_devices(lower, devices)
    return tf.function(lambda images: parallel(images, training=False), reduce_retracing=True)


def _trained_layers(inputs: StageInputs, network: keras.Model | None) -> list[keras.layers.Layer]:
    if network is None or isinstance(inputs.extractor, Concatenation):
        return []
    return inputs.extractor.trained_layers(network_inside(network))


def _trained_variables(
    layers: Sequence[keras.layers.Layer], head: keras.Model, decay: float
) -> tuple[list[Any], list[float]]:
    """The variables to train and what multiplies their learning rates.

    That is 1 for the head, `decay` for the topmost trained layer, and `decay` times as much for each layer below it.
    """
    variables, multipliers = list(head.trainable_variables), [1.0] * len(head.trainable_variables)
    for depth, layer in enumerate(reversed(layers), 1):
        variables += layer.trainable_variables
        multipliers += [decay**depth] * len(layer.trainable_variables)
    return variables, multipliers
