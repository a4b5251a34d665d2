"""A matcher with `test_time_flip`: every way to an embedding gives the mean over the image and its mirror image."""

import numpy as np
import pytest
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.model import flip_average


@pytest.mark.parametrize("trained", [False, True])
def test_every_way_gives_the_mean_over_flips(tmp_path, images, trained):
    kind = {"engine": "tensorflow"} if trained else {}
    plain = ImageMatcher.load(write_matcher(tmp_path / "plain", trained=trained, **kind))
    folder = write_matcher(tmp_path / "flip", trained=trained, test_time_flip=True, **kind)
    matcher = ImageMatcher.load(folder)
    expected = flip_average(plain.embed(images), plain.embed(images[:, :, ::-1]))
    assert np.abs(expected - plain.embed(images)).max() > 0.01
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-5)
    floats = images.astype(np.float32)
    np.testing.assert_allclose(np.asarray(matcher.embedding_model(floats)), expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(matcher.feature_model(floats)), plain.embed(images), atol=1e-5)
    scores = np.asarray(matcher.keras_model([floats, floats[::-1]]))
    np.testing.assert_allclose(matcher.predict(images, images[::-1]), scores, atol=1e-5)
    network = matcher.network.build()
    features, mirrored = (np.asarray(network(x, training=False)) for x in (floats, floats[:, :, ::-1]))
    np.testing.assert_allclose(matcher.embed_features(features, mirrored), expected, atol=1e-5)
    with pytest.raises(ValueError, match="mirror"):
        matcher.embed_features(features)
    with pytest.raises(ValueError, match="mirror"):
        plain.embed_features(features, mirrored)
