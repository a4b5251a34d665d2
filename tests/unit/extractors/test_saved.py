"""The extractor in a matcher's folder: known by its content, built by name, its weights read only where they fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.extractors import Extractor, SavedExtractor, TrainedNetwork, make_extractor, write_extractor
from imagematch.files import digest_file
from imagematch.tensors import write_tensors

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


def extractor(name: str = "small_cnn", **changes: Any) -> Extractor:
    settings = {"weights": "random", "image_size": 16, "trainable": False, "seed": 0} | changes
    return make_extractor(SimpleNamespace(feature_extractor=name, **settings))


def saved(folder: Path, made: Extractor, *, name: str | None = None, network: str | None = None) -> SavedExtractor:
    """Writes the extractor's weights, and says what the card of their folder would say."""
    folder.mkdir(exist_ok=True)
    path = folder / "extractor.safetensors"
    write_extractor(path, made.build())
    return SavedExtractor(
        name=name or made.name,
        image_size=made.image_size,
        feature_dim=made.feature_dim,
        folder=folder,
        weights_file=path.name,
        weights_digest=digest_file(path),
        network=network,
    )


@pytest.mark.parametrize(
    ("name", "image_size"), [("pixels", 8), ("small_cnn", 16), ("mobilenet_025", 32), ("efficientnet_b0", 32)]
)
def test_it_is_built_again_with_its_weights(tmp_path: Path, name: str, image_size: int) -> None:
    """EfficientNet-B0 has a weight without axes, a count of its normalisation."""
    made = extractor(name, image_size=image_size, seed=5)
    network = saved(tmp_path / "model", made).build()
    expected = np.asarray(made.build()(IMAGES, training=False))
    np.testing.assert_allclose(np.asarray(network(IMAGES, training=False)), expected, atol=1e-6)


def test_it_is_known_by_its_content_and_by_no_claim(tmp_path: Path) -> None:
    one, other = (saved(tmp_path / str(seed), extractor(seed=seed)) for seed in (0, 1))
    assert one.digest == saved(tmp_path / "again", extractor(seed=0)).digest
    assert one.digest != other.digest
    assert {one.digest, other.digest}.isdisjoint({extractor(seed=0).digest, extractor(seed=1).digest})
    with_network = saved(tmp_path / "0", extractor(seed=0), network="1" * 32)
    claims = saved(tmp_path / "0", extractor(seed=0), name="efficientnet", network="1" * 32)
    assert with_network.digest == claims.digest != one.digest, "what runs is the converted network"
    assert saved(tmp_path / "pixels", extractor("pixels")).digest == extractor("pixels").digest


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    network = saved(tmp_path / "model", extractor())
    path = tmp_path / "model" / "extractor.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for use in (lambda: network.build(), lambda: network.digest):
        with pytest.raises(ModelError, match="was changed since it was saved"):
            use()
    path.unlink()
    with pytest.raises(ModelError, match=r"extractor\.safetensors: cannot be read"):
        network.build()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    network = saved(tmp_path / "model", extractor())
    path = tmp_path / "model" / "extractor.safetensors"
    write_tensors(path, {"00000.kernel": np.zeros((3, 3), np.float32)})
    other = SavedExtractor(**{**vars(network), "weights_digest": digest_file(path)})
    with pytest.raises(ModelError, match="does not hold the weights"):
        other.build()


def test_a_large_network_is_not_built_for_a_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name costs a sender nothing, and would cost 1.4 GB of memory."""
    network = saved(tmp_path / "model", extractor(), name="convnext_xlarge")
    monkeypatch.setattr(Extractor, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(ModelError, match="does not hold the weights"):
        network.build()


def test_a_name_that_is_not_ours_cannot_be_built(tmp_path: Path) -> None:
    network = saved(tmp_path / "model", extractor(), name="kerashub:dinov2_base", network="1" * 32)
    with pytest.raises(ModelError, match="not a network that imagematch builds itself"):
        network.build()


def test_a_trained_network_is_copied_in_float32(tmp_path: Path) -> None:
    made = extractor(trainable=True)
    model = made.build("bfloat16")
    model.set_weights([weights + 0.01 for weights in model.get_weights()])
    copy = TrainedNetwork(made, model).build()
    assert {layer.compute_dtype for layer in copy._flatten_layers() if layer.weights} == {"float32"}
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
