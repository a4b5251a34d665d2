"""The programs that run a frozen network over images: OpenVINO, TensorFlow, and plain numpy for pixels."""

from imagematch.extractors.engines.choice import (
    EngineChoice,
    choose_engine,
    lower_precisions,
    open_engine,
)
from imagematch.extractors.engines.conversion import mean_cosine, sample_images, write_converted
from imagematch.extractors.engines.engine import Engine
from imagematch.extractors.engines.network_check import check_network_file
from imagematch.extractors.engines.network_file import converted_files

__all__ = [
    "Engine",
    "EngineChoice",
    "check_network_file",
    "choose_engine",
    "converted_files",
    "lower_precisions",
    "mean_cosine",
    "open_engine",
    "sample_images",
    "write_converted",
]
