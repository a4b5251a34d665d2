"""Open-set searches against plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import open_set_searches


def test_against_loops(random_sample, tied_sample, small_blocks) -> None:
    for (rows, labels), threshold in ((random_sample(), 0.8), (tied_sample(), 1.0)):
        labels[0] = 99  # a class alone
        found = open_set_searches(rows, labels, threshold)
        order = np.argsort(labels, kind="stable")
        assert found.classes.tolist() == labels[order].tolist()
        expected: dict[int, list[bool]] = {1: [], 10: []}
        for index, i in enumerate(order):
            apart = np.sqrt(2 * np.maximum(np.float32(0), np.float32(1) - rows @ rows[i]))
            own = [float(apart[j]) for j in range(len(rows)) if j != i and labels[j] == labels[i]]
            other = [float(apart[j]) for j in range(len(rows)) if labels[j] != labels[i]]
            assert found.others[index] == len(other)
            assert found.nearest_other[index] == pytest.approx(min(other), abs=2e-3)
            assert found.false_positive()[index] == (min(other) < threshold)
            assert found.matching[index] == sum(distance < threshold for distance in other)
            assert found.enrolled[index] == bool(own)
            if own:
                assert found.nearer[index] == sum(distance <= min(own) + 1e-6 for distance in other)
                for rank, errors in expected.items():
                    errors.append(not (min(own) < threshold and found.nearer[index] < rank))
        for rank, errors in expected.items():
            assert found.false_negative(rank).tolist() == errors


def test_the_chance_in_a_smaller_gallery_is_that_of_drawing_it() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.3, 1.5, 2.0, 3.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = open_set_searches(rows, np.arange(7), threshold=0.25)
    assert found.matching.tolist() == [2, 3, 3, 2, 0, 0, 0]
    for size in (1, 3, 5, 6):
        for search, matching in enumerate(found.matching):
            galleries = list(itertools.combinations(range(6), size))
            hits = sum(any(image < matching for image in gallery) for gallery in galleries)
            assert found.false_positive_chance(size)[search] == pytest.approx(hits / math.comb(6, size))


def test_another_threshold_can_be_asked_about() -> None:
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    found = open_set_searches(rows, np.array([0, 0, 1, 1]), threshold=0.1)
    assert found.false_positive().tolist() == [False] * 4
    assert found.false_positive(2.0).all()
    assert found.false_negative(10, threshold=2.0).tolist() == [False] * 4
    assert found.false_negative(1, threshold=2.0).tolist() == [False, True, False, True]


def test_no_image() -> None:
    with pytest.raises(DataError, match="no image"):
        open_set_searches(np.empty((0, 2)), np.empty(0), 1.0)
