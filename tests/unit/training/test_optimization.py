"""Learning-rate schedules by hand-computed values; weight decay where it belongs."""

import keras
import pytest

from imagematch.config import TrainSettings, parse_train
from imagematch.training.optimization import learning_rate_at, make_optimizer


def settings(**values: object) -> TrainSettings:
    return parse_train({"experiment_name": "x", "learning_rate": 0.1, "epochs": 100, **values})


def test_constant() -> None:
    assert [learning_rate_at(settings(), epoch) for epoch in (0, 50, 99)] == [0.1, 0.1, 0.1]


def test_cosine_warms_up_then_falls_to_zero() -> None:
    cosine = settings(lr_schedule="cosine")
    assert learning_rate_at(cosine, 0) == 0
    assert learning_rate_at(cosine, 2.5) == pytest.approx(0.05)
    assert learning_rate_at(cosine, 5) == pytest.approx(0.1)
    assert learning_rate_at(cosine, 52.5) == pytest.approx(0.05)
    assert learning_rate_at(cosine, 100) == pytest.approx(0)


def test_ramp_sustain_decay() -> None:
    ramp = settings(lr_schedule="ramp_sustain_decay")
    assert learning_rate_at(ramp, 0) == pytest.approx(0.001)
    assert learning_rate_at(ramp, 5) == pytest.approx(0.1)
    assert learning_rate_at(ramp, 7) == pytest.approx(0.001 + 0.099 * 0.64)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    optimizer = make_optimizer(settings(optimizer=name, weight_decay=0.01))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    spared = {v.name for v in model.trainable_variables if not optimizer._use_weight_decay(v)}
    assert spared == {"bias", "gamma", "beta"}


def test_no_weight_decay_by_default() -> None:
    assert make_optimizer(settings()).weight_decay is None
