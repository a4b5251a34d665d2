import numpy as np
import pytest
from sklearn import metrics

from imagematch.evaluation import det_curve, distance_histogram, pair_distances, roc_auc, roc_curve


def flat(pairs) -> tuple[np.ndarray, np.ndarray]:
    scores = -np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])
    return np.arange(len(scores)) < pairs.genuine.count, scores


def test_few_distances_give_every_point(tied_sample) -> None:
    pairs = pair_distances(*tied_sample())
    far, tar, _ = metrics.roc_curve(*flat(pairs), drop_intermediate=False)
    curve = roc_curve(pairs)
    np.testing.assert_allclose(curve.far, far)
    np.testing.assert_allclose(curve.tar, tar)
    assert curve.distance[0] == 0


def test_thinned_curve_keeps_exact_points_and_shape(random_sample) -> None:
    rows, labels = random_sample(n=500)
    pairs = pair_distances(rows, labels)
    curve = roc_curve(pairs, 300)
    assert len(curve.far) <= 302
    assert (curve.far[0], curve.tar[0], curve.far[-1], curve.tar[-1]) == (0, 0, 1, 1)
    for far, tar, distance in zip(curve.far, curve.tar, curve.distance, strict=True):
        assert far == (pairs.impostor.elements() < np.float32(distance)).mean()
        assert tar == (pairs.genuine.elements() < np.float32(distance)).mean()
    assert np.diff(curve.far).max() <= 3.2 / 300
    assert np.diff(curve.tar).max() <= 3.2 / 300
    assert (np.diff(curve.distance) > 0).all()
    assert np.trapezoid(curve.tar, curve.far) == pytest.approx(roc_auc(pairs), abs=1e-4)
    assert (curve.far[curve.far > 0][0]) == pytest.approx(1 / pairs.impostor.count, rel=2)


def test_det_curve_against_scikit_learn(random_sample) -> None:
    pairs = pair_distances(*random_sample(n=40))
    far, frr, _ = metrics.det_curve(*flat(pairs))
    curve = det_curve(pairs, 5000)
    known = {(round(a, 9), round(b, 9)) for a, b in zip(curve.far, curve.frr, strict=True)}
    assert {(round(a, 9), round(b, 9)) for a, b in zip(far, frr, strict=True)} <= known
    assert (np.diff(curve.frr) <= 0).all()


def test_histogram_counts_every_pair(random_sample, tied_sample) -> None:
    for sample in (random_sample(), tied_sample()):
        pairs = pair_distances(*sample)
        found = distance_histogram(pairs, 17)
        edges = found.edges.astype(np.float32)
        np.testing.assert_array_equal(found.genuine, np.histogram(pairs.genuine.elements(), edges)[0])
        np.testing.assert_array_equal(found.impostor, np.histogram(pairs.impostor.elements(), edges)[0])
        assert found.impostor.sum() == pairs.impostor.count
    with pytest.raises(ValueError, match="1 bin or more"):
        distance_histogram(pairs, 0)
    with pytest.raises(ValueError, match="6 points"):
        roc_curve(pairs, 3)


def test_one_kind_alone_has_a_histogram() -> None:
    found = distance_histogram(pair_distances(np.eye(3), np.zeros(3)))
    assert found.genuine.sum() == 3
    assert not found.impostor.any()
