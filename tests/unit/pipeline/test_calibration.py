"""The threshold is chosen on calibration images, and on the rest of validation where they are too few."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.pipeline.calibration import calibrate, other_images


def dataset(calibration: int, validation: int, classes: int = 5) -> Any:
    """Rows of validation first, then those of calibration; classes by turns."""
    count = calibration + validation
    rows = {"validation": np.arange(validation), "calibration": np.arange(validation, count)}
    return SimpleNamespace(labels=np.arange(count) % classes, rows=rows.__getitem__)


def embed(rows: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    angles = rng.standard_normal(1_000)[rows]
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("calibration", "validation", "criterion", "chosen_on", "images", "resolvable"),
    [
        (40, 60, "balanced_accuracy", "calibration", 40, True),
        (40, 60, {"far": 0.01}, "calibration and validation", 100, True),
        (40, 20, {"far": 0.01}, "calibration and validation", 60, False),
        (0, 60, {"far": 0.1}, "validation", 60, True),
        (4, 60, "eer", "calibration and validation", 64, True),
        (1, 60, "eer", "calibration and validation", 61, True),
    ],
)
def test_validation_is_added_where_calibration_is_too_small(
    calibration: int, validation: int, criterion: Any, chosen_on: str, images: int, resolvable: bool
) -> None:
    threshold = calibrate(embed, dataset(calibration, validation), criterion).threshold
    assert threshold.rates is not None
    assert (threshold.chosen_on, threshold.rates.images) == (chosen_on, images)
    assert threshold.rates.resolvable is resolvable
    assert bool(threshold.rates.note) is not resolvable


def test_without_an_impostor_there_is_no_threshold() -> None:
    with pytest.raises(DataError, match="no impostor pair"):
        calibrate(embed, dataset(4, 6, classes=1), "eer")


def test_other_images_are_those_outside_of_the_split_or_a_sample_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    images = dataset(40, 60)
    images.paths = np.array([f"{row}.png" for row in range(100)])
    images.titles, images.class_names = ["T"] * 5, ["a", "b", "c", "d", "e"]
    outside = other_images(images, "calibration", embed)
    assert outside is not None
    assert outside.paths.tolist() == images.paths[:60].tolist()  # type: ignore[union-attr]
    assert (outside.class_name(3), outside.label_name(3)) == ("T", "d")
    np.testing.assert_array_equal(outside.embeddings, embed(np.arange(60)))
    monkeypatch.setattr("imagematch.pipeline.calibration._MOST_OTHERS", 10)
    sample = other_images(images, "calibration", embed)
    assert sample is not None
    rows = [int(path.removesuffix(".png")) for path in sample.paths]
    assert (len(rows), rows == sorted(rows), max(rows) < 60) == (10, True, True)
    images.paths = images.paths[:0]
    assert other_images(images, "calibration", embed) is None
