from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from imagematch.evaluation import pair_distances, split_metrics
from imagematch.evaluation.thresholds import Threshold
from imagematch.reporting import confusion_html, example_pairs, named_confusions
from imagematch.reporting.mistakes import closest_pair, query_strips
from imagematch.reporting.threshold_steps import (
    class_matrix,
    matrix_classes,
    steps_json,
    threshold_html,
    threshold_steps,
)

from .samples import HOSTILE, make_view


def steps_of(view, threshold=0.9):
    return threshold_steps(view, pair_distances(view.embeddings, view.labels), threshold)


def test_every_step_has_the_counts_and_rates_of_the_metrics():
    view = make_view(noise=0.8)
    steps = steps_of(view)
    assert steps.distances[steps.chosen] == 0.9
    for at in (3, steps.chosen, len(steps.distances) - 5):
        threshold = Threshold(float(steps.distances[at]), "eer", "calibration")
        expected = split_metrics(view.embeddings, view.labels, threshold=threshold)["threshold"]
        confusion = expected["confusion"]
        assert (steps.tp[at], steps.fp[at]) == (confusion["tp"], confusion["fp"])
        assert (steps.fpir[at], steps.fnir[at]) == (expected["fpir"], expected["fnir"])


def test_the_matrix_has_the_shares_of_plain_loops():
    view = make_view(images=40, classes=4, noise=0.8)
    shares = class_matrix(view, [0, 1, 2, 3], np.array([0.7, 1.1]))
    matched, pairs = np.zeros((4, 4, 2)), np.zeros((4, 4))
    for a, b in combinations(range(40), 2):
        first, second = sorted((view.labels[a], view.labels[b]))
        pairs[first, second] += 1
        matched[first, second] += np.linalg.norm(view.embeddings[a] - view.embeddings[b]) < np.array([0.7, 1.1])
    assert set(shares) == {(a, b) for a in range(4) for b in range(a, 4)}
    for (a, b), found in shares.items():
        assert found == pytest.approx((matched[a, b] / pairs[a, b]).tolist(), abs=1e-4)


def test_of_many_classes_those_that_are_confused_are_shown():
    view = make_view(images=200, classes=25, noise=0.7, dim=4)
    confused = named_confusions(view, 0.5)
    most, chosen = confused[0], matrix_classes(view, confused)
    assert len(chosen) == 10
    assert set(most.labels) <= set(chosen)
    assert (most.first, most.second) == tuple(f"class {label}" for label in most.labels)


def test_the_numbers_for_the_script_are_json_of_numbers_only():
    view = make_view(images=27, classes=9, names=HOSTILE)
    steps = steps_of(view)
    numbers = json.loads(steps_json(steps, class_matrix(view, list(range(9)), steps.distances)))
    assert len(numbers["distances"]) == len(numbers["tp"]) == len(numbers["per_mille"]["0-8"]) == len(steps.distances)
    assert not [name for name in HOSTILE if name in steps_json(steps, {})]
    assert "<script" not in confusion_html(view, 0.9)


@pytest.mark.parametrize(("images", "classes"), [(4, 1), (4, 4)])
def test_one_class_and_classes_of_one_image_have_rates_as_far_as_there_are_any(images, classes):
    view = make_view(images=images, classes=classes)
    steps = steps_of(view)
    code = threshold_html(steps, "test")
    assert f'<dd data-rate="far">{"–" if classes == 1 else "0"}' in code
    assert ('<dd data-rate="frr">–' in code) == (classes == 4)
    assert "NaN" not in steps_json(steps, class_matrix(view, matrix_classes(view, []), steps.distances))


def test_the_closest_images_of_two_classes_are_those_of_plain_loops():
    view = make_view(noise=0.8)
    expected = min(
        (float(np.linalg.norm(view.embeddings[a] - view.embeddings[b])), a, b)
        for a in np.flatnonzero(view.labels == 2)
        for b in np.flatnonzero(view.labels == 4)
    )
    pair = closest_pair(view, 2, 4)
    assert (pair.first, pair.second) == expected[1:]
    assert pair.distance == pytest.approx(expected[0])


def test_the_example_pairs_are_one_right_and_one_wrong_decision():
    view = make_view(noise=0.8)
    right, wrong = example_pairs(view, 0.9)
    assert view.labels[right.first] == view.labels[right.second]
    assert right.distance < 0.9
    assert (wrong.distance < 0.9) != (view.labels[wrong.first] == view.labels[wrong.second])
    assert example_pairs(make_view(images=4, classes=4, noise=0.1), 0.01) == []


def test_queries_that_are_answered_wrongly_come_first_with_their_nearest():
    view = make_view(images=40, classes=4, noise=0.9)
    strips = query_strips(view, 0.6, count=8, neighbours=3)
    assert [len(tiles) for tiles in strips] == [4] * 8
    firsts = [tiles[1]["kind"].split()[0] for tiles in strips]
    assert firsts == sorted(firsts, reverse=True)
    assert "wrong" in firsts
    for tiles in strips:
        distances = [float(tile["distance"]) for tile in tiles[1:]]
        assert distances == sorted(distances)
        assert all(("beyond" in tile["kind"]) == (float(tile["distance"]) >= 0.6) for tile in tiles[1:])
    assert query_strips(make_view(images=4, classes=4), 0.6) == []
