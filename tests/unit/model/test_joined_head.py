"""Heads joined with half-whitened features: Keras, numpy and the file agree, and the embedding is what it promises."""

import keras
import numpy as np
import pytest

from imagematch.model import (
    HeadShape,
    JoinedShape,
    build_head,
    build_joined_head,
    head_in_numpy,
    read_head,
    read_keras_head,
    write_head,
)

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(1, 3, (50, 12)).astype(np.float32)
PROJECTION = RANDOM.normal(0, 1, (12, 5)).astype(np.float32), RANDOM.normal(0, 1, 5).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def joined(heads: int, projection: bool, reduced: int | None) -> tuple[keras.Model, JoinedShape]:
    units = [(), (7,)][:heads]
    made = [build_head(12, units=u, embedding_dim=4, seed=n, name=f"head_{n}") for n, u in enumerate(units, 1)]
    shape = JoinedShape(12, tuple(HeadShape(12, u, 4) for u in units), 5 if projection else None, reduced)
    shares = [0.8, 0.5, 0.6][-(heads + projection) :]
    reduction = None if reduced is None else RANDOM.normal(0, 1, (shape.joined_dim, reduced)).astype(np.float32)
    head = build_joined_head(
        12, heads=made, projection=PROJECTION if projection else None, shares=shares, reduction=reduction
    )
    return head, shape


@pytest.mark.parametrize("reduced", [None, 3])
@pytest.mark.parametrize(("heads", "projection"), [(0, True), (1, True), (2, True), (2, False)])
def test_every_form_gives_what_was_written(tmp_path, heads, projection, reduced):
    head, shape = joined(heads, projection, reduced)
    expected = np.asarray(head(FEATURES, training=False))
    write_head(tmp_path / "head.safetensors", shape, head)
    found = read_head(tmp_path / "head.safetensors", shape)
    assert (found.feature_dim, found.dim, shape.dim) == (12, expected.shape[1], expected.shape[1])
    np.testing.assert_allclose(found(FEATURES), expected, atol=1e-5)
    np.testing.assert_array_equal(head_in_numpy(shape, head)(FEATURES), found(FEATURES))
    again = read_keras_head(tmp_path / "head.safetensors", shape)
    np.testing.assert_array_equal(np.asarray(again(FEATURES, training=False)), expected)
    archive = tmp_path / "head.keras"
    head.save(archive)
    np.testing.assert_array_equal(np.asarray(keras.models.load_model(archive)(FEATURES, training=False)), expected)


def test_the_embedding_is_the_head_beside_the_projection_of_normalised_features():
    head, shape = joined(1, True, None)
    own = head_in_numpy(shape.heads[0], head.get_layer("head_1"))(FEATURES)
    projected = unit(unit(FEATURES) @ PROJECTION[0] + PROJECTION[1])
    expected = unit(np.concatenate([0.5 * own, 0.6 * projected], axis=1))
    np.testing.assert_allclose(head_in_numpy(shape, head)(FEATURES), expected, atol=1e-5)


def test_a_head_of_another_shape_is_not_written(tmp_path):
    head, shape = joined(1, True, None)
    with pytest.raises(ValueError, match="not those of"):
        write_head(tmp_path / "head.safetensors", JoinedShape(12, shape.heads, 6), head)


def test_feature_dropout_is_for_training_alone_and_leaves_the_weights_as_they_are():
    plain, dropped = (build_head(12, units=(7,), embedding_dim=4, seed=1, feature_dropout=share) for share in (0, 0.5))
    for one, two in zip(plain.get_weights(), dropped.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    still = np.asarray(dropped(FEATURES, training=False))
    np.testing.assert_array_equal(still, np.asarray(plain(FEATURES, training=False)))
    assert not np.array_equal(np.asarray(dropped(FEATURES, training=True)), still)
