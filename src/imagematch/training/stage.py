"""One stage of a training: what is trained, on what, how, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from imagematch.config import TrainSettings
from imagematch.training.sources import Source
from imagematch.training.validation import Validator


@dataclass(frozen=True)
class Stage:
    """What one stage does; the stages of a training share the variables of their models.

    Attributes:
        settings: the stage's own: optimiser, schedule, epochs, patience; and the objective, the same in all.
        model: inputs of `source` -> (batch, embedding_dim) on the unit sphere.
        source: training chunks and validation blocks.
        validator: the figures of an epoch.
        trained: the variables that are trained; empty for all of the model's trainable ones.
        rate_shares: for each of them, its share of the learning rate.
    """

    settings: TrainSettings
    model: keras.Model
    source: Source
    validator: Validator
    trained: Sequence[Any] = ()
    rate_shares: Sequence[float] = field(default=())

    def variables(self) -> tuple[list[Any], list[float]]:
        """The trained variables, and each one's share of the learning rate."""
        if not self.trained:
            variables = list(self.model.trainable_variables)
            return variables, [1.0] * len(variables)
        return list(self.trained), list(self.rate_shares)
