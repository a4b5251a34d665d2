"""Per-epoch validation: which images it uses, and the metrics of their embeddings. Needs TensorFlow for `val_loss`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.evaluation import epoch_metrics
from imagematch.training.batch_sources import BatchSource, embed_rows
from imagematch.training.batches import BatchPlan

if TYPE_CHECKING:
    from imagematch.losses import Loss


def sample_rows(rows: np.ndarray, labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draws at most `limit` of `rows`, stratified by label; the same rows for the same seed.

    Every class keeps its share (rounded). No class that has two images is left with fewer than two as long as that
    fits, since an image without a genuine partner adds no genuine pair. Where it does not fit, the seed chooses the
    classes.

    Args:
        rows: (m,) data-set rows.
        labels: (n,) labels of the whole data set.
        limit: the most rows to draw.
        seed: of the draw.

    Returns:
        (min(m, limit),) rows, sorted where some are left out.
    """
    if len(rows) <= limit:
        return rows
    random = np.random.default_rng(seed)
    shuffled = random.permutation(rows)
    classes, class_index = np.unique(labels[shuffled], return_inverse=True)
    shuffled_class = random.permutation(len(classes))[class_index]
    order = np.argsort(shuffled_class, kind="stable")
    by_class = shuffled[order]
    _, starts, counts = np.unique(shuffled_class[order], return_index=True, return_counts=True)
    rank = np.arange(len(by_class)) - np.repeat(starts, counts)
    pairs_first = np.maximum(rank - 1, 0) / np.repeat(counts, counts)
    drawn = np.argsort(pairs_first, kind="stable")[:limit]
    return np.sort(by_class[drawn])


def embedding_metric_names(objectives: Iterable[str]) -> list[str]:
    """The objectives that are metrics of embeddings, without `val_`: neither val_loss nor what the model costs."""
    return [name.removeprefix("val_") for name in objectives if name.startswith("val_") and name != "val_loss"]


def spread_of(embeddings: np.ndarray) -> float:
    """Root mean square distance of (n, dim) embeddings from their mean: 0 when all are the same, 1 at most."""
    centred = embeddings - embeddings.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(centred * centred, axis=1))))


class EpochValidator:
    """Computes the validation metrics of an epoch, always on the same images and the same batches.

    Args:
        source: of the inputs.
        rows: (m,) data-set rows to validate on.
        labels: (n,) labels of the whole data set, as the loss counts them.
        loss: the training loss, for `val_loss`; None where it has no meaning (class proxies and unseen classes).
        plan: the batches of `val_loss`, over `rows`.
        objective: computed too where it is a metric of embeddings that is not computed every epoch.
    """

    def __init__(
        self,
        source: BatchSource,
        rows: np.ndarray,
        labels: np.ndarray,
        loss: Loss | None,
        plan: BatchPlan,
        objective: str = "val_loss",
    ) -> None:
        import tensorflow as tf

        self._source = source
        self._rows = rows
        self._labels = labels[rows].astype(np.int32)
        self._batches = plan.epoch(0)
        self._also = embedding_metric_names([objective])
        self._loss = None if loss is None else tf.function(lambda e, y: loss(e, y, training=False).loss)

    def metrics(self, embed: Callable[[Any], Any]) -> dict[str, float]:
        """`val_loss`, `val_roc_auc`, `val_map_at_r`, `val_recall_at_1`, `val_r_precision`, ... and `spread`.

        Args:
            embed: inputs (block, ...) -> embeddings (block, embedding_dim).

        Returns:
            Only a `spread` of NaN where an embedding is not finite.
        """
        embeddings = embed_rows(self._source, self._rows, embed)
        spread = spread_of(embeddings)
        if not np.isfinite(spread):
            return {"spread": float("nan")}
        found = epoch_metrics(embeddings, self._labels, self._also)
        metrics = {f"val_{name}": value for name, value in found.items()}
        if self._loss is not None:
            values = [float(self._loss(embeddings[batch], self._labels[batch])) for batch in self._batches]
            metrics["val_loss"] = float(np.mean(values))
        return {**metrics, "spread": spread}
