import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from imagematch.errors import DataError
from imagematch.evaluation import connected_groups, pair_list_auc_interval
from imagematch.evaluation.jackknife import jackknife_error, logit_interval


def test_genuine_pairs_connect_images_through_others() -> None:
    first, second = np.array([0, 1, 3, 4, 0]), np.array([1, 2, 4, 3, 5])
    same = np.array([True, True, True, True, False])
    groups = connected_groups(first, second, same)
    assert len(set(groups[[0, 1, 2]])) == len(set(groups[[3, 4]])) == 1
    assert sorted(set(groups)) == [0, 1, 2]


def test_the_interval_against_loops() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 9, (2, 300))
    groups[1, :120] = groups[0, :120]
    groups[1, 299] = groups[0, 299]
    same = np.arange(300) < 120
    distances = np.abs(np.round(rng.normal(np.where(same, 0.8, 1.2), 0.3), 1))
    found = pair_list_auc_interval(distances, same, (groups[0], groups[1]))
    left_out, genuine = [], []
    for group in range(9):
        left = (groups[0] != group) & (groups[1] != group)
        left_out.append(roc_auc_score(same[left], -distances[left]))
        genuine.append((~left & same).sum())
    error = jackknife_error(np.array(left_out), np.array(genuine))
    assert error is not None
    expected = logit_interval(roc_auc_score(same, -distances), error, 0.95, 9)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert (found.classes, found.trustworthy) == (9, False)


def test_one_kind_has_no_interval() -> None:
    groups = np.zeros(3, int)
    with pytest.raises(DataError, match="no impostor pair"):
        pair_list_auc_interval(np.ones(3), np.ones(3, bool), (groups, groups))
    with pytest.raises(DataError, match="too few identities"):
        pair_list_auc_interval(np.ones(2), np.array([True, False]), (np.zeros(2, int), np.array([0, 1])))
