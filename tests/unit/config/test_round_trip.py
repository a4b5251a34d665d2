"""Settings -> file -> settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch import config
from imagematch.config import load_train, parse_train

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
_PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
_FIELDS = st.fixed_dictionaries(
    {"experiment_name": _NAMES},
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "dataset": st.sampled_from(["tiny_imagenet", "digits"]),
        "data_dir": _PATHS,
        "feature_dir": _PATHS,
        "split": st.sampled_from([[0.8, 0.2], [0.5, 0.25, 0.25], [0.7, 0.2, 0.1]]),
        "weights": st.sampled_from(["random", "a/b c.h5", "é.npz"]),
        "trainable": st.one_of(st.booleans(), st.integers(1, 100)),
        "intermediate_ff_block_units": st.lists(st.integers(1, 4096), max_size=5),
        "dropout": st.floats(0, 1),
        "learning_rate": st.floats(0, 100, exclude_min=True),
        "weight_decay": st.floats(0, 10),
        "value_range": st.one_of(st.just("full"), st.floats(-1e6, 1e6).map(lambda low: [low, low + 7])),
        "image_size": st.one_of(st.none(), st.integers(8, 2048)),
        "batch_size": st.integers(2, 512),
        "optimizer": st.sampled_from(config.OPTIMIZERS),
        "margin": st.one_of(st.none(), st.floats(0, 100)),
        "threshold": st.one_of(
            st.sampled_from(config.NAMED_CRITERIA), st.fixed_dictionaries({"far": st.floats(1e-9, 0.5)})
        ),
    },
)


@settings(deadline=None)
@given(_FIELDS)
def test_settings_survive_a_file(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    made = parse_train(values)
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(made.to_yaml(), encoding="utf-8")
    assert load_train(path) == made


def test_only_what_differs_is_written() -> None:
    assert parse_train({"experiment_name": "x", "epochs": 50, "seed": 0}).to_yaml() == "experiment_name: x\n"
    assert parse_train({"experiment_name": "x", "epochs": 3}).to_yaml() == "experiment_name: x\nepochs: 3\n"
