import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import listed_pairs, pair_distances
from imagematch.evaluation.collectors import CountingCollector, SortingCollector
from imagematch.evaluation.distance_multiset import DistanceMultiset


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
    np.testing.assert_allclose(pairs.genuine.elements(), genuine, atol=2e-6)
    np.testing.assert_allclose(pairs.impostor.elements(), impostor, atol=2e-6)


def test_ties_are_exact(tied_sample, small_blocks) -> None:
    rows, labels = tied_sample()
    pairs = pair_distances(rows, labels)
    assert set(np.concatenate([pairs.genuine.elements(), pairs.impostor.elements()])) <= set(
        np.sqrt(np.arange(5, dtype=np.float32))
    )
    assert [len(side) for side in naive(rows, labels)] == [pairs.genuine.count, pairs.impostor.count]


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_degenerate_splits_are_empty_and_refused(labels: list[int]) -> None:
    pairs = pair_distances(np.eye(3, dtype=np.float32)[: len(labels)], np.array(labels, dtype=int))
    assert pairs.genuine.count + pairs.impostor.count == len(labels) * (len(labels) - 1) // 2
    with pytest.raises(DataError, match="no genuine pair" if not pairs.genuine.count else "no impostor pair"):
        pairs.require()


def test_counted_distances_are_those_that_sorting_finds(random_sample, tied_sample, small_blocks, monkeypatch) -> None:
    for sample in (random_sample(n=300, d=2), tied_sample()):
        monkeypatch.undo()
        sorted_ = pair_distances(*sample)
        monkeypatch.setattr("imagematch.evaluation.pairs._SORTED_AT_MOST", 10)
        counted = pair_distances(*sample)
        for side, other in ((sorted_.genuine, counted.genuine), (sorted_.impostor, counted.impostor)):
            np.testing.assert_array_equal(side.values, other.values)
            np.testing.assert_array_equal(side.counts, other.counts)


def test_both_collectors_take_any_shape_and_every_value_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingCollector, "_BUFFER", 64)
    steps = np.random.default_rng(0).integers(0, 2**24, (30, 20)) * np.random.default_rng(1).integers(1, 3, (30, 20))
    values = (steps / 2**24).astype(np.float32)
    values[0, :5] = 2.0000002, 2, 0, 2**-24, 2**-20
    collectors = (CountingCollector(615), CountingCollector(2**31), SortingCollector(615))
    for collector in collectors:
        for part in (values[:10], values[10:].ravel(), values[:0], values[:3, :5]):
            collector.add(part)
    counted, wide, sorted_ = (collector.finish() for collector in collectors)
    np.testing.assert_array_equal(counted.elements(), sorted_.elements())
    np.testing.assert_array_equal(wide.elements(), sorted_.elements())
    assert counted.count == 615
    assert counted.elements()[0] == 0
    assert counted.elements()[-1] == 2


def test_questions_to_distances() -> None:
    listed = np.array([0.5, 0.1, 0.5, 1.5, 0.5, 1.5])
    found = DistanceMultiset.of(listed)
    assert found.values.tolist() == [np.float32(0.1), 0.5, 1.5]
    assert found.counts.tolist() == [1, 3, 2]
    assert found.elements().tolist() == np.sort(listed).astype(np.float32).tolist()
    limits = np.array([0, 0.1, 0.3, 0.5, 1.5, 9])
    assert found.below(limits).tolist() == [(listed.astype(np.float32) < np.float32(x)).sum() for x in limits]
    assert found.up_to(limits).tolist() == [(listed.astype(np.float32) <= np.float32(x)).sum() for x in limits]
    assert found.value_at(np.arange(6)).tolist() == found.elements().tolist()
    nothing = DistanceMultiset.of(np.empty(0))
    assert (nothing.count, int(nothing.below(1.0)), list(nothing.chunks())) == (0, 0, [])


def test_listed_pairs() -> None:
    pairs = listed_pairs(np.array([0.5, 0.1, 1.5]), np.array([True, True, False]))
    assert pairs.genuine.elements().tolist() == [np.float32(0.1), 0.5]
    assert pairs.impostor.elements().tolist() == [1.5]
    with pytest.raises(DataError, match="not a finite number"):
        listed_pairs(np.array([np.nan]), np.array([True]))
    with pytest.raises(ValueError, match="both"):
        listed_pairs(np.zeros(2), np.zeros(3))
