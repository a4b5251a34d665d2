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
from imagematch.extractors.engines.network_file import converted_files

__all__ = [
    "BFLOAT16_COSINE",
    "Engine",
    "EngineChoice",
    "check_network_file",
    "choose_engine",
    "converted_files",
    "mean_cosine",
    "open_engine",
    "sample_images",
    "write_converted",
]
