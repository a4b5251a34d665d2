"""Extractors side by side: one model, one engine, one image size; each member scaled to the same length."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ConfigError
from imagematch.extractors import (
    Concatenation,
    Extractor,
    choose_extractor,
    make_extractor,
    member_network,
    open_engine,
)
from imagematch.extractors import concatenate_features as joined
from imagematch.extractors.engines import choice
from imagematch.extractors.engines.choice import EngineChoice, choose_engine
from imagematch.extractors.engines.conversion import relative_error, sample_images
from imagematch.extractors.engines.engine import PixelEngine


def settings_of(**changes: Any) -> SimpleNamespace:
    base = {"feature_extractor": ("pixels", "mobilenet_025"), "weights": "random", "image_size": 32}
    return SimpleNamespace(**{**base, "trainable": False, "seed": 3, **changes})


def some(**changes: Any) -> Concatenation:
    chosen = choose_extractor(settings_of(**changes))
    assert isinstance(chosen, Concatenation)
    return chosen


def expected_features(members: Any, pictures: np.ndarray) -> np.ndarray:
    """Naively: each row of each member at length sqrt(all dimensions / members)."""
    parts = [np.asarray(member.build()(pictures, training=False), np.float64) for member in members]
    length = np.sqrt(sum(part.shape[1] for part in parts) / len(parts))
    return np.concatenate([length * part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)


def test_members_are_scaled_to_one_length_and_concatenated() -> None:
    random = np.random.default_rng(0)
    one, other = random.random((4, 5, 6)), 1000 * random.random((4, 5, 2)).astype(np.float16)
    found = joined([one, other])
    assert (found.shape, found.dtype) == ((4, 5, 8), np.float32)
    for part, columns in ((one, slice(0, 6)), (other, slice(6, 8))):
        unit = part / np.linalg.norm(part.astype(np.float64), axis=-1, keepdims=True)
        np.testing.assert_allclose(found[..., columns], 2 * unit, rtol=1e-3 if part is other else 1e-6)
    np.testing.assert_allclose(np.mean(found**2, axis=-1), 1, rtol=1e-5)


def test_tiny_features_are_brought_to_the_same_length() -> None:
    part = np.random.default_rng(0).random((3, 4))
    found = joined([(1e-27 * part).astype(np.float32), np.ones((3, 4), np.float32)])
    unit = part / np.linalg.norm(part, axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, :4], 2 * unit, rtol=1e-3)


def test_features_of_zero_stay_zero() -> None:
    found = joined([np.zeros((2, 3), np.float32), np.ones((2, 1), np.float32)])
    np.testing.assert_allclose(found, [[0, 0, 0, np.sqrt(2)]] * 2, rtol=1e-6)


def test_the_keras_model_and_every_engine_give_the_members_features(tmp_path: Path) -> None:
    extractor = some()
    pictures = sample_images(11, 20)
    expected = expected_features(extractor.members, pictures)
    assert extractor.feature_dim == expected.shape[1] == 32 * 32 * 3 + 256
    assert (extractor.name, extractor.image_size, extractor.frozen) == ("pixels+mobilenet_025", 32, True)
    model = extractor.build()
    assert not model.trainable_variables
    assert relative_error(np.asarray(model(pictures)), expected) < 1e-4
    for name in ("auto", "tensorflow"):
        engine = open_engine(extractor, name, "float32", tmp_path)
        assert engine.feature_dim == extractor.feature_dim
        assert relative_error(engine.run(pictures), expected) < 1e-3
        assert relative_error(engine.run([*pictures[:3, :9], *pictures[3:]])[3:], expected[3:]) < 1e-3


def test_the_members_come_out_of_the_model_again_and_out_of_its_file(tmp_path: Path) -> None:
    import keras

    extractor = some()
    pictures = sample_images(2, 20)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, extractor.build()(inputs))
    model.save(tmp_path / "model.keras")
    for whole in (model, keras.saving.load_model(tmp_path / "model.keras")):
        for number, member in enumerate(extractor.members):
            found = member_network(whole.layers[-1], number)(pictures, training=False)
            np.testing.assert_allclose(found, member.build()(pictures, training=False), atol=1e-6)


def test_all_see_the_largest_of_their_own_sizes() -> None:
    members = some(image_size=None).members
    assert [member.image_size for member in members] == [128, 128]
    alone = make_extractor(settings_of(feature_extractor="mobilenet_025", image_size=None))
    assert members[1].digest == alone.digest


def test_the_digest_follows_the_members_and_their_order() -> None:
    found = {
        some().digest,
        some(image_size=33).digest,
        some(seed=4).digest,
        some(feature_extractor=("mobilenet_025", "pixels")).digest,
        some(feature_extractor=("pixels", "mobilenet_025", "mobilenet")).digest,
    }
    assert len(found) == 5
    assert some().digest == some().digest


def test_weights_are_one_for_all_or_one_each() -> None:
    members = some(weights=("random", "imagenet")).members
    assert [member.weights for member in members if isinstance(member, Extractor)] == ["random", "imagenet"]
    assert [member.weights for member in some().members if isinstance(member, Extractor)] == ["random", "random"]


def test_one_that_would_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="small_cnn would be trained"):
        choose_extractor(settings_of(feature_extractor=("pixels", "small_cnn")))


@pytest.mark.parametrize(
    ("bears", "asked", "expected"),
    [
        ({"a": ("openvino", "bfloat16"), "b": ("openvino", "bfloat16")}, "auto", ("openvino", "bfloat16")),
        ({"a": ("openvino", "bfloat16"), "b": ("tensorflow", "float32")}, "auto", ("tensorflow", "float32")),
        ({"a": ("openvino", "bfloat16"), "b": ("numpy", "float32")}, "auto", ("openvino", "bfloat16")),
    ],
)
def test_they_share_an_engine_and_a_precision_that_all_bear(
    bears: dict[str, tuple[str, str]], asked: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stub takes what it is asked for, as far as it bears it."""

    def chosen(network: Any, engine: str, precision: str, *_: Any) -> EngineChoice:
        if isinstance(network, Concatenation):
            return choice._concatenated(network, engine, precision, None, choice.SILENT)
        name, best = bears[network.name]
        if name != "numpy" and engine != "auto":
            name, best = engine, "float32" if engine == "tensorflow" else best
        return EngineChoice(name, best if precision == "auto" else precision, lambda: PixelEngine(4))

    monkeypatch.setattr(choice, "choose_engine", chosen)
    members: Any = tuple(SimpleNamespace(name=name) for name in bears)
    found = chosen(Concatenation(members), asked, "auto")
    assert (found.name, found.precision) == expected
    assert found.open().feature_dim == 96


def test_a_wish_that_cannot_be_met_is_refused_as_for_one() -> None:
    with pytest.raises(ConfigError, match="feature_precision"):
        choose_engine(some(), precision="half")
