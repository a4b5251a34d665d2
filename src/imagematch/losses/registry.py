"""The losses by name, and the loss that settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagematch.config import TrainSettings
    from imagematch.losses.base import Loss

PAIR_LOSSES: Mapping[str, str] = {
    "triplet_semihard": "TripletSemiHard",
    "triplet_hard": "TripletHard",
    "triplet_all": "TripletAll",
    "contrastive": "Contrastive",
    "lifted_structure": "LiftedStructure",
    "n_pairs": "NPairs",
    "nt_xent": "NTXent",
    "multi_similarity": "MultiSimilarity",
    "circle": "Circle",
    "soft_nearest_neighbour": "SoftNearestNeighbour",
}
"""Name -> class, in the module of the same name: losses that compare the images of a batch with each other."""

OFFLINE_LOSSES: Mapping[str, str] = {"triplet_offline": "TripletOffline"}
"""Name -> class, in the module of the same name: losses over triplets that the batch is made of."""

PROXY_LOSSES: Mapping[str, str] = {
    "normalised_softmax": "NormalisedSoftmax",
    "cosface": "CosFace",
    "arcface": "ArcFace",
    "proxy_nca": "ProxyNCA",
    "proxy_anchor": "ProxyAnchor",
}
"""Name -> class, in the module of the same name: losses that compare each image with one learnt vector a class."""


def make_loss(settings: TrainSettings, *, n_classes: int | None = None, embedding_dim: int | None = None) -> Loss:
    """The loss that `settings.loss` and `settings.loss_options` describe.

    Args:
        settings: `loss`, `loss_options`, and `effective_training_seed` for the initial proxies.
        n_classes: number of training classes; needed for losses with proxies, whose labels are 0 to n_classes - 1.
        embedding_dim: length of an embedding; needed for losses with proxies and for cross-batch memory.

    Raises:
        ValueError: a number that this loss needs is not given.
    """
    options: dict[str, Any] = dict(settings.loss_options)
    memory_size: int = options.pop("cross_batch_memory", 0)
    options.pop("proxy_rate", None)  # is the optimiser's
    if settings.loss in PROXY_LOSSES:
        options["n_classes"] = _needed("n_classes", n_classes, settings.loss)
        options["embedding_dim"] = _needed("embedding_dim", embedding_dim, settings.loss)
        options["seed"] = settings.effective_training_seed
    loss = loss_class(settings.loss)(**options)
    if not memory_size:
        return loss
    from imagematch.losses.cross_batch_memory import CrossBatchMemory

    return CrossBatchMemory(loss, memory_size, _needed("embedding_dim", embedding_dim, "cross_batch_memory"))


def _needed(what: str, value: int | None, by: str) -> int:
    if value is None:
        raise ValueError(f"{by} needs {what}")
    return value


def loss_class(name: str) -> type[Loss]:
    """The class of a loss; imports TensorFlow."""
    classes = {**PAIR_LOSSES, **OFFLINE_LOSSES, **PROXY_LOSSES}
    return getattr(import_module(f"imagematch.losses.{name}"), classes[name])
