"""One training, whatever is trained: a head on kept features, or a feature model on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import TrainSettings
from imagematch.errors import ConfigError, DataError
from imagematch.extractors import Cut, Extractor
from imagematch.files import digest_json
from imagematch.losses import make_loss
from imagematch.model import build_feature_model, build_head, flip_average
from imagematch.model.head import Whitening
from imagematch.training.batches import plan_batches, refuse_missing_classes
from imagematch.training.bit_hyperrule import settings_in_force
from imagematch.training.inputs import Inputs
from imagematch.training.interruption import StopRequest
from imagematch.training.loop import EpochRecord, FitResult, fit
from imagematch.training.materials import Materials
from imagematch.training.sources import FeatureSource, ImageSource, Source
from imagematch.training.validation import Validator, embed_rows, sample_rows

_NEUTRAL = {"experiment_name", "data_dir", "feature_dir", "test_time_flip", "threshold"}
"""Settings that a training can be resumed without: they do not change what is trained."""


@dataclass(frozen=True)
class Training:
    """A finished training; the models hold the best epoch's weights.

    Attributes:
        materials: what it was trained on.
        head: features -> embedding.
        network: the extractor, images -> features; None where nothing of it was trained.
        result: history and best epoch.
        parameters: weights of the head, and of the extractor where that was trained.
    """

    materials: Materials
    head: keras.Model
    network: keras.Model | None
    result: FitResult
    parameters: int
    _source: Source
    _model: keras.Model
    _flip: bool

    def embed(self, rows: np.ndarray, *, as_judged: bool = False) -> np.ndarray:
        """Embeddings of data-set rows, (len(rows), embedding_dim) float32; averaged over flips where that is asked.

        `as_judged` gives those that epochs are judged by: without flips.
        """

        def embed(block: Any) -> Any:
            return self._model(np.asarray(block, np.float32), training=False)

        embeddings = embed_rows(self._source, rows, embed)
        if as_judged or not self._flip:
            return embeddings
        return flip_average(embeddings, embed_rows(self._source, rows, embed, mirrored=True))

    def feature_model(self) -> keras.Model:
        """Extractor and head joined: images -> embeddings."""
        network = self.network if self.network is not None else self.materials.extractor.build()
        return build_feature_model(network, self.head)


def training_identity(materials: Materials, settings: TrainSettings) -> str:
    """Digest of all that decides what a training comes to; a checkpoint of another identity does not fit."""
    own = settings.model_dump(mode="json", exclude=_NEUTRAL)
    return digest_json([materials.dataset.digest, materials.extractor.digest, own])


def train_model(
    materials: Materials,
    settings: TrainSettings,
    *,
    on_epoch: Callable[[EpochRecord], bool] = lambda _record: False,
    stop: StopRequest | None = None,
    checkpoint: Path | None = None,
    discard_unfit: bool = False,
) -> Training:
    """Trains one configuration; the options are those of `fit`.

    Raises:
        DataError: there is nothing to train on; else as `fit`.
        ConfigError: more classes in a batch than there are.
    """
    dataset, extractor = materials.dataset, materials.extractor
    rows = dataset.rows("train")
    refuse_missing_classes(settings, dataset.labels[rows])
    seed = settings.effective_training_seed
    words = np.random.SeedSequence(seed).generate_state(4)
    plan_seed, view_seed, head_seed, network_seed = (int(word) for word in words)
    source: Source  # these two are there when an epoch begins, which is when a plan embeds
    model: keras.Model
    embed = tf.function(lambda block: model(tf.cast(block, tf.float32), training=False), reduce_retracing=True)
    plan = plan_batches(settings, dataset.labels[rows], plan_seed, lambda: embed_rows(source, rows, embed))
    settings = settings_in_force(settings, dataset.labels[rows])
    keras.utils.set_random_seed(head_seed)
    tf.config.experimental.enable_op_determinism()  # the same settings give the same weights, at no measurable cost
    head = build_head(
        extractor.feature_dim,
        units=settings.intermediate_ff_block_units,
        dropout=settings.dropout,
        embedding_dim=settings.embedding_dim,
        seed=head_seed,
        whitening=_whitening(materials, settings.feature_whitening),
    )
    inputs = materials.inputs
    network = None if extractor.frozen else _built(extractor, network_seed)
    if inputs.kept_for_training and inputs.views is not None:
        source = FeatureSource(inputs.views, rows, dataset.labels, plan, view_seed, inputs.mirrored)
    else:
        source = ImageSource(
            dataset,
            rows,
            plan,
            image_size=extractor.image_size,
            augment_seed=view_seed % (1 << 30) if settings.image_augmentation else None,
            lower=_lower_part(inputs, network),
            kept=None if inputs.views is None else inputs.views[0],
            mirrored=inputs.mirrored,
        )
    model = _trained_part(inputs, network, head)
    loss = make_loss(settings, n_classes=len(dataset.class_names), embedding_dim=settings.embedding_dim)
    judged = sample_rows(dataset.rows("validation"), dataset.labels, settings.validation_max_images, settings.seed)
    if len(np.unique(dataset.labels[judged])) < 2:
        raise DataError(
            f"the {len(judged)} validation images to judge by are of one class", do="raise validation_max_images"
        )
    judged_plan = plan_batches(settings, dataset.labels[judged], settings.seed)
    validator = Validator(source, judged, dataset.labels, loss, judged_plan, settings.objective)
    result = fit(
        model,
        loss,
        source,
        validator,
        settings,
        on_epoch=on_epoch,
        stop=stop,
        checkpoint=checkpoint,
        identity=training_identity(materials, settings),
        discard_unfit=discard_unfit,
    )
    parameters = head.count_params() + (0 if network is None else network.count_params())
    return Training(materials, head, network, result, parameters, source, model, settings.test_time_flip)


def _whitening(materials: Materials, dim: int | None) -> Whitening | None:
    """The head's first layer. Raises ConfigError where the extractor is trained: its features would not stay white."""
    if dim is None:
        return None
    if not materials.extractor.frozen:
        what = f"{materials.extractor.name} is trained, and whitening needs a frozen extractor"
        raise ConfigError(what, where="feature_whitening", do="leave feature_whitening out")
    return materials.whitening(dim)


def _built(extractor: Extractor, seed: int) -> keras.Model:
    """The extractor to train. One that is trained from the ground up draws its own weights in every training."""
    return (replace(extractor, seed=seed) if extractor.trainable is True else extractor).build()


def _trained_part(inputs: Inputs, network: keras.Model | None, head: keras.Model) -> keras.Model:
    """What a training step runs: inputs of the source -> embeddings."""
    if network is None:
        return head
    if not isinstance(inputs.lower, Cut):
        return build_feature_model(network, head)
    upper = inputs.lower.upper_part(network)
    return keras.Model(upper.inputs[0], head(upper.outputs[0]), name="trained_part")


def _lower_part(inputs: Inputs, network: keras.Model | None) -> Callable[[Any], Any] | None:
    """What images go through below the trained part, always as in inference; None where nothing is below."""
    if inputs.lower is None:
        return None
    if network is None or not isinstance(inputs.lower, Cut):
        lower = inputs.lower.build()
    else:
        lower = inputs.lower.lower_part(network)
    return tf.function(lambda images: lower(images, training=False), reduce_retracing=True)
