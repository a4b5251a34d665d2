"""The layers of MobileNetV2 side by side: which numbers they are, and that a file of the plain network fits."""

from pathlib import Path

import keras
import numpy as np

from imagematch.extractors import build_network, concatenate_features
from imagematch.registry import EXTRACTOR_REGISTRY

NAMES = ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")


def test_features_are_averages_of_layers_of_the_network_whose_file_is_loaded(tmp_path: Path) -> None:
    plain, layers = (
        build_network(EXTRACTOR_REGISTRY.all()[name], 32, seed)
        for name, seed in (("mobilenet_v2", 1), ("mobilenet_v2_layers", 2))
    )
    plain.save_weights(tmp_path / "plain.weights.h5")
    layers.load_weights(tmp_path / "plain.weights.h5")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    activations = keras.Model(plain.input, [plain.get_layer(name).output for name in NAMES])(images)
    expected = concatenate_features([np.asarray(part).mean(axis=(1, 2)) for part in activations])
    np.testing.assert_allclose(np.asarray(layers(images)), expected, rtol=1e-3, atol=1e-5)
    copied = build_network(EXTRACTOR_REGISTRY.all()["mobilenet_v2_layers"], 32, 3)
    copied.set_weights(plain.get_weights())  # as published weights are loaded
    np.testing.assert_allclose(np.asarray(copied(images)), expected, rtol=1e-3, atol=1e-5)
