"""Embeddings and labels -> what training minimises: losses over pairs, triplets and class proxies, by name.

A loss is put together from a distance (`distances`), a choice of pairs (`batch`, `miners`), its formula and options
(the module of its name) and a reducer (`reducers`). Importing this package imports neither TensorFlow nor numpy;
running a loss does. A new loss is one module: see CONTRIBUTING.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.losses.base import (
    Loss,
    LossValue,
    PairLoss,
    cosine_scale,
    loss_value,
    register_loss,
    temperature_of,
)
from imagematch.losses.batch import Batch
from imagematch.losses.cross_batch_memory import CrossBatchMemory
from imagematch.losses.distances import cosine_similarity, euclidean, squared_euclidean
from imagematch.losses.lazy import tf
from imagematch.losses.offline_triplets import draw_triplets
from imagematch.losses.proxies import ProxyLoss
from imagematch.losses.reducers import count, masked_logsumexp, mean_where, share
from imagematch.registry import LOSS_REGISTRY

if TYPE_CHECKING:
    from imagematch.config import TrainSettings

__all__ = [
    "Batch",
    "CrossBatchMemory",
    "Loss",
    "LossValue",
    "PairLoss",
    "ProxyLoss",
    "cosine_scale",
    "cosine_similarity",
    "count",
    "draw_triplets",
    "euclidean",
    "loss_class",
    "loss_value",
    "make_loss",
    "masked_logsumexp",
    "mean_where",
    "register_loss",
    "share",
    "squared_euclidean",
    "temperature_of",
    "tf",
]


def loss_class(name: str) -> type[Any]:
    """The class of a loss. Raises KeyError where no loss has this name."""
    return LOSS_REGISTRY.all()[name].maker


def make_loss(settings: TrainSettings, *, n_classes: int | None = None, embedding_dim: int | None = None) -> Loss:
    """The loss that `settings.loss` and `settings.loss_options` describe.

    Args:
        settings: `loss`, `loss_options`, and `training_seed` for the initial proxies.
        n_classes: number of training classes; needed for losses with proxies, whose labels are 0 to n_classes - 1.
        embedding_dim: length of an embedding; needed for losses with proxies and for cross-batch memory.

    Raises:
        ValueError: a number that this loss needs is not given.
    """
    spec = LOSS_REGISTRY.all()[settings.loss]
    given: dict[str, Any] = dict(settings.loss_options)
    if spec.kind == "proxy":
        given["n_classes"] = _needed("n_classes", n_classes, settings.loss)
        given["embedding_dim"] = _needed("embedding_dim", embedding_dim, settings.loss)
        given["seed"] = settings.training_seed
    loss = spec.maker(**given)
    if not given.get("cross_batch_memory"):
        return loss
    return CrossBatchMemory(
        loss, loss.cross_batch_memory, _needed("embedding_dim", embedding_dim, "cross_batch_memory")
    )


def _needed(what: str, value: int | None, by: str) -> int:
    if value is None:
        raise ValueError(f"{by} needs {what}")
    return value
