"""Checkpoints come back as they were, or are refused."""

from pathlib import Path

import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    state = [np.float32(3), np.arange(12).reshape(3, 4), np.zeros(0)]
    write_checkpoint(path, Checkpoint("id", state, [np.ones(2)], [{"epoch": 1, "loss": 0.25}]))
    read = read_checkpoint(path, "id")
    assert read is not None
    for a, b in zip(read.variables, state, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(read.best[0], np.ones(2))
    assert read.history == [{"epoch": 1, "loss": 0.25}]


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "c.npz", "id") is None


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    write_checkpoint(path, Checkpoint("id", [np.ones(3)], [], []))
    with pytest.raises(ModelError, match="another configuration"):
        read_checkpoint(path, "other")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a zip file"])
def test_a_damaged_one_is_refused(tmp_path: Path, damage) -> None:
    path = tmp_path / "c.npz"
    write_checkpoint(path, Checkpoint("id", [np.ones(3)], [], []))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        read_checkpoint(path, "id")
    assert read_checkpoint(path, "id", discard_unfit=True) is None
    assert not path.exists()
