"""What a trial's model costs: its trained parameters, known before it is trained, and its latency, measured after."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.config import TrainSettings
from imagematch.extractors import choose_extractor, open_engine

if TYPE_CHECKING:
    from imagematch.matching import Embedder
    from imagematch.training import Training

_WARM_UP_RUNS = 5
_RUNS = 30


def trained_parameters(settings: TrainSettings, network_parameters: Mapping[str, int]) -> int:
    """The weights that a training of `settings` would have: the head's, and the extractor's where that is trained.

    Args:
        settings: of the training.
        network_parameters: extractor -> its weights; looked at only for one that is trained.

    Raises:
        ModelError: the extractor's weights cannot be found.
    """
    extractor = choose_extractor(settings.stage_settings[-1])  # a stage trains what those before it train
    count, width = 0, extractor.feature_dim
    if settings.feature_whitening is not None:
        count, width = (width + 1) * settings.feature_whitening, settings.feature_whitening
    for units in settings.intermediate_ff_block_units:
        count += (width + 4) * units  # a kernel without bias; scale, shift, mean and variance of the batch norm
        width = units
    count += (width + 1) * settings.embedding_dim
    return count if extractor.frozen else count + network_parameters[extractor.name]


def latency_ms(training: Training, settings: TrainSettings) -> float:
    """Milliseconds from one decoded picture to its embedding, as the saved matcher would compute it.

    The median of 30 runs of one picture each, after 5 that are not measured, in this process with the threads it has:
    other workers and programs disturb it. Reading and decoding the file are not in it.
    """
    size = training.materials.extractor.image_size
    dataset = training.materials.dataset
    picture = [dataset.picture(int(dataset.rows("validation")[0]), size)]
    embedder = _embedder(training, settings)
    seconds = []
    for _ in range(_WARM_UP_RUNS + _RUNS):
        started = time.perf_counter()
        embedder.embed(picture)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[_WARM_UP_RUNS:])


def _embedder(training: Training, settings: TrainSettings) -> Embedder:
    from imagematch.extractors import TrainedNetwork
    from imagematch.matching import Embedder
    from imagematch.model import head_in_numpy

    extractor, features = training.materials.extractor, training.materials.features
    if training.network is not None:
        engine = open_engine(TrainedNetwork(extractor, training.network), "auto", "float32")
    else:
        name = "auto" if features.engine == "numpy" else features.engine
        engine = open_engine(extractor, name, features.precision, Path(settings.feature_dir) / "networks")
    head = head_in_numpy(training.shape, training.head)
    return Embedder(engine, head, test_time_flip=settings.test_time_flip)
