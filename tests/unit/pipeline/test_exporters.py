"""Every format holds what our networks are made of, takes images of any size, and names its input and output alike."""

from pathlib import Path

import keras
import numpy as np
import pytest

from imagematch.pipeline.exporters import EXPORTERS


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Resizing, a normalisation with constants, depthwise and plain convolutions, batch norm, dropout, unit length."""
    random = keras.initializers.GlorotUniform(seed=3)
    x = inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.Resizing(12, 12)(x)
    x = keras.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[60.0**2, 50.0**2, 40.0**2])(x)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="swish", kernel_initializer=random)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=random)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(5, kernel_initializer=random)(x)
    return keras.Model(inputs, keras.layers.UnitNormalization()(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", EXPORTERS)
def test_what_was_written_gives_the_same(model: keras.Model, tmp_path: Path, kind: str) -> None:
    exporter = EXPORTERS[kind]
    path = tmp_path / f"model{exporter.suffix}"
    if not exporter.suffix:
        path.mkdir()
    exporter.write(model, path)
    random = np.random.default_rng(0)
    pictures = [random.uniform(0, 255, (*size, 3)).astype(np.float32) for size in ((12, 12), (7, 5), (30, 12), (1, 1))]
    expected = np.concatenate([np.asarray(model(picture[None], training=False)) for picture in pictures])
    np.testing.assert_allclose(exporter.run(path, pictures), expected, atol=1e-4)
