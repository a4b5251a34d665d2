"""Joins trained heads with half-whitened features: by the weight that is best on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from imagematch.config import TrainSettings, direction_of
from imagematch.evaluation import epoch_metrics
from imagematch.features import map_features, row_blocks
from imagematch.model import AnyHeadShape, HeadShape, JoinedShape, Whitening, build_joined_head, head_in_numpy
from imagematch.training.training_data import TrainingData
from imagematch.training.validation import embedding_metric_names
from imagematch.training.whitening import half_whitened

HEAD_ALONE = math.inf
"""The weight at which nothing is joined."""
_WEIGHTS = (HEAD_ALONE, 5.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0)
"""What `weight: auto` chooses from; of equals the first."""


@dataclass(frozen=True)
class Join:
    """A head after joining.

    Attributes:
        head: features -> embedding.
        shape: of it.
        weight: of the trained heads beside the half-whitened features: 0 leaves the heads out, infinity the features.
        metrics: `val_*` of the validation images.
        alone: the same of the trained heads alone; empty where nothing was trained.
    """

    head: keras.Model
    shape: AnyHeadShape
    weight: float
    metrics: Mapping[str, float]
    alone: Mapping[str, float]


def join_heads(
    data: TrainingData,
    settings: TrainSettings,
    heads: Sequence[tuple[keras.Model, HeadShape]],
    join: Mapping[str, Any],
    rows: np.ndarray,
) -> Join:
    """Puts half-whitened features beside heads: l2([l2(P x), weight l2(head(x))]).

    P is fitted to the training images, and the weight chosen on validation, by the objective: where joining does not
    help, the best head alone is the result, and where the heads do not help, the half-whitened features alone.

    Args:
        data: with a frozen extractor.
        settings: of the training.
        heads: trained, or none.
        join: the value of the key `join`.
        rows: (m,) data-set rows to validate on.

    Raises:
        ConfigError: the features do not have so many components, or are too long.
    """
    array, labels = data.features.array, data.dataset.labels[rows]
    weights = [0.0] if not heads else list(_WEIGHTS) if join["weight"] == "auto" else [join["weight"]]
    chosen_here = join["weight"] in ("auto", HEAD_ALONE)
    layer = None if weights == [HEAD_ALONE] else data.half_whitening(join["power"], join["dim"])
    names = embedding_metric_names([settings.objective])

    def measured(embeddings: np.ndarray) -> dict[str, float]:
        return {f"val_{name}": value for name, value in epoch_metrics(embeddings, labels, names).items()}

    features = [] if layer is None else [map_features(lambda block: half_whitened(block, layer), [array], rows)]
    own = [map_features(head_in_numpy(shape, head), [array], rows) for head, shape in heads]

    def side_by_side(weight: float) -> np.ndarray:
        parts = [*own, *features]
        shares = _shares(weight, len(own))[: len(parts)]
        return np.concatenate([share * part for share, part in zip(shares, parts, strict=True) if share], axis=1)

    found = {weight: measured(side_by_side(weight)) for weight in weights}
    alone = found.get(HEAD_ALONE) or (measured(side_by_side(HEAD_ALONE)) if heads else {})
    sign = 1.0 if direction_of(settings.objective) == "maximize" else -1.0

    def score(metrics: Mapping[str, float]) -> float:
        return sign * metrics.get(settings.objective, 0.0)  # val_loss is not measured, and its weight is given

    best = max(weights, key=lambda weight: score(found[weight]))
    (head, shape), metrics = _joined(data, heads, layer, best), found[best]
    if join["reduce"] and isinstance(shape, JoinedShape) and shape.joined_dim > settings.embedding_dim:
        head, shape = _reduced(data, heads, layer, best, settings.embedding_dim)
        metrics = measured(map_features(head_in_numpy(shape, head), [array], rows))
        if chosen_here:  # not worse on validation than the best head alone, which is as long
            single = [measured(one) for one in own] if len(own) > 1 else [alone] * len(own)
            at = max(range(len(own)), key=lambda number: score(single[number]), default=None)
            if at is not None and score(metrics) <= score(single[at]):
                (head, shape), best, metrics = heads[at], HEAD_ALONE, dict(single[at])
    return Join(head, shape, best, metrics, alone)


def _shares(weight: float, heads: int) -> list[float]:
    """What each head's embedding, and then the half-whitened features, are multiplied by: their squares sum to 1."""
    head, features = (1.0, 0.0) if weight == HEAD_ALONE else (weight, 1.0)
    length = math.hypot(head, features)
    return [head / length / math.sqrt(heads) for _ in range(heads)] + [features / length]


def _joined(
    data: TrainingData,
    heads: Sequence[tuple[keras.Model, HeadShape]],
    layer: Whitening | None,
    weight: float,
    reduction: np.ndarray | None = None,
) -> tuple[keras.Model, AnyHeadShape]:
    if weight == HEAD_ALONE and len(heads) == 1:
        return heads[0]
    used = heads if weight else ()
    projection = None if weight == HEAD_ALONE else layer
    dim = data.features.array.shape[1]
    head = build_joined_head(
        dim,
        heads=[model for model, _ in used],
        projection=projection,
        shares=[share for share in _shares(weight, len(heads)) if share],
        reduction=reduction,
    )
    components = None if projection is None else len(projection[1])
    reduced = None if reduction is None else reduction.shape[1]
    return head, JoinedShape(dim, tuple(shape for _, shape in used), components, reduced)


def _reduced(
    data: TrainingData,
    heads: Sequence[tuple[keras.Model, HeadShape]],
    layer: Whitening | None,
    weight: float,
    dim: int,
) -> tuple[keras.Model, AnyHeadShape]:
    """The join reduced to the `dim` directions in which the training images' embeddings are longest.

    They are not centred, so that cosines change as little as possible.
    """
    head, shape = _joined(data, heads, layer, weight)
    embed = head_in_numpy(shape, head)
    products = np.zeros((shape.dim, shape.dim))
    for block in row_blocks(data.features.array, data.dataset.rows("train")):
        embeddings = embed(block).astype(np.float64)
        products += embeddings.T @ embeddings
    _, axes = np.linalg.eigh(products)
    return _joined(data, heads, layer, weight, axes[:, ::-1][:, :dim].astype(np.float32))
