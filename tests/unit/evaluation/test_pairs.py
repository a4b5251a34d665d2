import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import distances as distances_module
from imagematch.evaluation import listed_pairs, pair_distances
from imagematch.evaluation.distances import BINS, BinnedCollector, bin_edges


def naive(rows: np.ndarray, labels: np.ndarray) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = ([], [])
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            found[int(labels[i] != labels[j])].append(float(np.linalg.norm(rows[i].astype(float) - rows[j])))
    return sorted(found[0]), sorted(found[1])


def test_every_pair_once(random_sample, small_blocks) -> None:
    rows, labels = random_sample()
    pairs = pair_distances(rows, labels)
    genuine, impostor = naive(rows, labels)
    np.testing.assert_allclose(pairs.genuine.values, genuine, atol=2e-6)
    np.testing.assert_allclose(pairs.impostor.values, impostor, atol=2e-6)
    assert pairs.exact


def test_ties_are_exact(tied_sample, small_blocks) -> None:
    rows, labels = tied_sample()
    pairs = pair_distances(rows, labels)
    assert set(np.concatenate([pairs.genuine.values, pairs.impostor.values])) <= set(
        np.sqrt(np.arange(5, dtype=np.float32))
    )
    assert [len(side) for side in naive(rows, labels)] == [pairs.genuine.count, pairs.impostor.count]


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_degenerate_splits_are_empty_and_told(labels: list[int]) -> None:
    pairs = pair_distances(np.eye(3, dtype=np.float32)[: len(labels)], np.array(labels, dtype=int))
    assert pairs.genuine.count + pairs.impostor.count == len(labels) * (len(labels) - 1) // 2
    with pytest.raises(DataError, match="no genuine pair" if not pairs.genuine.count else "no impostor pair"):
        pairs.require()


def test_binned_counts_are_exact_at_the_edges(random_sample, small_blocks) -> None:
    rows, labels = random_sample(n=300)
    exact, binned = pair_distances(rows, labels), pair_distances(rows, labels, sorted_limit=10)
    mixed = pair_distances(rows, labels, sorted_limit=exact.genuine.count)
    assert not binned.exact
    assert not mixed.exact
    assert mixed.genuine.exact
    edges = bin_edges()[:: BINS // 5000]
    for side, other in ((exact.genuine, binned.genuine), (exact.impostor, binned.impostor)):
        assert side.count == other.count
        np.testing.assert_array_equal(side.below(edges), other.below(edges))
        anywhere = np.linspace(0, 2, 999)
        assert (other.below(anywhere) <= side.below(anywhere)).all()
        assert (other.upto(anywhere) >= side.upto(anywhere)).all()
        ranks = np.arange(side.count)
        kept, lower = side.value_at(ranks), other.value_at(ranks)
        assert (lower <= kept).all()
        assert (kept - lower < 2 / BINS).all()


def test_many_genuine_pairs_bin_both_kinds(random_sample) -> None:
    rows, labels = random_sample(classes=1)
    labels[0] = 9
    pairs = pair_distances(rows, labels, sorted_limit=200)
    assert not pairs.genuine.exact
    assert not pairs.impostor.exact


def test_the_histogram_takes_any_shape_and_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinnedCollector, "_BUFFER", 64)
    values = np.random.default_rng(0).uniform(0, 2, (30, 20)).astype(np.float32)
    values[0, :3] = 2.0000002, 2, 0
    collector = BinnedCollector()
    for part in (values[:10], values[10:].ravel(), values[:0], values[:3, :5]):
        collector.add(part)
    found = collector.finish()
    assert found.count == 615
    assert found.below(2.0) == 615
    assert found.below(1.0) == (values[:, :] < 0.5).sum() + (values[:3, :5] < 0.5).sum()


def test_listed_pairs() -> None:
    pairs = listed_pairs(np.array([0.5, 0.1, 1.5]), np.array([True, True, False]))
    assert pairs.genuine.values.tolist() == [np.float32(0.1), 0.5]
    assert pairs.impostor.values.tolist() == [1.5]
    with pytest.raises(DataError, match="not a finite number"):
        listed_pairs(np.array([np.nan]), np.array([True]))
    with pytest.raises(ValueError, match="both"):
        listed_pairs(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("distinct", [1, 5, 10**6])
def test_many_distances_are_sorted_by_several_threads(monkeypatch, threads: int, distinct: int) -> None:
    monkeypatch.setattr(distances_module, "_FEW", 10)
    values = np.random.default_rng(threads).integers(0, distinct, 1001).astype(np.float32)
    expected = sorted(values.tolist())
    distances_module.sort_in_place(values, threads)
    assert values.tolist() == expected
