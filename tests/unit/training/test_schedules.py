"""The BiT-HyperRule: lengths, rates and MixUp at hand-computed places."""

from __future__ import annotations

import numpy as np
import pytest
from imagematch.training.bit_hyperrule import mixup_alpha, rate_share

from imagematch.config import TrainSettings, parse_train
from imagematch.training import settings_in_force
from imagematch.training.optimizers import learning_rates


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
    assert {step: rate_share(step, images) for step in shares} == pytest.approx(shares)


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
