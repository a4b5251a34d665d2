"""Features -> embedding: the feed-forward block, the head, the feature model, and how it is saved and loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagematch.model.feature_model import build_feature_model, split_feature_model
    from imagematch.model.head import FFBlock, build_head
    from imagematch.model.storage import load_feature_model, save_feature_model

__all__ = [
    "FFBlock",
    "build_feature_model",
    "build_head",
    "load_feature_model",
    "save_feature_model",
    "split_feature_model",
]

_MODULES = {
    "FFBlock": "head",
    "build_head": "head",
    "build_feature_model": "feature_model",
    "split_feature_model": "feature_model",
    "load_feature_model": "storage",
    "save_feature_model": "storage",
}


def __getattr__(name: str) -> Any:
    """Imports Keras when a name of this room is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
