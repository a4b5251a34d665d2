"""Where a training step's inputs come from: cached features, or images decoded as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from imagematch.data import Dataset, stream_batches
from imagematch.features import FeatureArray, map_blocks, row_blocks
from imagematch.training.batches import BatchPlan

Chunk = tuple[Any, np.ndarray]
"""Several training steps at once: inputs (steps, batch, ...) and labels (steps, batch) int32."""

_CHUNK_BYTES = 64 << 20
_BLOCK_IMAGES = 64


class BatchSource(Protocol):
    """Inputs of the model that is trained, by training step and by row of the data set."""

    steps: int
    """Training steps in an epoch."""
    images: int
    """Training images."""
    cached: bool
    """Whether training steps read cached features: an image takes microseconds, not milliseconds."""

    def chunks(self, epoch: int) -> Iterator[Chunk]:
        """Yields the training inputs of an epoch (counted from 0), in order."""

    def blocks(self, rows: np.ndarray, *, mirrored: bool = False) -> Iterator[Any]:
        """Yields the inputs (block, ...) of any rows of the data set, or of their mirror images, in order."""


class FeatureSource:
    """Cached features. A chunk is gathered from the (memory-mapped) array when it is needed; nothing is copied whole.

    Args:
        views: arrays (n, feature_dim), row i for image i of the data set; the first is the image as it is, the others
            are augmented views. A training step draws one of them for each image.
        rows: (train,) data-set rows to train on; the plan's indices point into it.
        labels: (n,) labels of the whole data set, as the loss counts them.
        plan: draws the batches.
        seed: together with the epoch's number, determines which views are drawn.
        mirrored: (n, feature_dim), row i for the mirror image of image i; only for `blocks`.
    """

    cached = True

    def __init__(
        self,
        views: Sequence[FeatureArray],
        rows: np.ndarray,
        labels: np.ndarray,
        plan: BatchPlan,
        seed: int,
        mirrored: FeatureArray | None = None,
    ) -> None:
        self._views = views
        self._rows = rows
        self._labels = labels
        self._plan = plan
        self.steps, self.images = plan.steps, len(rows)
        self._seed = seed
        self._mirrored = mirrored

    def chunks(self, epoch: int) -> Iterator[Chunk]:
        """See BatchSource."""
        plan = self._rows[self._plan.epoch(epoch)]
        array = self._views[0]
        steps = max(1, _CHUNK_BYTES // (plan.shape[1] * array.shape[1] * array.dtype.itemsize))
        random = np.random.default_rng((self._seed, epoch))
        for start in range(0, len(plan), steps):
            rows = plan[start : start + steps]
            yield self._gather(rows, random), self._labels[rows].astype(np.int32)

    def _gather(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if len(self._views) == 1:
            return self._views[0][rows]
        drawn = random.integers(len(self._views), size=rows.shape)
        gathered = np.empty((*rows.shape, self._views[0].shape[1]), dtype=self._views[0].dtype)
        for number, view in enumerate(self._views):
            mask = drawn == number
            gathered[mask] = view[rows[mask]]
        return gathered

    def blocks(self, rows: np.ndarray, *, mirrored: bool = False) -> Iterator[np.ndarray]:
        """See BatchSource."""
        array = self._mirrored if mirrored else self._views[0]
        assert array is not None
        yield from row_blocks(array, rows)


class ImageSource:
    """Images, decoded ahead of the step that needs them; the data set may be larger than memory.

    Args:
        dataset: the images.
        rows: (train,) data-set rows to train on; the plan's indices point into it.
        labels: (n,) labels of the whole data set, as the loss counts them.
        plan: draws the batches.
        image_size: side of the square the network sees, pixels.
        augment_seed: determines the augmentation of training images; None leaves them as they are.
        lower: the part of the network below the trained model; None where the model sees the images themselves.
        cached_features: (n, feature_dim) the outputs of `lower` for the images as they are; None computes them when
            they are needed.
        mirrored: (n, feature_dim) likewise, of the mirror images; only with `cached_features`.
    """

    cached = False

    def __init__(
        self,
        dataset: Dataset,
        rows: np.ndarray,
        labels: np.ndarray,
        plan: BatchPlan,
        *,
        image_size: int,
        augment_seed: int | None,
        lower: Callable[[Any], Any] | None = None,
        cached_features: FeatureArray | None = None,
        mirrored: FeatureArray | None = None,
    ) -> None:
        self._dataset = dataset
        self._rows = rows
        self._labels = labels
        self._plan = plan
        self.steps, self.images = plan.steps, len(rows)
        self._image_size = image_size
        self._augment_seed = augment_seed
        self._lower = lower or (lambda images: images)
        self._features = cached_features
        self._mirrored = mirrored

    def chunks(self, epoch: int) -> Iterator[Chunk]:
        """See BatchSource; every chunk is one step."""
        plan = self._rows[self._plan.epoch(epoch)]
        seed = None if self._augment_seed is None else self._augment_seed + epoch
        for images, _labels, rows in stream_batches(self._dataset, plan, self._image_size, augment_seed=seed):
            yield self._lower(images)[None], self._labels[np.asarray(rows)].astype(np.int32)[None]

    def blocks(self, rows: np.ndarray, *, mirrored: bool = False) -> Iterator[Any]:
        """See BatchSource."""
        array = self._mirrored if mirrored else self._features
        if array is not None:
            yield from row_blocks(array, rows)
            return
        batches = [rows[start : start + _BLOCK_IMAGES] for start in range(0, len(rows), _BLOCK_IMAGES)]
        for images, _labels, _rows in stream_batches(self._dataset, batches, self._image_size, augment_seed=None):
            yield self._lower(images[:, :, ::-1] if mirrored else images)


def embed_rows(
    source: BatchSource, rows: np.ndarray, embed: Callable[[Any], Any], *, mirrored: bool = False
) -> np.ndarray:
    """Embeddings of data-set rows, or of their mirror images.

    Args:
        source: of the inputs.
        rows: (m,) at least one row of the data set, in any order.
        embed: inputs (block, ...) -> embeddings (block, embedding_dim).
        mirrored: embeds the mirror images instead.

    Returns:
        (m, embedding_dim) float32.
    """
    return map_blocks(embed, source.blocks(rows, mirrored=mirrored), len(rows))
