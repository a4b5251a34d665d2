import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from imagematch.errors import DataError
from imagematch.evaluation import groups_of, listed_auc_interval
from imagematch.evaluation.bootstrap import class_weights


def test_genuine_pairs_join_images_through_others() -> None:
    first, second = np.array([0, 1, 3, 4, 0]), np.array([1, 2, 4, 3, 5])
    same = np.array([True, True, True, True, False])
    groups = groups_of(first, second, same)
    assert len(set(groups[[0, 1, 2]])) == len(set(groups[[3, 4]])) == 1
    assert sorted(set(groups)) == [0, 1, 2]


def test_the_interval_against_explicit_copies() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 9, (2, 300))
    groups[1, :120] = groups[0, :120]
    groups[1, 299] = groups[0, 299]
    same = np.arange(300) < 120
    distances = np.round(rng.normal(np.where(same, 0.8, 1.2), 0.3), 1)
    found = listed_auc_interval(distances, same, (groups[0], groups[1]), resamples=30, seed=2)
    sample = []
    for weights in class_weights(9, 30, 2):
        one, other = weights[groups]
        copies = np.where(groups[0] == groups[1], one, one * other)
        sample.append(roc_auc_score(np.repeat(same, copies), -np.repeat(distances, copies)))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(sample, [2.5, 97.5])), abs=1e-12)
    assert (found.classes, found.resamples, found.trustworthy) == (9, 30, False)


def test_one_kind_has_no_interval() -> None:
    groups = np.zeros(3, int)
    with pytest.raises(DataError, match="no resample"):
        listed_auc_interval(np.ones(3), np.ones(3, bool), (groups, groups))
