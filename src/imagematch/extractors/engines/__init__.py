"""The programs that run a frozen network over pictures: OpenVINO, TensorFlow, and plain numpy for pixels."""

from imagematch.extractors.engines.choice import (
    BFLOAT16_COSINE,
    ENGINES,
    PRECISIONS,
    EngineChoice,
    choose_engine,
    open_engine,
)
from imagematch.extractors.engines.conversion import write_converted
from imagematch.extractors.engines.interface import Engine

__all__ = [
    "BFLOAT16_COSINE",
    "ENGINES",
    "PRECISIONS",
    "Engine",
    "EngineChoice",
    "choose_engine",
    "open_engine",
    "write_converted",
]
