"""The images of per-epoch validation, and the spread of embeddings."""

import numpy as np

from imagematch.training import FeatureSource, embed_rows, sample_rows
from imagematch.training.batches import RandomBatches
from imagematch.training.validation import spread_of


def test_a_sample_is_stratified_fixed_and_sorted() -> None:
    labels = np.repeat(np.arange(10), [200] * 5 + [20] * 5)
    rows = np.arange(len(labels))[::2]
    drawn = sample_rows(rows, labels, 110, seed=1)
    assert len(drawn) == 110
    assert set(drawn) <= set(rows)
    assert (np.diff(drawn) > 0).all()
    counts = np.bincount(labels[drawn])
    assert (counts >= 2).all()
    assert counts[:5].min() > counts[5:].max()
    np.testing.assert_array_equal(drawn, sample_rows(rows, labels, 110, seed=1))


def test_of_too_many_classes_the_seed_chooses() -> None:
    labels = np.repeat(np.arange(200), 5)
    chosen = []
    for seed in (1, 2):
        drawn = sample_rows(np.arange(1000), labels, 60, seed)
        classes, counts = np.unique(labels[drawn], return_counts=True)
        assert counts.tolist() == [2] * 30
        assert abs(classes.mean() - 99.5) < 40  # of the first 30 it would be 14.5
        np.testing.assert_array_equal(drawn, sample_rows(np.arange(1000), labels, 60, seed))
        chosen.append(set(classes.tolist()))
    assert chosen[0] != chosen[1]


def test_a_small_split_is_taken_whole() -> None:
    rows = np.array([1, 4, 5])
    np.testing.assert_array_equal(sample_rows(rows, np.zeros(9), 5, seed=0), rows)


def test_spread_is_nothing_for_one_point_and_one_for_opposite_points() -> None:
    assert spread_of(np.tile([[0.6, 0.8]], (5, 1))) < 1e-7
    assert spread_of(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 1.0


def test_embedding_keeps_the_order_of_the_rows() -> None:
    features = np.arange(5000, dtype=np.float32)[:, None]
    source = FeatureSource([features], np.arange(10), np.zeros(5000), RandomBatches(10, 2, 0), seed=0)
    rows = np.random.default_rng(0).permutation(5000)
    np.testing.assert_array_equal(embed_rows(source, rows, lambda block: 2 * block)[:, 0], 2.0 * rows)
