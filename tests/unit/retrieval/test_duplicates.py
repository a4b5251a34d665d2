import itertools

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering

from imagematch.events import Advance
from imagematch.retrieval import Group, distances, duplicate_groups
from imagematch.retrieval import duplicates as module

RANDOM = np.random.default_rng(4)


def clusters(count: int, spread: float) -> np.ndarray:
    centres = RANDOM.standard_normal((12, 5))
    rows = centres[RANDOM.integers(0, 12, count)] + spread * RANDOM.standard_normal((count, 5))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def groups_of(rows: np.ndarray, threshold: float) -> list[Group]:
    groups, undivided = duplicate_groups(rows, threshold)
    assert not undivided
    return groups


@pytest.mark.parametrize("threshold", [0.02, 0.2, 0.5])
def test_complete_linkage_by_scikit_learn_agrees(threshold: float) -> None:
    rows = clusters(150, 0.1)
    model = AgglomerativeClustering(None, linkage="complete", distance_threshold=threshold).fit(rows)
    expected = {
        frozenset(np.flatnonzero(model.labels_ == label).tolist())
        for label in range(model.n_clusters_)
        if np.count_nonzero(model.labels_ == label) > 1
    }
    assert {frozenset(group.rows.tolist()) for group in groups_of(rows, threshold)} == expected


def test_all_of_a_group_match_and_what_it_says_is_so() -> None:
    rows = clusters(200, 0.2)
    groups = groups_of(rows, 0.4)
    every = distances(rows, rows)
    assert [g.diameter for g in groups] == sorted(g.diameter for g in groups)
    seen = [row for group in groups for row in group.rows.tolist()]
    assert len(seen) == len(set(seen)) > 50
    for group in groups:
        inside = every[np.ix_(group.rows, group.rows)]
        assert group.diameter == inside.max() < 0.4
        assert inside[0].sum(dtype=float) == pytest.approx(inside.sum(axis=1, dtype=float).min())
        np.testing.assert_array_equal(group.distances, inside[0])
        assert (np.diff(group.distances) >= 0).all()


def test_a_chain_does_not_become_one_group() -> None:
    angles = np.arange(20) * 0.1
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = groups_of(rows, 0.25)
    assert len(groups) > 5
    assert max(len(group.rows) for group in groups) <= 3


def test_the_threshold_itself_is_no_match() -> None:
    rows = np.array([[0, 0], [0.5, 0], [10, 0], [10.25, 0]], np.float32)
    assert [group.rows.tolist() for group in groups_of(rows, 0.5)] == [[2, 3]]
    assert len(groups_of(rows, float(np.nextafter(0.5, 1)))) == 2


def test_small_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clusters(90, 0.1)
    whole = [group.rows.tolist() for group in groups_of(rows, 0.3)]
    monkeypatch.setattr(module, "_TILE_ROWS", 7)
    assert [group.rows.tolist() for group in groups_of(rows, 0.3)] == whole


def test_every_pair_under_the_threshold_is_in_one_chain() -> None:
    rows = clusters(60, 0.15)
    chain_of = {row: i for i, chain in enumerate(module._chains(rows, 0.3, Advance())) for row in chain.tolist()}
    every = distances(rows, rows)
    for a, b in itertools.combinations(range(60), 2):
        if every[a, b] < 0.3:
            assert chain_of[a] == chain_of[b]


def test_no_image_and_no_match_are_no_group() -> None:
    assert groups_of(np.empty((0, 3), np.float32), 0.5) == []
    assert groups_of(np.eye(3, dtype=np.float32), 0.5) == []


def test_what_hangs_together_too_widely_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.concatenate([np.ones((11, 2)), [[9, 9], [9, 9]]]).astype(np.float32)
    monkeypatch.setattr(module, "MOST_IN_A_CHAIN", 10)
    groups, undivided = duplicate_groups(rows, 0.5)
    assert [group.rows.tolist() for group in groups] == [[11, 12]]
    assert [chain.tolist() for chain in undivided] == [list(range(11))]
