"""The image matcher: whatever form images have, what it says of them, and the same as one Keras model."""

import keras
import numpy as np
import pytest
from PIL import Image

from imagematch import ImageMatcher, Match
from imagematch.errors import DataError, ModelError


@pytest.fixture(scope="module")
def matcher(pixel_folder):
    return ImageMatcher.load(pixel_folder)


def test_predict_is_minus_the_distance_of_the_embeddings(matcher, images):
    scores = matcher.predict(images, images[::-1])
    embeddings = matcher.embed(images).astype(np.float64)
    expected = [-np.linalg.norm(a - b) for a, b in zip(embeddings, embeddings[::-1], strict=True)]
    assert scores.shape == (4,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert str(matcher.predict(images[0], images[0])) == "[0.]"


def test_a_score_of_one_pair_can_be_compared_as_it_is(matcher, images):
    anchor, positive, negative = images[0], np.clip(images[0].astype(int) + 3, 0, 255), 255 - images[0]
    output_1 = matcher.predict(anchor, positive)
    output_2 = matcher.predict(anchor, negative)
    assert output_1.shape == (1,)
    assert output_1 > output_2 + 0.5


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (lambda x, _: x, "itself"),
        (lambda x, _: x.astype(np.float32), "float32"),
        (lambda x, _: np.clip(x + 0.3, 0, 255) - 0.1, "float64, rounded"),
        (lambda x, _: x.astype(np.int64), "int64"),
        (lambda x, _: Image.fromarray(x), "PIL"),
        (lambda x, _: Image.fromarray(x).convert("RGBA"), "PIL with alpha"),
        (lambda x, _: np.dstack([x, np.full((8, 8), 255, np.uint8)]), "RGBA"),
        (lambda x, _: keras.ops.convert_to_tensor(x), "tensor"),
        (lambda x, _: keras.ops.convert_to_tensor(x[None].astype("float32")), "4-D tensor"),
        (lambda x, path: (Image.fromarray(x).save(path), path)[1], "path"),
        (lambda x, path: (Image.fromarray(x).save(path), str(path))[1], "text"),
        (lambda x, path: (Image.fromarray(x).save(path), path.read_bytes())[1], "bytes"),
        (lambda x, path: (Image.fromarray(x).save(path), np.array([str(path)]))[1], "array of paths"),
        (lambda x, _: [x], "list of one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_form_of_an_image_gives_the_same_embedding(matcher, images, tmp_path, one, same):
    given = matcher.embed(one(images[1], tmp_path / "a.png"))
    assert given.shape == (1, 12)
    np.testing.assert_allclose(given, matcher.embed(images[1:2]), atol=1e-6)


def test_grey_is_grey_however_it_is_given(matcher):
    grey = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
    forms = [grey, grey[:, :, None], np.repeat(grey[:, :, None], 3, axis=2), Image.fromarray(grey)]
    embeddings = matcher.embed(forms)
    np.testing.assert_allclose(embeddings, np.repeat(embeddings[:1], 4, axis=0), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (8, 8), (500, 20), (31, 257)])
def test_any_size_will_do(matcher, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    embedding = matcher.embed(picture)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_many_are_embedded_in_their_order_also_beyond_one_block(matcher):
    pictures = [np.full((8, 8, 3), number % 256, np.uint8) for number in range(600)]
    pictures = [np.concatenate([picture[:4], 255 - picture[4:]]) for picture in pictures]
    together = matcher.embed(pictures)
    for row in (0, 255, 256, 599):
        np.testing.assert_allclose(together[row], matcher.embed(pictures[row])[0], atol=1e-6)


def test_none_at_all(matcher, images):
    assert matcher.embed([]).shape == (0, 12)
    assert matcher.predict([], []).shape == (0,)
    assert matcher.match([], images[0]) == []


def test_one_image_is_compared_with_each_of_many(matcher, images):
    np.testing.assert_allclose(matcher.predict(images[0], images), matcher.predict(images[[0] * 4], images), atol=1e-6)
    np.testing.assert_allclose(
        matcher.predict(list(images), images[2]), matcher.predict(images, images[[2] * 4]), atol=1e-6
    )


@pytest.mark.parametrize(("first", "second"), [(2, 3), (4, 2), (0, 2)])
def test_numbers_that_do_not_fit_are_told(matcher, images, first, second):
    with pytest.raises(ValueError, match=f"{first} images cannot be paired with {second}"):
        matcher.predict(images[:first], images[:second])


def test_match_applies_threshold_and_probability(matcher, images):
    close = matcher.match(images[0], images[0])
    assert isinstance(close, Match)
    assert close.is_match
    assert close.probability == pytest.approx(1 / (1 + np.exp(10 * close.distance - 10)))
    both = matcher.match(images[:2], [255 - images[0], images[1]])
    assert [type(found) for found in both] == [Match, Match]
    for found in both:
        assert found.is_match == (found.distance < found.threshold == 1.0)
    assert both[0].distance == pytest.approx(-matcher.predict(images[0], 255 - images[0])[0])
    assert matcher.match([images[0]], images[0]) == [close]


def test_a_distance_at_the_threshold_is_no_match(matcher):
    assert not matcher._decide(1.0, 1.0).is_match
    assert matcher._decide(np.nextafter(1.0, 0.0), 1.0).is_match


def test_another_threshold_for_one_call(matcher, images):
    distance = matcher.match(images[0], images[1]).distance
    assert matcher.match(images[0], images[1], threshold=distance + 0.01).is_match
    found = matcher.match(images[0], images[1], threshold=distance)
    assert (found.is_match, found.threshold) == (False, distance)
    assert matcher.match(images[0], images[1]).threshold == matcher.threshold == 1.0
    with pytest.raises(ValueError, match="not a number"):
        matcher.match(images[0], images[1], threshold=float("nan"))


def test_an_image_that_cannot_be_read_is_named(matcher, images, tmp_path):
    torn = tmp_path / "torn.png"
    Image.fromarray(images[0]).save(torn)
    torn.write_bytes(torn.read_bytes()[:60])
    with pytest.raises(DataError, match=r"torn\.png"):
        matcher.match(images[0], torn)
    with pytest.raises(DataError, match=r"nowhere\.png"):
        matcher.embed([images[0], tmp_path / "nowhere.png"])
    with pytest.raises(DataError, match="image 3 of 3"):
        matcher.embed([images[0], images[1], np.zeros((4, 4, 2))])
    with pytest.raises(DataError, match="0 to 1"):
        matcher.embed(images[0] / 255)
    with pytest.raises(DataError, match="NoneType is not an image"):
        matcher.embed(None)
    with pytest.raises(DataError, match="image 1 of 8: list is not an image"):
        matcher.embed(images[0].tolist())
    with pytest.raises(DataError, match="nan"):
        matcher.embed(np.full((4, 4, 3), np.nan))
    with pytest.raises(DataError, match="shape"):
        matcher.embed(np.zeros((1, 2, 4, 4, 3)))


def test_the_others_go_on_where_the_caller_wants_to_hear_of_unreadable_ones(matcher, images, tmp_path):
    given = [images[number % 4] for number in range(300)]
    given[7], given[299] = tmp_path / "nowhere.png", np.zeros((4, 4, 2))
    told = {}
    found = matcher.embed(given, unreadable=lambda row, error: told.update({row: str(error)}))
    assert list(told) == [7, 299]
    assert "nowhere.png" in told[7]
    assert "image 300 of 300" in told[299]
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [7, 299]
    np.testing.assert_allclose(found[8:12], matcher.embed(given[8:12]), atol=1e-6)
    assert np.isnan(matcher.embed(tmp_path / "nowhere.png", unreadable=lambda *_: None)).all()


def test_embeddings_that_are_not_numbers_are_no_answer(pixel_folder, images, monkeypatch):
    broken = ImageMatcher.load(pixel_folder)
    monkeypatch.setattr(broken._embedder, "embed", lambda pictures: np.full((len(pictures), 12), np.nan, np.float32))
    with pytest.raises(ModelError, match="not numbers"):
        broken.match(images[0], images[1])


def test_as_one_keras_model_it_says_the_same_and_goes_through_a_file(matcher, images, tmp_path):
    first, second = images[:3].astype(np.float32), images[1:].astype(np.float32)
    scores = np.asarray(matcher.keras_model([first, second]))
    np.testing.assert_allclose(scores, matcher.predict(first, second), atol=1e-5)
    small = np.random.default_rng(1).integers(0, 256, (2, 5, 3, 3), np.uint8)
    np.testing.assert_allclose(
        np.asarray(matcher.keras_model([small.astype(np.float32)] * 2)), matcher.predict(small, small), atol=1e-5
    )
    matcher.keras_model.save(tmp_path / "matcher.keras")
    again = keras.saving.load_model(tmp_path / "matcher.keras")
    np.testing.assert_allclose(np.asarray(again([first, second])), scores, atol=1e-6)


def test_features_go_through_the_head_alone(matcher, images):
    features = images.reshape(4, -1).astype(np.float32) / 255
    np.testing.assert_allclose(matcher.embed_features(features), matcher.embed(images), atol=1e-5)
    network = matcher.network.build()
    np.testing.assert_allclose(np.asarray(network(images)), features, atol=1e-5)
