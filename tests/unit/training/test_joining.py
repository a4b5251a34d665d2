"""Joining: the weight that validation asks for, the ends of its range, the reduction, and a model without training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.config import TrainSettings, parse_train
from imagematch.errors import ConfigError
from imagematch.evaluation import epoch_metrics
from imagematch.model import HeadShape, JoinedShape, head_in_numpy
from imagematch.training import Training, TrainingData, joining, load_training_data, train_model


def settings_of(folder: Path, **values: Any) -> TrainSettings:
    base = {
        "experiment_name": "x",
        "dataset": "digits",
        "feature_extractor": "pixels",
        "image_size": 8,
        "split_by": "class",
        "split": [0.4, 0.3, 0.3],
        "feature_dir": str(folder / "features"),
        "embedding_dim": 8,
        "epochs": 1,
    }
    return parse_train({**base, **values})


@pytest.fixture(scope="module", name="data")
def data_fixture(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Digits, class-disjoint."""
    folder = tmp_path_factory.mktemp("joining")
    return load_training_data(settings_of(folder), manifest_dir=folder)


@pytest.fixture(name="train")
def train_fixture(data: TrainingData, tmp_path: Path) -> Any:
    """Trains with a join."""
    return lambda **values: train_model(data, settings_of(tmp_path, **values))


def measured(training: Training) -> float:
    """MAP@R on validation."""
    rows = training.data.dataset.rows("validation")
    return epoch_metrics(training.embed(rows), training.data.dataset.labels[rows])["map_at_r"]


def half_whitened(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    embed = data.whitened_baseline()
    assert embed is not None
    return embed(rows)


def test_weight_0_is_half_whitened_features_alone_and_so_is_a_training_without_epochs(train: Any) -> None:
    joined, untrained = train(join={"weight": 0}), train(epochs=0)
    rows = joined.data.dataset.rows("test")
    expected = half_whitened(joined.data, rows)
    for training in (joined, untrained):
        assert training.shape == JoinedShape(192, (), expected.shape[1])
        np.testing.assert_allclose(training.embed(rows), expected, atol=1e-4)
        assert training.metrics["val_map_at_r"] == pytest.approx(measured(training), abs=1e-6)
    assert [record["epoch"] for record in untrained.result.history] == [0]
    assert untrained.result.best_value == untrained.metrics["val_map_at_r"]
    assert untrained.parameters == untrained.head.count_params()


def test_a_weight_puts_the_head_beside_half_whitened_features(train: Any) -> None:
    training, plain = train(join={"weight": 2, "dim": 20}), train()
    rows = training.data.dataset.rows("test")
    assert training.shape == JoinedShape(192, (HeadShape(192, (), 8),), 20)
    kernel, bias = training.data.half_whitening(0.5, 20)
    unit = training.data.baseline(rows) @ kernel + bias
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = np.concatenate([2 * plain.embed(rows), unit], axis=1) / np.sqrt(5)
    np.testing.assert_allclose(training.embed(rows), expected, atol=1e-4)
    assert training.metrics["val_map_at_r"] == pytest.approx(measured(training), abs=1e-6)
    assert training.join.alone["val_map_at_r"] == pytest.approx(plain.metrics["val_map_at_r"], abs=1e-3)


def test_the_weight_is_the_best_of_all_on_validation(train: Any) -> None:
    values = {weight: train(join={"weight": weight}).metrics["val_map_at_r"] for weight in (0.0, 1.0, 5.0)}
    chosen = train(join="whitened")
    assert chosen.metrics["val_map_at_r"] >= max(*values.values(), chosen.join.alone["val_map_at_r"]) - 1e-6
    assert chosen.join.weight in joining._WEIGHTS


def test_where_joining_does_not_help_the_head_stays_alone(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "epoch_metrics", lambda embeddings, *_: {"map_at_r": float(embeddings.shape[1] == 8)})
    training = train(join="whitened")
    assert training.shape == HeadShape(192, (), 8)
    assert training.join.weight == joining.HEAD_ALONE
    rows = training.data.dataset.rows("test")
    np.testing.assert_array_equal(training.embed(rows), train().embed(rows))


def test_it_is_reduced_to_the_directions_in_which_training_embeddings_are_longest(train: Any) -> None:
    whole, reduced = (train(join={"weight": 1, "reduce": reduce}) for reduce in (False, True))
    assert reduced.shape == JoinedShape(192, whole.shape.heads, whole.shape.components, 8)
    dataset = whole.data.dataset
    embeddings = whole.embed(dataset.rows("train")).astype(np.float64)
    axes = np.linalg.svd(embeddings, full_matrices=False)[2][:8].T
    rows = dataset.rows("test")
    expected = whole.embed(rows) @ axes
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    given = reduced.embed(rows)
    np.testing.assert_allclose(given @ given.T, expected @ expected.T, atol=1e-3)  # the signs of axes are free


def test_a_head_in_keras_gives_what_the_matcher_does(train: Any) -> None:
    training = train(join={"weight": 1, "reduce": True})
    features = training.data.features.array[:50]
    given = np.asarray(training.head(features, training=False))
    np.testing.assert_allclose(given, head_in_numpy(training.shape, training.head)(features), atol=1e-5)


def test_more_components_than_there_are_is_one_line(train: Any) -> None:
    with pytest.raises(ConfigError, match="join: 65 is more than the features have"):
        train(join={"dim": 65})


def test_parallel_heads_stand_side_by_side_and_are_as_long_as_one(train: Any) -> None:
    training = train(join={"weight": 1}, parallel_heads=[[16], []])
    assert isinstance(training.shape, JoinedShape)
    assert [head.units for head in training.shape.heads] == [(), (16,), ()]
    assert (training.shape.dim, training.shape.components is not None) == (8, True)
    first, _, third = (training.head.get_layer(f"head_{n}").get_weights()[0] for n in (1, 2, 3))
    assert not np.array_equal(first, third), "each head has a seed of its own"
    rows = training.data.dataset.rows("test")
    embeddings = training.embed(rows)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    features = np.asarray(training.data.features.array[rows], np.float32)
    np.testing.assert_allclose(np.asarray(training.head(features)), embeddings, atol=1e-5)


def test_parallel_heads_without_a_join_are_not_worse_on_validation_than_the_best_of_them(train: Any) -> None:
    training = train(parallel_heads=[[16]], epochs=2)
    assert training.shape.dim == 8
    if isinstance(training.shape, JoinedShape):
        assert training.shape.components is None
    for units in ([], [16]):
        assert measured(training) >= measured(train(intermediate_ff_block_units=units, epochs=2)) - 0.02


def test_a_head_that_is_better_alone_is_the_result(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reduced heads are worse than one of them on validation."""
    scores = iter([0.1, 0.1, 0.5, 0.6])  # side by side, reduced, the first, the second
    monkeypatch.setattr(joining, "epoch_metrics", lambda *_: {"map_at_r": next(scores), "roc_auc": 0.5})
    training = train(parallel_heads=[[16]])
    assert training.shape == HeadShape(192, (16,), 8)
    assert training.metrics["val_map_at_r"] == 0.6


def test_parallel_heads_have_no_meaning_where_nothing_is_trained_or_in_stages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="parallel_heads are trained, and epochs: 0 trains nothing"):
        settings_of(tmp_path, parallel_heads=[[16]], epochs=0)
    stages = [{"epochs": 1}, {"epochs": 2}]
    with pytest.raises(ConfigError, match="parallel_heads do not go with stages"):
        settings_of(tmp_path, parallel_heads=[[16]], stages=stages)
