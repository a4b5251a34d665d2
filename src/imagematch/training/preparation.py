"""Prepares the stages of a training: what of the network each one trains, at which rates, and what it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import PROXY_LOSSES, TrainSettings
from imagematch.data import Dataset
from imagematch.errors import ConfigError, DataError
from imagematch.extractors import Concatenation, Cut, network_inside, trained_layers
from imagematch.losses import Loss
from imagematch.model import build_feature_model
from imagematch.training.batches import plan_batches, refuse_missing_classes
from imagematch.training.bit_hyperrule import settings_in_force
from imagematch.training.devices import across, gpus
from imagematch.training.inputs import Inputs
from imagematch.training.judged import sample_rows
from imagematch.training.materials import Materials
from imagematch.training.sources import FeatureSource, ImageSource, Source
from imagematch.training.stage import Stage
from imagematch.training.validation import Validator, embed_rows


def build_network(materials: Materials, seed: int) -> keras.Model | None:
    """The extractor to train, or None where nothing of it is trained.

    One that is trained from the ground up draws its own weights in every training.
    """
    if materials.extractor.frozen:
        return None
    from_the_ground = all(inputs.extractor.trainable is True for inputs in materials.inputs)
    return (replace(materials.extractor, seed=seed) if from_the_ground else materials.extractor).build()


def training_classes(dataset: Dataset) -> np.ndarray:
    """(classes,) labels of the training images, sorted: the classes that a loss can have proxies of."""
    return np.unique(dataset.labels[dataset.rows("train")])


def numbered_labels(dataset: Dataset) -> np.ndarray:
    """(n,) labels as a loss counts them: the training classes from 0, in order; behind them those it never sees."""
    classes = training_classes(dataset)
    order = np.concatenate([classes, np.setdiff1d(dataset.labels, classes)])
    numbers = np.empty(len(dataset.class_names), np.int32)
    numbers[order] = np.arange(len(order))
    return numbers[dataset.labels]


def prepare_stages(
    materials: Materials,
    settings: TrainSettings,
    loss: Loss,
    network: keras.Model | None,
    head: keras.Model,
    seeds: tuple[int, int],
    devices: Sequence[str] | None = None,
) -> list[Stage]:
    """The stages that `settings` ask for.

    Args:
        materials: data set, extractor, kept features.
        settings: of the whole training.
        loss: shared by the stages.
        network: the extractor, images -> features; None where nothing of it is trained.
        head: features -> embedding.
        seeds: of the batches, and of the augmented views.
        devices: where the network runs; None for the GPUs there are.

    Raises:
        DataError: there is nothing to train on, or to judge by.
        ConfigError: more classes in a batch than there are; a stage leaves alone what an earlier one trained; the
            objective is `val_loss`, which the loss does not have of these classes.
    """
    dataset = materials.dataset
    labels = dataset.labels[dataset.rows("train")]
    numbered = numbered_labels(dataset)
    judged = sample_rows(dataset.rows("validation"), dataset.labels, settings.validation_max_images, settings.seed)
    if len(np.unique(dataset.labels[judged])) < 2:
        raise DataError(
            f"the {len(judged)} validation images to judge by are of one class", do="raise validation_max_images"
        )
    judged_plan = plan_batches(settings, dataset.labels[judged], settings.seed)
    refuse_missing_classes(settings, labels)
    judged_loss = _judged_loss(settings, loss, np.setdiff1d(dataset.labels[judged], labels))
    devices = gpus() if devices is None else devices
    stages: list[Stage] = []
    before: list[keras.layers.Layer] = []
    for own, inputs in zip(settings.stage_settings, materials.inputs, strict=True):
        own = settings_in_force(own, labels)
        model = _model(inputs, network, head, devices)
        source = _source(materials, numbered, inputs, own, network, model, seeds, devices)
        validator = Validator(source, judged, numbered, judged_loss, judged_plan, settings.objective)
        layers = _trained_layers(inputs, network)
        if not set(map(id, before)) <= set(map(id, layers)):
            what = f"stage {len(stages) + 1} freezes what stage {len(stages)} trains"
            raise ConfigError(what, where="stages", do="let each stage train as much as the one before, or more")
        before = layers
        trained, shares = _trained_variables(layers, head, own.layer_decay)
        stages.append(Stage(own, model, source, validator, trained, shares))
    return stages


def _judged_loss(settings: TrainSettings, loss: Loss, unseen: np.ndarray) -> Loss | None:
    """The loss to judge by; None where it has no proxies of some of the classes, those `unseen` in training.

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
    materials: Materials,
    labels: np.ndarray,
    inputs: Inputs,
    settings: TrainSettings,
    network: keras.Model | None,
    model: keras.Model,
    seeds: tuple[int, int],
    devices: Sequence[str],
) -> Source:
    dataset = materials.dataset
    rows = dataset.rows("train")
    embed = tf.function(lambda block: model(tf.cast(block, tf.float32), training=False), reduce_retracing=True)
    source: Source  # there when an epoch begins, which is when a plan embeds
    plan = plan_batches(settings, labels[rows], seeds[0], lambda: embed_rows(source, rows, embed))
    if inputs.kept_for_training and inputs.views is not None:
        source = FeatureSource(inputs.views, rows, labels, plan, seeds[1], inputs.mirrored)
        return source
    source = ImageSource(
        dataset,
        rows,
        labels,
        plan,
        image_size=materials.extractor.image_size,
        augment_seed=seeds[1] % (1 << 30) if settings.image_augmentation else None,
        lower=_lower_part(inputs, network, devices),
        kept=None if inputs.views is None else inputs.views[0],
        mirrored=inputs.mirrored,
    )
    return source


def _model(inputs: Inputs, network: keras.Model | None, head: keras.Model, devices: Sequence[str]) -> keras.Model:
    """What a training step runs: inputs of the source -> embeddings."""
    if network is None or inputs.extractor.frozen:
        return head
    if not isinstance(inputs.lower, Cut):
        return build_feature_model(across(network, devices), head)
    upper = inputs.lower.upper_part(network)
    features = keras.Input((inputs.lower.feature_dim,), name="cut")
    return keras.Model(features, head(across(upper, devices)(features)), name="trained_part")


def _lower_part(inputs: Inputs, network: keras.Model | None, devices: Sequence[str]) -> Callable[[Any], Any] | None:
    """What images go through below the trained part, always as in inference; None where nothing is below."""
    if inputs.lower is None:
        return None
    if network is None or not isinstance(inputs.lower, Cut):
        lower = inputs.lower.build()
    else:
        lower = inputs.lower.lower_part(network)
    spread = across(lower, devices)
    return tf.function(lambda images: spread(images, training=False), reduce_retracing=True)


def _trained_layers(inputs: Inputs, network: keras.Model | None) -> list[keras.layers.Layer]:
    if network is None or isinstance(inputs.extractor, Concatenation):
        return []
    return trained_layers(network_inside(network), inputs.extractor)


def _trained_variables(
    layers: Sequence[keras.layers.Layer], head: keras.Model, decay: float
) -> tuple[list[Any], list[float]]:
    """The trained variables and their shares of the rate: `decay` to the power of the trained layers above, and one."""
    variables, shares = list(head.trainable_variables), [1.0] * len(head.trainable_variables)
    for depth, layer in enumerate(reversed(layers), 1):
        variables += layer.trainable_variables
        shares += [decay**depth] * len(layer.trainable_variables)
    return variables, shares
