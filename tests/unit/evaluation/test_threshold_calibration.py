"""What is asked of a threshold, and what the calibration pairs can promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagematch.errors import ConfigError, DataError
from imagematch.evaluation import (
    Threshold,
    at_threshold,
    calibrated_threshold,
    choose_threshold,
    guaranteed_threshold,
    pair_distances,
    verification_intervals,
)

FAR_NOTE = "FAR 0.01 takes 3,000 impostor pairs to measure (about 95 images of 3 classes), and calibration has 12"
FRR_NOTE = "FRR 0.1 takes 300 genuine pairs to measure (about 44 images of 3 classes), and calibration has 3"
EER_NOTE = "a threshold takes 30 impostor pairs to measure (about 10 images of 3 classes), and calibration has 12"


def sample(classes: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), images)
    rows = rng.standard_normal((classes, 16))[labels] + 0.8 * rng.standard_normal((len(labels), 16))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


@pytest.mark.parametrize("criterion", ["eer", "balanced_accuracy", {"far": 0.05}, {"frr": 0.1}])
def test_the_rates_are_those_of_the_pairs_with_their_intervals(criterion: Any) -> None:
    rows, labels = sample(20, 6)
    pairs = pair_distances(rows, labels)
    found = calibrated_threshold(rows, labels, criterion)
    assert found.distance == choose_threshold(pairs, criterion).distance
    at = at_threshold(pairs, found.distance)
    intervals = verification_intervals(rows, labels, threshold=found.distance)
    assert found.rates is not None
    assert (found.rates.far, found.rates.frr) == (at.far, at.frr)
    assert found.rates.far_ci95 == (intervals["far"].low, intervals["far"].high)
    assert found.rates.frr_ci95 == (1 - intervals["tar"].high, 1 - intervals["tar"].low)
    assert (found.rates.images, found.rates.classes, found.rates.resolvable, found.rates.note) == (120, 20, True, "")


@pytest.mark.parametrize(
    ("criterion", "note"),
    [
        ({"far": 0.01}, FAR_NOTE),
        ({"frr": 0.1}, FRR_NOTE),
        ({"far": 0.0}, "no number of pairs shows a FAR of 0, and calibration has 12"),
        ("eer", EER_NOTE),
    ],
)
def test_too_few_pairs_say_how_many_images_are_enough(criterion: Any, note: str) -> None:
    found = calibrated_threshold(*sample(3, 2), criterion)
    assert found.rates is not None
    assert (found.rates.resolvable, found.rates.note) == (False, note)


def test_so_many_images_are_enough() -> None:
    pairs = pair_distances(*sample(3, 32))  # 96 for "about 95"
    assert pairs.impostor.count == 3_072
    assert pair_distances(*sample(3, 15)).genuine.count == 315  # 45 for "about 44"


def test_a_guarantee_is_kept_or_said_not_to_be() -> None:
    rows, labels = sample(60, 5)
    found = calibrated_threshold(rows, labels, {"far": 0.05, "confidence": 0.9})
    assert found.distance == guaranteed_threshold(rows, labels, "far", 0.05, confidence=0.9).distance
    assert found.rates is not None
    assert found.rates.resolvable
    rows, labels = sample(4, 3)
    for rate in ("far", "frr"):
        asked = {rate: 0.001, "confidence": 0.95}
        found = calibrated_threshold(rows, labels, asked)
        assert found.rates is not None
        assert (found.rates.resolvable, getattr(found.rates, rate)) == (False, 0)
        name = rate.upper()
        assert found.rates.note.startswith(f"4 classes are too few to keep {name} under 0.001 with confidence 0.95;")
        assert found.criterion == asked


def test_the_curve_holds_what_the_pairs_resolve() -> None:
    rows, labels = sample(20, 6)
    pairs = pair_distances(rows, labels)
    curve = calibrated_threshold(rows, labels, "eer").curve
    assert [round(point.far, 3) for point in curve] == [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    for point in curve:
        at = at_threshold(pairs, point.distance)
        assert (at.far, at.frr) == (point.far, point.frr)


def test_a_rate_chooses_the_loosest_threshold_that_keeps_it() -> None:
    threshold = calibrated_threshold(*sample(20, 6), "eer")
    assert threshold.at_far(0.06) == threshold.curve[3]
    assert threshold.at_far(1) == threshold.curve[-1]
    with pytest.raises(ConfigError, match=r"no threshold has a FAR of 0.001 or less: the least that calibration resol"):
        threshold.at_far(0.001)
    with pytest.raises(ConfigError, match="none is known"):
        Threshold(0.5, "eer").at_far(0.1)


def test_one_class_gives_no_threshold() -> None:
    with pytest.raises(DataError, match="no impostor pair"):
        calibrated_threshold(np.eye(3), np.zeros(3), "eer")
