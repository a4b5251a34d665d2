"""What triplet losses have in common: their options, and what a violated margin costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from imagematch.losses.lazy import tf
from imagematch.options import choice, number


class Hinge(NamedTuple):
    """A function of the violation x, and its slope, both elementwise and 0 at minus infinity."""

    cost: Callable[[tf.Tensor], tf.Tensor]
    slope: Callable[[tf.Tensor], tf.Tensor]


def _relu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x)


def _step(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x > 0, x.dtype)


def _softplus(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softplus(x)


def _sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid(x)


HINGES: Mapping[str, Hinge] = {"hinge": Hinge(_relu, _step), "softplus": Hinge(_softplus, _sigmoid)}
"""Name -> hinge. Functions, not lambdas: AutoGraph cannot tell two lambdas of one line apart, and warns."""


class TripletOptions:
    """The options of losses over triplets (anchor, positive, negative).

    Attributes:
        margin: None is no margin, as usual with softplus.
    """

    margin: float | None = number(
        0.2,
        0,
        100,
        "What the negative has to be further away by than the positive.",
        source="Schroff et al. (FaceNet), 2015; 0.2 is the margin in the usual implementation (davidsandberg/facenet)",
        unless=("triplet_hinge", "softplus"),
        random_batches=1.0,  # TensorFlow Addons' default, whose recipe they are
    )
    loss_distance: str = choice(
        "euclidean",
        ("euclidean", "squared_euclidean"),
        "The distance between anchors, positives and negatives.",
        common=True,
    )
    triplet_hinge: str = choice(
        "hinge",
        ("hinge", "softplus"),
        "What a violation x of the margin costs: max(0, x), or log(1 + exp(x)), which needs no margin.",
        source="Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017",
        common=True,
    )

    @property
    def hinge(self) -> Hinge:
        """The cost of a violation, and its slope."""
        return HINGES[self.triplet_hinge]

    def violation(self, to_positive: tf.Tensor, to_negative: tf.Tensor) -> tf.Tensor:
        """By how much triplets miss the margin; over 0 where they do."""
        return (self.margin or 0.0) + to_positive - to_negative
