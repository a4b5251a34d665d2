"""The networks by name, with their preprocessing and weights, and the engines that run them frozen.

Importing this package, making an extractor and running a network that was converted before need no TensorFlow.
"""

from imagematch.extractors.concatenation import Concatenation, choose_extractor, member_network, side_by_side
from imagematch.extractors.cut import Cut, find_cut, network_inside, trained_layers
from imagematch.extractors.engines import (
    BFLOAT16_COSINE,
    ENGINES,
    PRECISIONS,
    Engine,
    EngineChoice,
    choose_engine,
    open_engine,
    write_converted,
)
from imagematch.extractors.extractor import NETWORK_VERSION, Extractor, Network, find_spec, make_extractor
from imagematch.extractors.kerashub import PREFIX
from imagematch.extractors.registry import SPECS, Spec
from imagematch.extractors.saved import SavedExtractor, TrainedNetwork, write_extractor

__all__ = [
    "BFLOAT16_COSINE",
    "ENGINES",
    "NETWORK_VERSION",
    "PRECISIONS",
    "PREFIX",
    "SPECS",
    "Concatenation",
    "Cut",
    "Engine",
    "EngineChoice",
    "Extractor",
    "Network",
    "SavedExtractor",
    "Spec",
    "TrainedNetwork",
    "choose_engine",
    "choose_extractor",
    "find_cut",
    "find_spec",
    "make_extractor",
    "member_network",
    "network_inside",
    "open_engine",
    "side_by_side",
    "trained_layers",
    "write_converted",
    "write_extractor",
]
