from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from imagematch.evaluation import ConfusedClasses, blocks, confused_classes


def loops(rows, labels, distance):
    """False matches of each pair of classes, by plain loops."""
    counts = Counter()
    for a, b in combinations(range(len(rows)), 2):
        if labels[a] != labels[b] and np.linalg.norm(rows[a] - rows[b]) < distance:
            counts[tuple(sorted((int(labels[a]), int(labels[b]))))] += 1
    return counts


@pytest.mark.parametrize("pairs_per_block", [1 << 20, 200])
def test_false_matches_by_class_are_those_of_plain_loops(monkeypatch, pairs_per_block):
    monkeypatch.setattr(blocks, "PAIRS_PER_BLOCK", pairs_per_block)
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 60)
    rows = random.normal(size=(60, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = loops(rows, labels, 0.7)
    found = confused_classes(rows.astype(np.float32), labels, 0.7, count=100)
    assert {(one.first, one.second): one.matches for one in found} == dict(expected)
    assert [one.matches for one in found] == sorted(expected.values(), reverse=True)
    sizes = Counter(labels.tolist())
    assert all(one.pairs == sizes[one.first] * sizes[one.second] for one in found)
    assert confused_classes(rows.astype(np.float32), labels, 0.7, count=3) == found[:3]


def test_one_class_and_classes_that_are_apart_are_not_confused():
    rows = np.eye(4, dtype=np.float32)
    assert confused_classes(rows, np.zeros(4), 3.0) == []
    assert confused_classes(rows, np.array([0, 0, 1, 1]), 1.0) == []
    assert confused_classes(rows, np.array(["a", "a", "b", "b"]), 2.0) == [ConfusedClasses("a", "b", 4, 4)]
