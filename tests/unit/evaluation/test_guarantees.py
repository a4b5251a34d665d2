import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import at_threshold, choose_threshold, guaranteed_threshold, pair_distances
from imagematch.evaluation.jackknife import jackknife_error, logit_upper_bound


def bound_at(rows: np.ndarray, labels: np.ndarray, rate: str, distance: float) -> float:
    """The upper bound on an error rate at a threshold, from each class left out in a loop."""
    rates, sizes = [], np.unique(labels, return_counts=True)[1]
    for name in np.unique(labels):
        left = labels != name
        rates.append(getattr(at_threshold(pair_distances(rows[left], labels[left]), distance), rate))
    error = jackknife_error(np.array(rates), sizes if rate == "far" else sizes * (sizes - 1))
    assert error is not None
    whole = getattr(at_threshold(pair_distances(rows, labels), distance), rate)
    return logit_upper_bound(whole, error, 0.95, 1)


@pytest.mark.parametrize(("rate", "target"), [("far", 0.05), ("frr", 0.3)])
def test_the_bound_meets_the_target(random_sample, small_blocks, rate: str, target: float) -> None:
    rows, labels = random_sample(n=500, classes=50)
    pairs = pair_distances(rows, labels)
    found = guaranteed_threshold(rows, labels, rate, target, pairs=pairs)
    assert found == guaranteed_threshold(rows, labels, rate, target)
    assert found.criterion == {rate: target, "confidence": 0.95}
    assert 0.9 * target < bound_at(rows, labels, rate, found.distance) <= target * (1 + 1e-9)
    plain = choose_threshold(pairs, {rate: target}).distance
    assert found.distance < plain if rate == "far" else found.distance > plain


def test_more_confidence_is_stricter(random_sample) -> None:
    rows, labels = random_sample(n=500, classes=50)
    found = [guaranteed_threshold(rows, labels, "far", 0.05, confidence=c).distance for c in (0.6, 0.9, 0.99)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3


def test_what_the_classes_cannot_show_is_refused(random_sample) -> None:
    rows, labels = random_sample(n=60, classes=6)
    with pytest.raises(DataError, match=r"6 classes are too few to keep FAR under 0\.001 with confidence 0\.95"):
        guaranteed_threshold(rows, labels, "far", 0.001)
    with pytest.raises(DataError, match="too few to keep FRR"):
        guaranteed_threshold(rows[labels < 2], labels[labels < 2], "frr", 0.5)
    with pytest.raises(DataError, match="no genuine pair"):
        guaranteed_threshold(np.eye(4), np.arange(4), "far", 0.1)


@pytest.mark.parametrize(("rate", "target", "confidence"), [("tar", 0.1, 0.9), ("far", 0, 0.9), ("far", 0.1, 1)])
def test_values_out_of_range(random_sample, rate: str, target: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="no guarantee"):
        guaranteed_threshold(*random_sample(), rate, target, confidence=confidence)
