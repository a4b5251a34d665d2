"""Every extractor passes this suite: offline, with random weights, at a small image size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.extractors import SPECS, Extractor, make_extractor, open_engine
from imagematch.extractors.engines.conversion import mean_cosine, relative_error, sample_pictures

SIZES = {"pixels": 16, "small_cnn": 16, "inception_v3": 75}


def small_extractor(name: str, **changes: Any) -> Extractor:
    settings = {"weights": "random", "image_size": SIZES.get(name, 32), "trainable": False, "seed": 3} | changes
    return make_extractor(SimpleNamespace(feature_extractor=name, **settings))


@dataclass
class Built:
    extractor: Extractor
    model: Any
    pictures: np.ndarray
    features: np.ndarray
    cache: Path


@pytest.fixture(scope="module", params=list(SPECS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    extractor = small_extractor(request.param)
    model = extractor.build()
    pictures = sample_pictures(19, 14)
    return Built(
        extractor, model, pictures, np.asarray(model(pictures, training=False)), tmp_path_factory.mktemp("net")
    )


def test_gives_features_of_the_stated_length(built: Built) -> None:
    assert built.features.shape == (19, built.extractor.feature_dim)
    assert built.features.dtype == np.float32
    assert np.isfinite(built.features).all()
    assert np.ptp(built.features, axis=0).max() > 0


def test_same_seed_gives_the_same_network(built: Built) -> None:
    weights = built.model.get_weights()
    for one, other in zip(weights, built.extractor.build().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    reseeded = small_extractor(built.extractor.name, seed=4)
    if built.extractor.name != "pixels":
        assert reseeded.digest != built.extractor.digest
        assert any((one != other).any() for one, other in zip(weights, reseeded.build().get_weights(), strict=True))


def test_saves_and_loads_as_part_of_a_keras_model(built: Built, tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Dense(3)(built.model(inputs))
    whole = keras.Model(inputs, outputs)
    whole.save(tmp_path / "whole.keras")
    loaded = keras.saving.load_model(tmp_path / "whole.keras")
    pictures = built.pictures[:2]
    np.testing.assert_allclose(loaded(pictures, training=False), whole(pictures, training=False), rtol=1e-5, atol=1e-7)


def test_is_frozen_unless_it_is_made_to_be_trained(built: Built) -> None:
    from_scratch = built.extractor.spec.from_scratch
    assert built.extractor.frozen != from_scratch
    assert bool(built.model.trainable_variables) == from_scratch


def test_every_engine_gives_the_model_s_features(built: Built) -> None:
    for name in ("auto", "tensorflow"):
        engine = open_engine(built.extractor, name, "float32", built.cache)
        assert engine.precision == "float32"
        assert relative_error(engine.run(built.pictures), built.features) <= 1e-3, engine.name


def test_automatic_precision_keeps_the_features(built: Built) -> None:
    engine = open_engine(built.extractor, cache_dir=built.cache)
    assert mean_cosine(engine.run(built.pictures), built.features) >= 0.999


def test_bfloat16_keeps_the_features(built: Built) -> None:
    engine = open_engine(built.extractor, "auto", "bfloat16", built.cache)
    assert mean_cosine(engine.run(built.pictures), built.features) >= 0.999


def test_batches_and_sizes_do_not_matter(built: Built) -> None:
    engine = open_engine(built.extractor, cache_dir=built.cache)
    sizes = [(14, 14), (9, 14), (14, 14), (1, 1), (9, 14), (14, 14)] * 3
    pictures = [picture[: size[0], : size[1]] for picture, size in zip(built.pictures, sizes, strict=False)]
    together = engine.run(pictures)
    one_by_one = np.concatenate([engine.run([picture]) for picture in pictures])
    assert relative_error(together, one_by_one) <= 1e-5
    small = [row for row, picture in enumerate(pictures) if picture.shape == (9, 14, 3)]
    expected = np.asarray(built.model(np.stack([pictures[row] for row in small]), training=False))
    assert mean_cosine(together[small], expected) >= 0.999
    assert engine.run(built.pictures[:0]).shape == (0, built.extractor.feature_dim)
