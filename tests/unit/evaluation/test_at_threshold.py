import numpy as np
import pytest
from sklearn import metrics

from imagematch.evaluation import at_threshold, class_rates, listed_pairs, pair_distances


def test_counts_and_scores_against_scikit_learn(random_sample) -> None:
    pairs = pair_distances(*random_sample())
    at = at_threshold(pairs, 0.9)
    values = np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])
    same, match = np.arange(len(values)) < pairs.genuine.count, values < np.float32(0.9)
    assert [[at.tn, at.fp], [at.fn, at.tp]] == metrics.confusion_matrix(same, match).tolist()
    assert at.accuracy == pytest.approx(metrics.accuracy_score(same, match))
    assert at.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(same, match))
    assert at.precision == pytest.approx(metrics.precision_score(same, match))
    assert at.recall == pytest.approx(metrics.recall_score(same, match))
    assert at.f1 == pytest.approx(metrics.f1_score(same, match))
    assert at.confusion == {"tp": at.tp, "fp": at.fp, "tn": at.tn, "fn": at.fn}


def test_a_distance_at_the_threshold_is_no_match() -> None:
    pairs = listed_pairs(np.array([0.3, 0.3, 0.2, 0.3]), np.array([True, False, True, False]))
    assert at_threshold(pairs, 0.3).confusion == {"tp": 1, "fp": 0, "tn": 2, "fn": 1}


def test_undefined_metrics_are_none() -> None:
    nothing = at_threshold(listed_pairs(np.array([0.5, 0.6]), np.array([True, False])), 0.1)
    assert nothing.precision is None
    assert nothing.f1 == 0
    genuine_only = at_threshold(listed_pairs(np.array([0.5]), np.array([True])), 1)
    assert (genuine_only.far, genuine_only.balanced_accuracy, genuine_only.recall) == (None, None, 1)


def test_class_rates_against_loops(random_sample, tied_sample, small_blocks) -> None:
    for (rows, labels), distance in ((random_sample(), 0.8), (tied_sample(), 1.0)):
        labels[0] = 99
        found = class_rates(rows, labels, distance)
        assert found.names.tolist() == sorted(set(labels.tolist()))
        for place, name in enumerate(found.names):
            counts = np.zeros((2, 2), dtype=int)
            for i in range(len(rows)):
                for j in range(len(rows)):
                    if i == j or labels[i] != name or (labels[j] == name and j < i):
                        continue
                    apart = np.sqrt(2 * max(np.float32(0), np.float32(1) - rows[i] @ rows[j]))
                    counts[int(labels[j] == name), int(apart < np.float32(distance))] += 1
            assert found.images[place] == (labels == name).sum()
            assert found.genuine_pairs[place] == counts[1].sum()
            assert found.impostor_pairs[place] == counts[0].sum()
            assert found.far[place] == pytest.approx(counts[0, 1] / counts[0].sum())
            if counts[1].sum():
                assert found.tar[place] == pytest.approx(counts[1, 1] / counts[1].sum())
            else:
                assert np.isnan(found.tar[place])
