"""The registry: the names and fields the configuration has, made into losses."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch import config, losses
from imagematch.config import parse_train


def test_names_are_those_of_the_configuration() -> None:
    assert losses.LOSSES == config.LOSSES


@pytest.mark.parametrize("name", losses.LOSSES)
def test_fields_and_defaults_are_those_of_the_configuration(name: str) -> None:
    elsewhere = ("cross_batch_memory", "proxy_rate")  # around the loss, and in the optimiser
    fields = {field: value for field, value in config.LOSS_FIELDS[name].items() if field not in elsewhere}
    parameters = inspect.signature(losses.loss_class(name)).parameters
    defaults = {field: p.default for field, p in parameters.items()}
    made_from = {"n_classes", "embedding_dim", "seed"} if name in losses.PROXY_LOSSES else set()
    assert set(defaults) - made_from == set(fields)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    if "triplet_hinge" not in fields:  # their margin depends on triplet_hinge
        assert {field: defaults[field] for field in fields} == fields


def test_only_pair_losses_have_a_memory_and_only_proxies_a_rate() -> None:
    having = {
        field: {name for name, fields in config.LOSS_FIELDS.items() if field in fields}
        for field in ("cross_batch_memory", "proxy_rate")
    }
    assert having == {"cross_batch_memory": set(losses.PAIR_LOSSES), "proxy_rate": set(losses.PROXY_LOSSES)}


def settings(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"loss": "triplet_hard", "loss_options": {}, "effective_training_seed": 0} | changes)


@pytest.mark.parametrize("name", losses.LOSSES)
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
        losses.make_loss(settings(loss="cosface", effective_training_seed=seed), n_classes=3, embedding_dim=2)
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
    code = "import sys, imagematch.losses as l; l.LOSSES; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        losses.Nothing  # noqa: B018
