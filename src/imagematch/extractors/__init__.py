"""The networks by name, with their preprocessing and weights, and the engines that run them frozen.

Making an extractor and running a network that was converted before need no TensorFlow; a package that registers an
extractor of its own does not even import numpy here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.registry import register_extractor

if TYPE_CHECKING:
    from imagematch.extractors.concatenation import Concatenation, choose_extractor, member_network
    from imagematch.extractors.engines import (
        Engine,
        EngineChoice,
        check_network_file,
        choose_engine,
        converted_files,
        lower_precisions,
        mean_cosine,
        open_engine,
        sample_images,
        write_converted,
    )
    from imagematch.extractors.extractor import NETWORK_VERSION, Extractor, Network, build_network, make_extractor
    from imagematch.extractors.feature_scaling import concatenate_features
    from imagematch.extractors.frozen_part import FrozenPart, find_frozen_part
    from imagematch.extractors.layers import FixedLength
    from imagematch.extractors.quantization import (
        CALIBRATION_IMAGES,
        CalibrationImages,
        QuantizedNetwork,
        can_quantize,
        quantized,
    )
    from imagematch.extractors.saved import SavedExtractor, TrainedNetwork, write_extractor
    from imagematch.extractors.trainable import network_inside
    from imagematch.extractors.weights import missing_files

_MODULES = {
    "CALIBRATION_IMAGES": "quantization",
    "CalibrationImages": "quantization",
    "Concatenation": "concatenation",
    "Engine": "engines",
    "EngineChoice": "engines",
    "Extractor": "extractor",
    "FixedLength": "layers",
    "FrozenPart": "frozen_part",
    "NETWORK_VERSION": "extractor",
    "Network": "extractor",
    "QuantizedNetwork": "quantization",
    "SavedExtractor": "saved",
    "TrainedNetwork": "saved",
    "build_network": "extractor",
    "can_quantize": "quantization",
    "check_network_file": "engines",
    "choose_engine": "engines",
    "choose_extractor": "concatenation",
    "concatenate_features": "feature_scaling",
    "find_frozen_part": "frozen_part",
    "lower_precisions": "engines",
    "make_extractor": "extractor",
    "mean_cosine": "engines",
    "member_network": "concatenation",
    "converted_files": "engines",
    "missing_files": "weights",
    "network_inside": "trainable",
    "open_engine": "engines",
    "quantized": "quantization",
    "sample_images": "engines",
    "write_converted": "engines",
    "write_extractor": "saved",
}

__all__ = [
    "CALIBRATION_IMAGES",
    "NETWORK_VERSION",
    "CalibrationImages",
    "Concatenation",
    "Engine",
    "EngineChoice",
    "Extractor",
    "FixedLength",
    "FrozenPart",
    "Network",
    "QuantizedNetwork",
    "SavedExtractor",
    "TrainedNetwork",
    "build_network",
    "can_quantize",
    "check_network_file",
    "choose_engine",
    "choose_extractor",
    "concatenate_features",
    "converted_files",
    "find_frozen_part",
    "lower_precisions",
    "make_extractor",
    "mean_cosine",
    "member_network",
    "missing_files",
    "network_inside",
    "open_engine",
    "quantized",
    "register_extractor",
    "sample_images",
    "write_converted",
    "write_extractor",
]


def __getattr__(name: str) -> Any:
    """Imports a module of this room when one of its names is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
