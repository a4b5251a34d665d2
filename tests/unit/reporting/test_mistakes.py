from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from imagematch.reporting import mistakes, pairs_html, worst_false_matches, worst_false_non_matches

from .samples import HOSTILE, make_view


def naive(view, *, genuine):
    """Every pair by a plain loop, the most extreme first, each image once."""
    found = [
        (float(np.linalg.norm(view.embeddings[a] - view.embeddings[b])), a, b)
        for a, b in combinations(range(len(view)), 2)
        if (view.labels[a] == view.labels[b]) == genuine
    ]
    used, kept = set(), []
    for distance, a, b in sorted(found, reverse=genuine):
        if a not in used and b not in used:
            used |= {a, b}
            kept.append((a, b, distance))
    return kept


@pytest.mark.parametrize("block_values", [1 << 23, 150])
@pytest.mark.parametrize("genuine", [True, False])
def test_the_worst_pairs_are_those_of_a_plain_loop(monkeypatch, genuine, block_values):
    monkeypatch.setattr(mistakes, "_BLOCK_VALUES", block_values)
    view = make_view(images=40, classes=4)
    found = (worst_false_non_matches if genuine else worst_false_matches)(view, 5)
    expected = naive(view, genuine=genuine)[:5]
    assert [(pair.first, pair.second) for pair in found] == [(a, b) for a, b, _ in expected]
    np.testing.assert_allclose([pair.distance for pair in found], [d for _, _, d in expected], rtol=1e-6)


def test_an_image_that_is_close_to_all_leaves_the_other_pairs():
    others = 2100
    embeddings = np.hstack([np.full((others + 1, 1), 0.9), np.sqrt(0.19) * np.eye(others + 1)]).astype(np.float32)
    embeddings[0] = np.eye(others + 2)[0]
    view = replace(make_view(), embeddings=embeddings, labels=np.arange(others + 1))
    pairs = worst_false_matches(view, 5)
    assert len(pairs) == 5
    assert [0 in (pair.first, pair.second) for pair in pairs] == [True, False, False, False, False]


def test_one_class_has_no_false_match():
    view = make_view(images=4, classes=1)
    assert worst_false_matches(view) == []
    assert "no such pair" in pairs_html(view, [], 1.0)


def test_names_in_the_pictures_are_inert():
    view = make_view(images=18, classes=9, names=HOSTILE)
    pairs = worst_false_matches(view, 8)
    code = pairs_html(view, pairs, 1.0)
    assert "<script" not in code
    assert "onerror=alert(2)>" not in code
    assert 'href="javascript' not in code
    assert code.count('<img src="data:image/png;base64,') == 2 * len(pairs) > 12
    assert code.count("<img") == 2 * len(pairs)


def test_each_pair_says_what_the_threshold_makes_of_it():
    view = make_view(images=16, classes=4)
    close, far = worst_false_matches(view, 1), worst_false_non_matches(view, 1)
    assert "a match, wrong" in pairs_html(view, close, close[0].distance + 0.01)
    assert "no match, right" in pairs_html(view, close, close[0].distance)
    assert "no match, wrong" in pairs_html(view, far, far[0].distance)
    assert "a match, right" in pairs_html(view, far, far[0].distance + 0.01)
