"""What an epoch is judged by: figures of the validation images' embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from imagematch.evaluation import epoch_metrics
from imagematch.losses import Loss
from imagematch.training.batches import BatchPlan
from imagematch.training.judged import figure_names
from imagematch.training.sources import Source

EmbedBlock = Callable[[Any], Any]
"""Inputs (block, ...) -> embeddings (block, embedding_dim)."""


def embed_rows(source: Source, rows: np.ndarray, embed: EmbedBlock, *, mirrored: bool = False) -> np.ndarray:
    """Embeddings of data-set rows, or of their mirror images: (len(rows), embedding_dim) float32."""
    blocks = source.blocks(rows, mirrored=mirrored)
    return np.concatenate([np.asarray(embed(block), dtype=np.float32) for block in blocks])


def spread_of(embeddings: np.ndarray) -> float:
    """Root mean square distance from the mean embedding: 0 when all are the same, 1 at most."""
    centred = embeddings - embeddings.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(centred * centred, axis=1))))


class Validator:
    """Computes the validation figures of an epoch, always on the same images and the same batches.

    Args:
        source: where the inputs come from.
        rows: data-set rows to judge by.
        labels: (n,) labels of the whole data set, as the loss counts them.
        loss: the training loss, for `val_loss`; None where it has no meaning (class proxies on unseen classes).
        plan: the batches of `val_loss`, over `rows`.
        objective: a figure that is measured too, where it is none of every epoch's.
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        labels: np.ndarray,
        loss: Loss | None,
        plan: BatchPlan,
        objective: str = "val_loss",
    ) -> None:
        self._source = source
        self._rows = rows
        self._labels = labels[rows].astype(np.int32)
        self._batches = plan.epoch(0)
        self._also = figure_names([objective])
        self._loss = None if loss is None else tf.function(lambda e, y: loss(e, y, training=False).loss)

    def figures(self, embed: EmbedBlock) -> dict[str, float]:
        """`val_loss`, `val_roc_auc`, `val_map_at_r`, `val_recall_at_1`, `val_r_precision`, ... and `spread`."""
        embeddings = embed_rows(self._source, self._rows, embed)
        spread = spread_of(embeddings)
        if not np.isfinite(spread):
            return {"spread": float("nan")}
        figures = {f"val_{name}": value for name, value in epoch_metrics(embeddings, self._labels, self._also).items()}
        if self._loss is not None:
            values = [float(self._loss(embeddings[batch], self._labels[batch])) for batch in self._batches]
            figures["val_loss"] = float(np.mean(values))
        return {**figures, "spread": spread}
