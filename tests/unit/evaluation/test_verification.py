from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from imagematch.errors import DataError
from imagematch.evaluation import (
    PairDistances,
    average_precision,
    eer,
    listed_pairs,
    pair_distances,
    roc_auc,
    tar_at_far,
)
from imagematch.evaluation.distance_multiset import DistanceMultiset
from imagematch.evaluation.verification import allowed_errors

distances = st.lists(st.integers(0, 12), min_size=1, max_size=25)


def listed(genuine: list[int], impostor: list[int]) -> tuple[PairDistances, np.ndarray, np.ndarray]:
    values = np.array(genuine + impostor) / 10
    same = np.arange(len(values)) < len(genuine)
    return listed_pairs(values, same), values.astype(np.float32), same


def naive_eer(values: np.ndarray, same: np.ndarray) -> float:
    """Walks along the ROC's points and intersects each straight line with FAR = FRR."""
    points = [((values[~same] <= v).mean(), (values[same] > v).mean()) for v in [-1, *np.unique(values)]]
    for (far0, frr0), (far1, frr1) in pairwise(points):
        if frr1 <= far1:
            share = (frr0 - far0) / ((frr0 - far0) + (far1 - frr1))
            return far0 + share * (far1 - far0)
    raise AssertionError


@settings(deadline=None, max_examples=150)
@given(distances, distances)
def test_areas_and_rates_with_ties(genuine: list[int], impostor: list[int]) -> None:
    pairs, values, same = listed(genuine, impostor)
    assert roc_auc(pairs) == pytest.approx(roc_auc_score(same, -values), abs=1e-15)
    assert average_precision(pairs) == pytest.approx(average_precision_score(same, -values), abs=1e-12)
    assert eer(pairs) == pytest.approx(naive_eer(values, same), abs=1e-12)


@settings(deadline=None, max_examples=150)
@given(distances, distances, st.floats(0, 1))
def test_tar_at_far_never_exceeds_the_far(genuine: list[int], impostor: list[int], far: float) -> None:
    pairs, values, same = listed(genuine, impostor)
    found = tar_at_far(pairs, [far])[0]
    best = max(
        ((values[same] < t).mean() for t in [*np.unique(values), 9] if (values[~same] < t).mean() <= far), default=0.0
    )
    accepted = values < found.distance
    assert accepted[~same].mean() == pytest.approx(found.attained_far)
    assert found.attained_far <= far
    assert accepted[same].mean() == pytest.approx(best)
    assert found.below_resolution == (len(impostor) * far < 30)
    assert found.tar == (None if found.below_resolution else pytest.approx(best))


def test_random_embeddings_against_scikit_learn(random_sample) -> None:
    rows, labels = random_sample(n=700)
    pairs = pair_distances(rows, labels)
    scores = -np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])
    same = np.arange(len(scores)) < pairs.genuine.count
    assert roc_auc(pairs) == pytest.approx(roc_auc_score(same, scores), abs=1e-14)
    assert average_precision(pairs) == pytest.approx(average_precision_score(same, scores), abs=1e-12)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    for found in tar_at_far(pairs, [0.1, 0.01, 0.001]):
        assert found.tar == tar[np.searchsorted(far, found.far, side="right") - 1]


def test_more_genuine_than_impostor_pairs(random_sample) -> None:
    rows, labels = random_sample(classes=2)
    labels[:] = np.arange(len(labels)) < 9
    pairs = pair_distances(rows, labels)
    assert pairs.genuine.count > pairs.impostor.count
    scores = -np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])
    assert roc_auc(pairs) == pytest.approx(roc_auc_score(np.arange(len(scores)) < pairs.genuine.count, scores))


def test_a_collapsed_model_scores_a_half() -> None:
    row = np.random.default_rng(0).standard_normal(700)
    rows = np.repeat((row / np.linalg.norm(row))[None], 60, axis=0).astype(np.float32)
    pairs = pair_distances(rows, np.arange(60) % 5)
    assert roc_auc(pairs) == 0.5
    assert eer(pairs) == 0.5


def test_rule_of_30_at_its_limit() -> None:
    genuine, impostor = np.zeros(10), np.linspace(0.5, 1, 30_000)
    pairs = listed_pairs(np.concatenate([genuine, impostor]), np.arange(30_010) < 10)
    found = {one.far: one for one in tar_at_far(pairs)}
    assert [far for far, one in found.items() if one.below_resolution] == [1e-4, 1e-5, 1e-6]
    assert found[1e-3].tar == 1
    assert found[1e-4].tar is None


def test_more_couples_than_64_bits_count() -> None:
    """200,000 images of ten classes have 2 x 10^9 genuine and 1.8 x 10^10 impostor pairs."""
    near, far = np.array([0.5, 1.0], np.float32), np.array([0.5, 1.5], np.float32)
    counts = np.array([10**9, 10**9]), np.array([9 * 10**9, 9 * 10**9])
    pairs = PairDistances(DistanceMultiset(near, counts[0]), DistanceMultiset(far, counts[1]))
    assert roc_auc(pairs) == pytest.approx((0.5 * 0.5 / 2 + 0.5 * 0.5) + 0.5 * 0.5)
    mirrored = PairDistances(DistanceMultiset(far, counts[1]), DistanceMultiset(near, counts[0]))
    assert roc_auc(mirrored) == pytest.approx(1 - roc_auc(pairs))


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_allowed_errors(rate: float, count: int) -> None:
    errors = allowed_errors(rate, count)
    assert errors / count <= rate
    assert errors == count or (errors + 1) / count > rate


def test_missing_kinds_and_rates() -> None:
    one_class = listed_pairs(np.array([0.1]), np.array([True]))
    for metric in (roc_auc, eer, average_precision, tar_at_far):
        with pytest.raises(DataError, match="no impostor pair"):
            metric(one_class)
    pairs = listed_pairs(np.array([0.1, 0.2]), np.array([True, False]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        tar_at_far(pairs, [1.5])
