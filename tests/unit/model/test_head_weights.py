"""The head in a file: numpy and Keras read the same head from it, and no other is read."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.model import HeadShape, build_head, head_in_numpy, read_head, read_keras_head, write_head

RANDOM = np.random.default_rng(0)


def unsettle(head: keras.Model) -> None:
    """Weights as after a training: norms that are not the identity, some of them tiny."""
    weights = [w + RANDOM.normal(0, 0.3, w.shape).astype(np.float32) for w in head.get_weights()]
    for variable, weight in zip(head.weights, weights, strict=True):
        variable.assign(
            np.abs(weight) * RANDOM.choice([1e-6, 1, 50], weight.shape) if "variance" in variable.path else weight
        )


def written(path: Path, units: tuple[int, ...] = (), whitening: int | None = None) -> tuple[keras.Model, HeadShape]:
    white = None
    if whitening is not None:
        white = RANDOM.normal(0, 0.3, (48, whitening)).astype(np.float32), RANDOM.normal(0, 1, whitening)
    head = build_head(48, units=units, dropout=0.4, embedding_dim=6, whitening=white)
    unsettle(head)
    shape = HeadShape(48, units, 6, whitening)
    write_head(path, shape, head)
    return head, shape


@pytest.mark.parametrize("whitening", [None, 10])
@pytest.mark.parametrize("units", [(), (8,), (8, 8), (32, 16, 8)])
def test_both_forms_give_what_was_written(tmp_path, units, whitening):
    head, shape = written(tmp_path / "head.safetensors", units, whitening)
    found = read_head(tmp_path / "head.safetensors", shape)
    assert (found.feature_dim, found.dim, len(found.kernels)) == (48, 6, len(units) + 1)
    features = RANDOM.normal(0, 3, (5000, 48)).astype(np.float32)  # more than one block
    expected = np.asarray(head(features, training=False))
    given = found(features)
    assert given.dtype == np.float32
    assert np.linalg.norm(given - expected, axis=1).max() < 1e-3, "a matcher may be 0.014 from itself"
    np.testing.assert_array_equal(head_in_numpy(shape, head)(features), given)
    again = read_keras_head(tmp_path / "head.safetensors", shape)
    np.testing.assert_array_equal(np.asarray(again(features, training=False)), expected)
    half = features[:7].astype(np.float16)
    np.testing.assert_array_equal(found(half), found(half.astype(np.float32)))
    assert found(features[:0]).shape == (0, 6)


def test_features_of_zero_give_no_nan(tmp_path):
    head = build_head(48, units=(8,), embedding_dim=6)
    found = head_in_numpy(HeadShape(48, (8,), 6), head)
    np.testing.assert_array_equal(found(np.zeros((2, 48), np.float32)), np.zeros((2, 6), np.float32))


@pytest.mark.parametrize(
    "other",
    [
        HeadShape(47, (8,), 6),
        HeadShape(48, (9,), 6),
        HeadShape(48, (8,), 7),
        HeadShape(48, (8,), 6, 8),
        HeadShape(48, (8, 8), 6),
        HeadShape(48, (), 6),
    ],
)
def test_a_head_of_another_shape_is_neither_read_nor_written(tmp_path, other):
    head, _ = written(tmp_path / "head.safetensors", (8,))
    for read in (read_head, read_keras_head):
        with pytest.raises(ModelError, match="does not hold the weights"):
            read(tmp_path / "head.safetensors", other)
    with pytest.raises(ValueError):
        write_head(tmp_path / "other.safetensors", other, head)
    assert not (tmp_path / "other.safetensors").exists()


def test_it_needs_no_tensorflow(tmp_path):
    head, _ = written(tmp_path / "head.safetensors", (8,))
    features = np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 48)
    program = (
        "import sys, json, numpy as np; from pathlib import Path; from imagematch.model import HeadShape, read_head;"
        f"head = read_head(Path({str(tmp_path / 'head.safetensors')!r}), HeadShape(48, (8,), 6));"
        "print(json.dumps(head(np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 48)).tolist()));"
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), np.asarray(head(features)), atol=1e-5)
