"""The programs that run a frozen network over images: OpenVINO, TensorFlow, and plain numpy for pixels."""

from imagematch.extractors.engines.choice import (
    BFLOAT16_COSINE,
    EngineChoice,
    choose_engine,
    open_engine,
)
from imagematch.extractors.engines.conversion import mean_cosine, sample_images, write_converted
from imagematch.extractors.engines.engine import Engine
from imagematch.extractors.engines.network_check import check_network_file
from imagematch.extractors.engines.network_file import network_files

__all__ = [
    "BFLOAT16_COSINE",
    "Engine",
    "EngineChoice",
    "check_network_file",
    "choose_engine",
    "mean_cosine",
    "network_files",
    "open_engine",
    "sample_images",
    "write_converted",
]
