"""Functions over blocks of rows: the same as over all rows at once, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from imagematch.features import blockwise, map_blocks, map_features, normalize_rows, normalized_features, row_blocks


def test_blocks_are_the_rows_in_order_and_bounded_in_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).random((5000, 4), np.float32)
    rows = np.random.default_rng(1).permutation(5000)
    blocks = list(row_blocks(array, rows))
    assert [len(block) for block in blocks] == [2048, 2048, 904]
    np.testing.assert_array_equal(np.concatenate(blocks), array[rows])
    monkeypatch.setattr(blockwise, "_BLOCK_BYTES", 1600)
    assert {len(block) for block in row_blocks(array, rows)} == {100}


def test_a_function_of_several_views_sees_the_same_rows_of_each() -> None:
    one, other = np.random.default_rng(0).random((2, 3000, 6), np.float32)
    rows = np.random.default_rng(1).permutation(3000)[:2500]
    found = map_features(lambda a, b: a[:, :2] - b[:, :2], [one, other], rows)
    np.testing.assert_array_equal(found, (one - other)[rows, :2])
    np.testing.assert_array_equal(map_features(lambda a: a, [one]), one)


def test_a_number_of_rows_that_was_not_expected_is_refused() -> None:
    blocks = [np.zeros((2, 3)), np.ones((1, 3))]
    np.testing.assert_array_equal(map_blocks(np.asarray, blocks, 3), np.concatenate(blocks))
    for count in (2, 4):
        with pytest.raises(ValueError):
            map_blocks(np.asarray, blocks, count)
    with pytest.raises(ValueError, match="0 rows instead of 1"):
        map_blocks(np.asarray, [], 1)


def test_normalized_features_are_one_array_of_unit_rows() -> None:
    array = np.random.default_rng(0).normal(size=(20_000, 300)).astype(np.float16)
    array[7] = 0
    rows = np.random.default_rng(1).permutation(20_000)
    tracemalloc.start()
    found = normalized_features(array, rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, normalize_rows(array[rows]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found.dtype == np.float32
    assert peak < 1.5 * found.nbytes
