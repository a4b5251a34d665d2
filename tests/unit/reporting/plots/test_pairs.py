from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.unit.reporting.samples import make_view

from imagematch.errors import DataError
from imagematch.evaluation import at_threshold, fit_probability, listed_pairs, pair_distances
from imagematch.reporting import det_plot, histogram_plot, reliability_plot, roc_plot


def test_the_roc_names_its_auc_and_marks_the_threshold(view, pairs):
    same = (view.labels[:, None] == view.labels[None])[np.triu_indices(len(view), 1)]
    distances = np.linalg.norm(view.embeddings[:, None] - view.embeddings[None], axis=2)[np.triu_indices(len(view), 1)]
    expected = roc_auc_score(same, -distances)

    figure = roc_plot({"mine": pairs, "baseline": pairs}, threshold=1.0)

    assert figure.data[0].name == f"mine (AUC {expected:.4f})"
    assert figure.data[1].line.dash == "dash"
    mark = figure.data[-1]
    at = at_threshold(pairs, 1.0)
    assert (mark.x[0], mark.y[0]) == (at.far, at.tar)
    assert all(rate > 0 for rate in figure.data[0].x), "a logarithmic axis has no zero"


def test_the_det_is_the_probit_of_both_errors(pairs):
    figure = det_plot({"mine": pairs}, threshold=1.0)
    line = figure.data[0]
    far, frr = line.customdata[len(line.x) // 2][:2]
    assert line.x[len(line.x) // 2] == pytest.approx(NormalDist().inv_cdf(far))
    assert line.y[len(line.x) // 2] == pytest.approx(NormalDist().inv_cdf(frr))


def test_few_genuine_pairs_make_the_histogram_a_density():
    view = make_view(images=60, classes=30)
    pairs = pair_distances(view.embeddings, view.labels)
    figure = histogram_plot(pairs, 0.9)
    for bars in figure.data:
        assert float(np.sum(np.asarray(bars.y) * bars.width)) == pytest.approx(1.0)


def test_comparable_kinds_are_counted(pairs, view):
    even = make_view(images=40, classes=2)
    pairs = pair_distances(even.embeddings, even.labels)
    figure = histogram_plot(pairs, 0.9)
    assert int(np.sum(figure.data[0].y)) == pairs.genuine.count
    assert int(np.sum(figure.data[1].y)) == pairs.impostor.count


def test_no_genuine_pair_is_told():
    view = make_view(images=5, classes=5)
    with pytest.raises(DataError, match="genuine"):
        roc_plot({"mine": pair_distances(view.embeddings, view.labels)})


def test_the_reliability_stays_between_zero_and_one(pairs):
    line = reliability_plot(fit_probability(pairs), pairs).data[1]
    assert 0 <= min(line.y) <= max(line.y) <= 1


def test_a_det_of_separate_kinds_is_told():
    pairs = listed_pairs(np.array([0.1, 0.2, 1.0, 1.1]), np.array([True, True, False, False]))
    with pytest.raises(DataError, match="one kind of error is 0"):
        det_plot({"mine": pairs}, 0.5)
