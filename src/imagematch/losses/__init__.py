"""Embeddings and labels -> what training minimises: losses over pairs, triplets and class proxies, by name.

A loss is put together from a distance (`distances`), a choice of pairs (`batch`, `miners`), its formula (the module
of its name) and a reducer (`reducers`). Importing this package does not import TensorFlow; asking it for a loss does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.losses.offline_triplets import draw_triplets
from imagematch.losses.registry import OFFLINE_LOSSES, PAIR_LOSSES, PROXY_LOSSES, loss_class, make_loss

if TYPE_CHECKING:
    from imagematch.losses.base import Loss, LossValue
    from imagematch.losses.cross_batch_memory import CrossBatchMemory

__all__ = [
    "LOSSES",
    "OFFLINE_LOSSES",
    "PAIR_LOSSES",
    "PROXY_LOSSES",
    "CrossBatchMemory",
    "Loss",
    "LossValue",
    "draw_triplets",
    "loss_class",
    "make_loss",
]

LOSSES: tuple[str, ...] = (*PAIR_LOSSES, *OFFLINE_LOSSES, *PROXY_LOSSES)
"""The names of all losses."""

_MODULES = {"Loss": "base", "LossValue": "base", "CrossBatchMemory": "cross_batch_memory"}


def __getattr__(name: str) -> Any:
    """Imports TensorFlow when a class of this room is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
