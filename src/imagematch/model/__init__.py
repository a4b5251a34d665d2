"""Features -> embedding: the feed-forward block, the head, the feature model, the Siamese network, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagematch.model.head import FFBlock, Whitening, build_head, build_joined_head
    from imagematch.model.head_weights import (
        AnyHeadShape,
        HeadShape,
        JoinedShape,
        head_in_numpy,
        read_head,
        read_keras_head,
        write_head,
    )
    from imagematch.model.numpy_head import JoinedNumpyHead, NumpyHead, flip_average
    from imagematch.model.siamese import (
        Mirror,
        PairScore,
        build_feature_model,
        build_flip_model,
        build_siamese_model,
        split_feature_model,
    )

__all__ = [
    "AnyHeadShape",
    "FFBlock",
    "HeadShape",
    "JoinedNumpyHead",
    "JoinedShape",
    "Mirror",
    "NumpyHead",
    "PairScore",
    "Whitening",
    "build_feature_model",
    "build_flip_model",
    "build_head",
    "build_joined_head",
    "build_siamese_model",
    "flip_average",
    "head_in_numpy",
    "read_head",
    "read_keras_head",
    "split_feature_model",
    "write_head",
]

_MODULES = {
    "FFBlock": "head",
    "Whitening": "head",
    "build_head": "head",
    "build_joined_head": "head",
    "JoinedNumpyHead": "numpy_head",
    "NumpyHead": "numpy_head",
    "AnyHeadShape": "head_weights",
    "HeadShape": "head_weights",
    "JoinedShape": "head_weights",
    "head_in_numpy": "head_weights",
    "read_head": "head_weights",
    "read_keras_head": "head_weights",
    "write_head": "head_weights",
    "flip_average": "numpy_head",
    "Mirror": "siamese",
    "build_flip_model": "siamese",
    "PairScore": "siamese",
    "build_siamese_model": "siamese",
    "build_feature_model": "siamese",
    "split_feature_model": "siamese",
}


def __getattr__(name: str) -> Any:
    """Imports Keras when a name that needs it is first asked for; what computes in numpy alone needs none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
