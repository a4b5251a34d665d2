"""Cutting a network below what is trained of it: where, and that both halves together are the whole."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ConfigError
from imagematch.extractors import Extractor, find_frozen_part, make_extractor
from imagematch.extractors.trainable import freeze, network_inside


def extractor(name: str, trainable: Any, image_size: int = 32, **changes: Any) -> Extractor:
    settings = {"weights": "random", "image_size": image_size, "trainable": trainable, "seed": 3} | changes
    return make_extractor(SimpleNamespace(feature_extractor=name, **settings))


def pretrained(name: str, trainable: Any) -> Extractor:
    """As with published weights, which are not loaded here."""
    made = extractor(name, trainable)
    return Extractor(made.spec, made.image_size, "imagenet", "imagenet:x", 3, trainable)


@pytest.mark.parametrize(
    ("name", "trainable", "layer"),
    [
        ("small_cnn", 2, "block3_pool"),
        ("small_cnn", 3, "block3_conv"),  # none is smaller than the picture
        ("mobilenet_v2", {"blocks": 1}, "block_15_add"),
        ("mobilenet_v2", 6, "block_15_add"),  # not inside block 16, where the tensors are six times larger
        ("mobilenet_v2", 2, "block_16_project_BN"),
        ("efficientnet", {"blocks": 1}, "block6g_add"),
        ("vgg16", {"blocks": 1}, "block4_pool"),
    ],
)
def test_the_cut_is_a_small_tensor_close_below_what_is_trained(name: str, trainable: Any, layer: str) -> None:
    found = find_frozen_part(extractor(name, trainable))
    assert found is not None
    assert found.layer == layer


@pytest.mark.parametrize("trainable", [False, True, 10_000])
def test_no_cut_where_nothing_or_everything_is_trained(trainable: Any) -> None:
    assert find_frozen_part(extractor("mobilenet_025", trainable)) is None


@pytest.mark.parametrize(("name", "trainable"), [("mobilenet_v3_small", {"blocks": 2}), ("small_cnn", 2)])
def test_both_halves_are_the_whole(name: str, trainable: Any) -> None:
    made = extractor(name, trainable)
    cut = find_frozen_part(made)
    assert cut is not None
    whole = made.build()
    lower, upper = cut.lower_part(whole), cut.upper_part(whole)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    features = lower(pictures, training=False)
    assert features.shape == (3, cut.feature_dim)
    np.testing.assert_allclose(np.asarray(cut.build()(pictures)), np.asarray(features), rtol=1e-5, atol=1e-6)
    expected = np.asarray(whole(pictures, training=False))
    np.testing.assert_allclose(np.asarray(upper(features, training=False)), expected, rtol=1e-4, atol=1e-6)
    own = {id(variable) for variable in upper.trainable_variables}
    assert own == {id(variable) for variable in whole.trainable_variables}, "the weights are the whole's"


def test_two_cuts_share_one_network() -> None:
    made = extractor("small_cnn", 4)
    whole = made.build()
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = np.asarray(whole(pictures, training=False))
    for trainable in (2, 4):
        cut = find_frozen_part(extractor("small_cnn", trainable))
        assert cut is not None
        lower, upper = cut.lower_part(whole), cut.upper_part(whole)
        np.testing.assert_allclose(np.asarray(upper(lower(pictures))), expected, rtol=1e-4, atol=1e-6)


def test_the_digest_is_of_the_place_and_the_weights() -> None:
    places = [extractor("small_cnn", 2), extractor("small_cnn", 3), extractor("small_cnn", 2, seed=4)]
    cuts = [find_frozen_part(place) for place in places]
    assert len({cut.digest for cut in cuts if cut} | {places[0].digest}) == 4


def test_a_pretrained_network_s_batch_norms_stay_as_they_are() -> None:
    made = pretrained("mobilenet_v2", {"blocks": 1})
    network = network_inside(extractor("mobilenet_v2", False).build())
    names = [layer.name for layer in made.trained_layers(network)]
    assert names == ["block_16_expand", "block_16_depthwise", "block_16_project", "Conv_1"]
    from_scratch = [layer.name for layer in extractor("mobilenet_v2", {"blocks": 1}).trained_layers(network)]
    assert "block_16_project_BN" in from_scratch


@pytest.mark.parametrize("published", [True, False])
def test_batch_norms_inside_a_nested_network_stay_as_they_are_too(published: bool) -> None:
    import keras

    backbone = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    )
    inputs = keras.Input((8, 8, 3))
    bare = keras.Model(inputs, backbone(inputs))
    whole = keras.Model(inputs, bare(inputs))
    freeze(whole, "mobilenet_v2", True, with_norms=not published)
    norm = backbone.layers[1]
    assert norm.trainable != published
    assert len(whole.trainable_variables) == (2 if published else 4)
    whole(np.ones((2, 8, 8, 3), np.float32), training=True)
    assert (np.asarray(norm.moving_mean) == 0).all() == published


def test_training_nothing_but_batch_norms_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch norms") as caught:
        find_frozen_part(pretrained("mobilenet_v2", 1))
    assert "\n" not in str(caught.value)


def test_a_network_without_blocks_by_name_says_so() -> None:
    import keras

    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="conv2d_3")])
    with pytest.raises(ConfigError, match="give trainable: N"):
        extractor("small_cnn", {"blocks": 1}).trained_layers(network)
