"""The features alone, as the baseline sees them."""

import tracemalloc

import numpy as np

from imagematch.features import Features
from imagematch.training.materials import Materials, unit_rows


def test_the_baseline_is_one_array_of_unit_rows() -> None:
    array = np.random.default_rng(0).normal(size=(20_000, 300)).astype(np.float16)
    array[7] = 0
    features = Features(array, "openvino", "bfloat16", 0, 0.0)
    materials = Materials(None, None, features, ())  # type: ignore[arg-type]
    rows = np.random.default_rng(1).permutation(20_000)
    tracemalloc.start()
    found = materials.baseline(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, unit_rows(array[rows]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found.dtype == np.float32
    assert peak < 1.5 * found.nbytes
