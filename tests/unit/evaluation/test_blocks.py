import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation.blocks import (
    COINCIDENT,
    checked_embeddings,
    class_segments,
    cosine_distance_blocks,
    in_class_order,
    to_euclidean,
)


def test_class_order_keeps_rows_with_their_labels(random_sample) -> None:
    rows, labels = random_sample()
    names = np.array([f"class {label}" for label in labels])
    order = in_class_order(rows, names)
    assert list(order.names) == sorted(set(names))
    np.testing.assert_array_equal(order.rows, rows[order.order])
    np.testing.assert_array_equal(order.names[order.classes_of_rows], names[order.order])
    same = names[:, None] == names[None]
    assert order.genuine_pairs == np.triu(same, 1).sum()
    assert order.impostor_pairs == np.triu(~same, 1).sum()


@pytest.mark.parametrize("upper", [True, False])
def test_blocks_cover_the_matrix_once(random_sample, small_blocks, upper: bool) -> None:
    rows, _ = random_sample()
    whole = np.full((120, 120), np.nan)
    count = 0
    for block in cosine_distance_blocks(rows, upper_triangle=upper):
        count += 1
        whole[block.first : block.stop, block.column :] = block.cosine_distances
    assert count > 10
    expected = 1 - rows.astype(np.float64) @ rows.T.astype(np.float64)
    seen = ~np.isnan(whole)
    np.testing.assert_allclose(whole[seen], np.maximum(expected[seen], 0), atol=1e-6)
    assert seen.all() if not upper else seen[np.triu_indices(120)].all()


def test_segments_cover_the_rows(random_sample) -> None:
    order = in_class_order(*random_sample())
    for first, stop in ((0, 120), (7, 31), (119, 120)):
        found = list(class_segments(order, first, stop))
        assert np.concatenate([np.arange(s.first, s.stop) for s in found]).tolist() == list(range(first, stop))
        for s in found:
            assert (order.classes_of_rows[s.first : s.stop] == s.class_index).all()
            assert (s.start, s.end) == (order.starts[s.class_index], order.starts[s.class_index + 1])


def test_copies_of_a_row_coincide() -> None:
    rng = np.random.default_rng(3)
    for d in (16, 129, 1024, 2048):
        row = rng.standard_normal(d)
        rows = np.repeat((row / np.linalg.norm(row))[None], 40, axis=0).astype(np.float32)
        for block in cosine_distance_blocks(rows, upper_triangle=False):
            assert block.cosine_distances.max() < COINCIDENT / 2
            assert not to_euclidean(block.cosine_distances).any()


def test_near_unit_rows_are_corrected() -> None:
    rows = np.array([[0.6, 0.8], [1.0005, 0]])
    np.testing.assert_allclose(np.linalg.norm(checked_embeddings(rows), axis=1), 1, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_embeddings_are_named(value: float) -> None:
    rows = np.eye(5, dtype=np.float32)
    rows[3, 1] = value
    with pytest.raises(DataError, match=r"1 of 5 embeddings are not finite \(the first is row 3\)"):
        checked_embeddings(rows)


def test_other_bad_input() -> None:
    with pytest.raises(DataError, match=r"not L2-normalised \(row 1 has norm 2\)"):
        checked_embeddings(np.array([[1.0, 0], [0, 2]]))
    with pytest.raises(DataError, match="not L2-normalised"):
        checked_embeddings(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"must be \(n, d\)"):
        checked_embeddings(np.zeros(3))
    with pytest.raises(ValueError, match=r"labels must be \(2,\)"):
        in_class_order(np.eye(2), np.zeros(3))
