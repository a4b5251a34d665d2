"""One training, whatever is trained: a head on kept features, or a feature model on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import TrainSettings
from imagematch.errors import ConfigError
from imagematch.files import digest_json
from imagematch.interruption import StopRequest
from imagematch.losses import make_loss
from imagematch.model import HeadShape, build_feature_model, build_head, flip_average, head_in_numpy
from imagematch.model.head import Whitening
from imagematch.training.loop import EpochRecord, FitResult, fit
from imagematch.training.materials import Materials
from imagematch.training.preparation import build_network, prepare_stages, training_classes
from imagematch.training.sources import Source
from imagematch.training.validation import embed_rows

_NEUTRAL = {"experiment_name", "data_dir", "feature_dir", "test_time_flip", "threshold"}
"""Settings that a training can be resumed without: they do not change what is trained."""

_VERSION = 2
"""Raised whenever the same settings would train something else: state and results of older versions do not fit."""


@dataclass(frozen=True)
class Training:
    """A finished training; the models hold the best epoch's weights.

    Attributes:
        materials: what it was trained on.
        head: features -> embedding.
        network: the extractor, images -> features; None where nothing of it was trained.
        result: history and best epoch.
        parameters: weights of the head, and of the extractor where that was trained.
        shape: of the head.
    """

    materials: Materials
    head: keras.Model
    network: keras.Model | None
    result: FitResult
    parameters: int
    shape: HeadShape
    _source: Source
    _model: keras.Model
    _flip: bool

    def embed(self, rows: np.ndarray, *, as_judged: bool = False) -> np.ndarray:
        """Embeddings of data-set rows, (len(rows), embedding_dim) float32; averaged over flips where that is asked.

        On features of a frozen extractor they are, to the last bit, those that the saved matcher gives.

        `as_judged` gives those that epochs are judged by: without flips.
        """

        def trained(block: Any) -> Any:
            return self._model(np.asarray(block, np.float32), training=False)

        if as_judged:
            return embed_rows(self._source, rows, trained)
        embed = trained if self.network is not None else head_in_numpy(self.shape, self.head)
        embeddings = embed_rows(self._source, rows, embed)
        if not self._flip:
            return embeddings
        return flip_average(embeddings, embed_rows(self._source, rows, embed, mirrored=True))

    def feature_model(self) -> keras.Model:
        """Extractor and head joined: images -> embeddings."""
        network = self.network if self.network is not None else self.materials.extractor.build()
        return build_feature_model(network, self.head)


def training_identity(materials: Materials, settings: TrainSettings) -> str:
    """Digest of all that decides what a training comes to; a checkpoint of another identity does not fit."""
    own = settings.model_dump(mode="json", exclude=_NEUTRAL)
    return digest_json([_VERSION, materials.dataset.digest, materials.extractor.digest, own])


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
        ConfigError: as `prepare_stages`.
    """
    extractor = materials.extractor
    seed = settings.effective_training_seed
    words = np.random.SeedSequence(seed).generate_state(4)
    plan_seed, view_seed, head_seed, network_seed = (int(word) for word in words)
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
    network = build_network(materials, network_seed)
    n_classes = len(training_classes(materials.dataset))
    loss = make_loss(settings, n_classes=n_classes, embedding_dim=settings.embedding_dim)
    stages = prepare_stages(materials, settings, loss, network, head, (plan_seed, view_seed))
    result = fit(
        stages,
        loss,
        on_epoch=on_epoch,
        stop=stop,
        checkpoint=checkpoint,
        identity=training_identity(materials, settings),
        discard_unfit=discard_unfit,
    )
    parameters = head.count_params() + (0 if network is None else network.count_params())
    units, whitening = settings.intermediate_ff_block_units, settings.feature_whitening
    shape = HeadShape(extractor.feature_dim, units, settings.embedding_dim, whitening)
    last, flip = stages[-1], settings.test_time_flip
    return Training(materials, head, network, result, parameters, shape, last.source, last.model, flip)


def _whitening(materials: Materials, dim: int | None) -> Whitening | None:
    """The head's first layer. Raises ConfigError where the extractor is trained: its features would not stay white."""
    if dim is None:
        return None
    if not materials.extractor.frozen:
        what = f"{materials.extractor.name} is trained, and whitening needs a frozen extractor"
        raise ConfigError(what, where="feature_whitening", do="leave feature_whitening out")
    return materials.whitening(dim)
