"""The images of each training step: P classes x K images, random batches, or triplets; the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from imagematch.config import OFFLINE_LOSSES, TrainSettings
from imagematch.errors import ConfigError, DataError
from imagematch.losses import draw_triplets


class BatchPlan(Protocol):
    """Draws the batches of an epoch."""

    steps: int
    """Batches in an epoch."""

    def epoch(self, number: int) -> np.ndarray:
        """The batches of epoch `number`, counted from 0: (steps, batch) int64 indices into the plan's labels."""


class ClassBalancedBatches:
    """Batches of P distinct classes x K images of each.

    An epoch shows about as many images as there are. Every class goes through its images in an order that is shuffled
    anew for each epoch, so no image is shown twice before all of its class were shown once. A class with fewer than K
    images repeats them.

    Args:
        labels: (n,) class of every training image.
        classes: P; reduced to the number of classes.
        images: K; reduced to the size of the largest class.
        seed: together with the epoch's number, determines the batches.
    """

    def __init__(self, labels: np.ndarray, classes: int, images: int, seed: int) -> None:
        _, self._class_of, self._sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._classes = min(classes, len(self._sizes))
        self._images = min(images, int(self._sizes.max()))
        self.steps = max(1, round(len(labels) / (self._classes * self._images)))
        self._seed = seed

    def epoch(self, number: int) -> np.ndarray:
        """See BatchPlan; the images of a class follow each other in the batch."""
        random = np.random.default_rng((self._seed, number))
        queues = np.lexsort((random.random(len(self._class_of)), self._class_of))
        drawn = self._drawn_classes(random).ravel()
        order = np.argsort(drawn, kind="stable")
        times = np.bincount(drawn, minlength=len(self._sizes))
        turn = np.empty_like(drawn)  # how often the class was drawn before, in this epoch
        turn[order] = np.arange(len(drawn)) - np.repeat(np.cumsum(times) - times, times)
        within = (turn[:, None] * self._images + np.arange(self._images)) % self._sizes[drawn][:, None]
        return queues[self._starts[drawn][:, None] + within].reshape(self.steps, -1)

    def _drawn_classes(self, random: np.random.Generator) -> np.ndarray:
        """(steps, P): distinct classes in every step, all classes equally often over the epoch (within one)."""
        count = len(self._sizes)
        drawn: list[np.ndarray] = []
        rest = np.empty(0, dtype=np.int64)
        for _ in range(self.steps):
            step = rest[: self._classes]
            rest = rest[self._classes :]
            if len(step) < self._classes:
                fresh = random.permutation(count)
                missing = self._classes - len(step)
                first = fresh[~np.isin(fresh, step)][:missing]
                rest = fresh[~np.isin(fresh, first)]
                step = np.concatenate([step, first])
            drawn.append(step)
        return np.stack(drawn)


class RandomBatches:
    """Plain random batches: every epoch is a new permutation, split into batches; the remainder is left out.

    Args:
        count: number of training images.
        batch_size: images in a batch; reduced to `count`.
        seed: together with the epoch's number, determines the batches.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count = count
        self._batch = min(batch_size, count)
        self.steps = count // self._batch
        self._seed = seed

    def epoch(self, number: int) -> np.ndarray:
        """See BatchPlan."""
        order = np.random.default_rng((self._seed, number)).permutation(self._count)
        return order[: self.steps * self._batch].reshape(self.steps, self._batch)


def check_batch_classes(settings: TrainSettings, labels: np.ndarray) -> None:
    """Checks that `batch_classes`, where the user gave it, is at most the number of training classes.

    The default is reduced to that number without a word.

    Args:
        settings: of a whole training, as the user gave them.
        labels: (n,) class of every training image.

    Raises:
        ConfigError: it is larger, for the whole training or for a stage.
    """
    available = len(np.unique(labels))
    for stage in settings.stage_settings:
        given = stage.batch_classes
        if "batch_classes" in stage.model_fields_set and given > available:
            what = f"a batch of {given} classes cannot be drawn from {available} training classes"
            raise ConfigError(what, where="batch_classes", do=f"give {available} or less, or leave it out")


class OfflineTriplets:
    """Batches of triplets (anchor, positive, negative, anchor, ...), mined anew for each epoch from its embeddings.

    An epoch shows about as many images as there are, so it has a third as many triplets.

    Args:
        labels: (n,) class of every training image.
        batch_size: images in a batch; rounded down to whole triplets.
        seed: together with the epoch's number, determines the triplets.
        embed: computes the training images' present embeddings, (n, embedding_dim) float32; None draws negatives at
            random.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, seed: int, embed: Callable[[], np.ndarray] | None = None
    ) -> None:
        self._labels = labels
        self._triplets = max(1, min(batch_size, len(labels)) // 3)
        self.steps = max(1, round(len(labels) / (3 * self._triplets)))
        self._seed = seed
        self._embed = embed

    def epoch(self, number: int) -> np.ndarray:
        """See BatchPlan; embeds all training images first."""
        random = np.random.default_rng((self._seed, number))
        embeddings = None if self._embed is None else self._embed()
        drawn = draw_triplets(self._labels, self.steps * self._triplets, random, embeddings)
        return drawn.reshape(self.steps, -1)


def plan_batches(
    settings: TrainSettings, labels: np.ndarray, seed: int, embed: Callable[[], np.ndarray] | None = None
) -> BatchPlan:
    """The batch plan for the loss and the batch settings.

    Args:
        settings: the loss and the batches.
        labels: (n,) class of every image.
        seed: together with an epoch's number, determines the batches.
        embed: computes the images' present embeddings, (n, embedding_dim) float32, for a loss with offline triplets.

    Raises:
        DataError: there are fewer than two classes; or, with offline triplets, no class has two images.
    """
    if len(labels) < 2 or len(np.unique(labels)) < 2:
        raise DataError("nothing to train on: the training split needs at least two classes", do="add images")
    if settings.loss in OFFLINE_LOSSES:
        if np.unique(labels, return_counts=True)[1].max() < 2:
            raise DataError(f"{settings.loss} needs a class with two images to draw a triplet", do="add images")
        return OfflineTriplets(labels, settings.images_per_batch, seed, embed)
    if settings.batch_size is not None:
        return RandomBatches(len(labels), settings.batch_size, seed)
    return ClassBalancedBatches(labels, settings.batch_classes, settings.batch_images, seed)
