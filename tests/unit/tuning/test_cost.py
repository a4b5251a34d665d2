"""The parameters foretold are those of the model that is built."""

import pytest

from imagematch.config import parse_train
from imagematch.extractors import make_extractor
from imagematch.model import build_head
from imagematch.tuning.cost import trained_parameters


@pytest.mark.parametrize("units", [[], [7], [12, 5, 3]])
@pytest.mark.parametrize(("extractor", "trained"), [("pixels", False), ("small_cnn", True)])
def test_trained_parameters(units: list[int], extractor: str, trained: bool) -> None:
    settings = parse_train(
        {
            "experiment_name": "x",
            "feature_extractor": extractor,
            "weights": "random",
            "image_size": 8,
            "intermediate_ff_block_units": units,
            "embedding_dim": 6,
        }
    )
    made = make_extractor(settings)
    head = build_head(made.feature_dim, units=units, embedding_dim=6)
    network = made.build().count_params() if trained else 10**9
    expected = head.count_params() + (network if trained else 0)
    assert trained_parameters(settings, {extractor: network}) == expected
