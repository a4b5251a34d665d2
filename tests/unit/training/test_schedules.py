"""Schedules by hand-computed values: learning rates by epochs, the BiT-HyperRule by steps; MixUp's shares."""

from __future__ import annotations

import numpy as np
import pytest

from imagematch.config import PAIR_LOSSES, PROXY_LOSSES, TrainSettings, parse_train
from imagematch.training import settings_in_force
from imagematch.training.schedules import (
    hyperrule_multiplier,
    learning_rate_at,
    learning_rates,
    mixup_alpha,
    mixup_shares,
)


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


def test_an_epochs_rates_are_those_of_its_steps() -> None:
    cosine = settings(lr_schedule="cosine")
    expected = [learning_rate_at(cosine, epoch) for epoch in (2, 2.25, 2.5, 2.75)]
    np.testing.assert_allclose(learning_rates(cosine, 2, 4, 100), expected, rtol=1e-6)


def ruled(**values: object) -> TrainSettings:
    return parse_train({"experiment_name": "x", "lr_schedule": "bit_hyperrule", **values})


@pytest.mark.parametrize(
    ("images", "shares"),
    [
        (19_999, {0: 0, 50: 0.5, 100: 1, 200: 1, 201: 0.1, 300: 0.1, 301: 0.01, 401: 0.001, 499: 0.001}),
        (20_000, {0: 0, 250: 0.5, 500: 1, 3_000: 1, 3_001: 0.1, 6_001: 0.01, 9_001: 0.001, 9_999: 0.001}),
        (500_000, {250: 0.5, 500: 1, 6_000: 1, 6_001: 0.1, 12_001: 0.01, 18_001: 0.001, 19_999: 0.001}),
    ],
)
def test_the_rate_warms_up_and_falls_by_tens(images: int, shares: dict[int, float]) -> None:
    assert {step: hyperrule_multiplier(step, images) for step in shares} == pytest.approx(shares)


def test_mixup_starts_at_20_000_images() -> None:
    assert [mixup_alpha(images) for images in (100, 19_999, 20_000, 10**6)] == [0, 0, 0.1, 0.1]


@pytest.mark.parametrize(("images", "steps"), [(1_200, 500), (25_600, 10_000), (512_000, 20_000)])
def test_the_length_is_the_rules_rounded_up_to_whole_epochs(images: int, steps: int) -> None:
    labels = np.arange(images) % 100
    made = settings_in_force(ruled(batch_size=256), labels)
    per_epoch = images // 256
    assert (made.epochs - 1) * per_epoch < steps <= made.epochs * per_epoch
    assert made.early_stopping_patience == made.epochs


def test_other_schedules_keep_their_length() -> None:
    settings = parse_train({"experiment_name": "x", "lr_schedule": "cosine"})
    assert settings_in_force(settings, np.arange(8) % 2) is settings


def test_the_rates_of_an_epoch_go_by_steps_since_the_start() -> None:
    rates = learning_rates(ruled(learning_rate=0.003), epoch=4, steps=50, images=1_000)
    np.testing.assert_allclose(rates, [0.003] + [0.0003] * 49)
    rates = learning_rates(ruled(learning_rate=0.003), epoch=0, steps=4, images=1_000)
    np.testing.assert_allclose(rates, np.arange(4) * 0.003 / 100, rtol=1e-6)


def shares(loss: str, images: int, schedule: str = "bit_hyperrule", epoch: int = 0) -> np.ndarray | None:
    settings = parse_train({"experiment_name": "x", "loss": loss, "lr_schedule": schedule})
    return mixup_shares(settings, epoch, 1_000, images)


@pytest.mark.parametrize("loss", PROXY_LOSSES)
def test_large_sets_are_mixed_with_proxies(loss: str) -> None:
    drawn = shares(loss, 20_000)
    assert drawn is not None
    assert drawn.shape == (1_000,)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    # Beta(0.1, 0.1): mean 1/2, variance 1 / (4 * 1.2)
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.var() == pytest.approx(1 / 4.8, abs=0.01)


def test_every_epoch_draws_anew_and_the_same_again() -> None:
    np.testing.assert_array_equal(shares("arcface", 20_000, epoch=1), shares("arcface", 20_000, epoch=1))
    assert not np.array_equal(shares("arcface", 20_000, epoch=1), shares("arcface", 20_000, epoch=2))


def test_nothing_else_is_mixed() -> None:
    assert shares("arcface", 19_999) is None
    assert shares("arcface", 10**6, "cosine") is None
    assert all(shares(loss, 10**6) is None for loss in PAIR_LOSSES)
