"""The parameters foretold are those of the model that is built."""

import numpy as np
import pytest

from imagematch.config import parse_train
from imagematch.extractors import make_extractor
from imagematch.model import build_head
from imagematch.tuning.cost import trained_parameters


@pytest.mark.parametrize("units", [[], [7], [12, 5, 3]])
@pytest.mark.parametrize(
    ("extractor", "trained", "whitening"),
    [("pixels", False, None), ("pixels", False, 9), (["pixels"], False, None), ("small_cnn", True, None)],
)
def test_trained_parameters(units: list[int], extractor: str, trained: bool, whitening: int | None) -> None:
    settings = parse_train(
        {
            "experiment_name": "x",
            "feature_extractor": extractor,
            "weights": "random",
            "image_size": 8,
            "intermediate_ff_block_units": units,
            "embedding_dim": 6,
            "feature_whitening": whitening,
        }
    )
    made = make_extractor(settings)
    dim = made.feature_dim
    layer = None if whitening is None else (np.zeros((dim, whitening)), np.zeros(whitening))
    head = build_head(dim, units=units, embedding_dim=6, whitening=layer)
    network = made.build().count_params() if trained else 10**9
    expected = head.count_params() + (network if trained else 0)
    assert trained_parameters(settings, {made.name: network}) == expected
