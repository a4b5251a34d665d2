"""The registry: the names and fields the configuration has, made into losses."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch import losses
from imagematch.config import KEYS, LOSSES, PAIR_LOSSES, PROXY_LOSSES, parse_train


def test_only_pair_losses_have_a_memory_and_only_proxies_a_rate() -> None:
    assert KEYS["cross_batch_memory"].losses == PAIR_LOSSES
    assert KEYS["proxy_rate"].losses == PROXY_LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_option_is_a_type_error(name: str) -> None:
    needed = {"n_classes": 2, "embedding_dim": 2} if name in PROXY_LOSSES else {}
    with pytest.raises(TypeError, match="has no option sharpness"):
        losses.loss_class(name)(**needed, sharpness=2)


def settings(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"loss": "triplet_hard", "loss_options": {}, "training_seed": 0} | changes)


@pytest.mark.parametrize("name", LOSSES)
def test_settings_make_every_loss(name: str) -> None:
    made = losses.make_loss(parse_train({"experiment_name": "x", "loss": name}), n_classes=3, embedding_dim=2)
    assert type(made) is losses.loss_class(name)
    assert made.name == name
    assert np.isfinite(made(np.eye(2, dtype=np.float32), [0, 1]).loss)


def test_options_and_memory_reach_the_loss() -> None:
    x, y = np.array([[0, 0], [1, 1]], np.float32), [0, 0]
    options = {"margin": 1.0, "loss_distance": "squared_euclidean", "triplet_hinge": "hinge"}
    plain = losses.make_loss(settings(loss="triplet_semihard", loss_options=options))
    assert float(plain(x, y).loss) == pytest.approx(3)
    remembering = losses.make_loss(
        settings(loss="triplet_semihard", loss_options=options | {"cross_batch_memory": 4}), embedding_dim=2
    )
    assert isinstance(remembering, losses.CrossBatchMemory)


def test_proxies_come_from_the_training_seed() -> None:
    first, second, third = (
        losses.make_loss(settings(loss="cosface", training_seed=seed), n_classes=3, embedding_dim=2)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.proxies, second.proxies)
    assert not np.allclose(first.proxies, third.proxies)


@pytest.mark.parametrize(
    ("changes", "given", "what"),
    [
        ({"loss": "arcface"}, {"embedding_dim": 2}, "arcface needs n_classes"),
        ({"loss": "arcface"}, {"n_classes": 2}, "arcface needs embedding_dim"),
        ({"loss_options": {"cross_batch_memory": 4}}, {}, "cross_batch_memory needs embedding_dim"),
    ],
)
def test_what_a_loss_needs_is_asked_for(changes: dict, given: dict, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        losses.make_loss(settings(**changes), **given)


def test_importing_the_package_does_not_import_tensorflow() -> None:
    code = (
        "import sys, imagematch.losses as l; l.loss_class('arcface'); print({'tensorflow', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b"set()"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        losses.Nothing  # noqa: B018
