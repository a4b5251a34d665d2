"""Adam against Keras's; weight decay where it belongs; gradients clipped together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import TrainSettings, parse_train
from imagematch.losses import make_loss
from imagematch.training import make_optimizer


def settings(**values: object) -> TrainSettings:
    return parse_train({"experiment_name": "x", "learning_rate": 0.1, "epochs": 100, **values})


@pytest.mark.parametrize(("name", "peer"), [("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW)])
def test_the_fused_update_is_that_of_keras(name: str, peer: type[keras.optimizers.Optimizer]) -> None:
    random = np.random.default_rng(0)
    ours = [keras.Variable(np.ones((3, 2))), tf.Variable(np.ones(4, np.float32))]
    theirs = [keras.Variable(np.ones((3, 2))), keras.Variable(np.ones(4))]
    one, other = make_optimizer(settings(optimizer=name, weight_decay=0.01)), peer(0.1, weight_decay=0.01)
    one.build(ours)
    other.build(theirs)

    @tf.function
    def apply(gradients: list[tf.Tensor]) -> None:
        one.apply(gradients, ours)

    for step in range(5):
        gradients = [tf.constant(random.normal(0, 10.0**-step, variable.shape), tf.float32) for variable in ours]
        apply(gradients)
        other.apply(gradients, theirs)
    state = zip([*ours, *one.variables], [*theirs, *other.variables], strict=True)
    for own, expected in state:
        np.testing.assert_allclose(np.asarray(own), np.asarray(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_shrinks_kernels_and_spares_biases_norms_and_proxies(name: str) -> None:
    decayed = settings(optimizer=name, weight_decay=0.5, loss="arcface")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    variables = [*model.trainable_variables, *make_loss(decayed, n_classes=4, embedding_dim=2).trainable_variables]
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    optimizer = make_optimizer(decayed)
    optimizer.build(variables)
    optimizer.apply([tf.zeros_like(variable) for variable in variables], variables)
    now = {variable.name.partition(":")[0]: float(np.mean(variable)) for variable in variables}
    assert now == pytest.approx({"kernel": 0.95, "bias": 1, "gamma": 1, "beta": 1, "proxies": 1})


def test_no_weight_decay_and_no_clipping_by_default() -> None:
    assert make_optimizer(settings()).weight_decay is None
    assert make_optimizer(settings()).global_clipnorm is None


@pytest.mark.parametrize("size", [0.5, 50.0])
def test_clipping_scales_all_gradients_down_to_their_global_norm(size: float) -> None:
    variables = [keras.Variable([0.0, 0.0]), tf.Variable([0.0])]
    gradients = [np.array([2.0, 3.0]) * size, np.array([6.0]) * size]  # norm 7 x size
    optimizer = make_optimizer(settings(optimizer="sgd", gradient_clipping=5.0))
    optimizer.build(variables)
    optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
    share = min(1.0, 5.0 / (7 * size))
    for variable, gradient in zip(variables, gradients, strict=True):
        np.testing.assert_allclose(np.asarray(variable), -0.1 * share * gradient, rtol=1e-5)
