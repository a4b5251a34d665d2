"""Embeddings to evaluate: random, tied and in many small blocks."""

from collections.abc import Callable

import numpy as np
import pytest

from imagematch.evaluation import blocks

Sample = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def random_sample() -> Callable[..., Sample]:
    def make(n: int = 120, d: int = 8, classes: int = 12, noise: float = 1.0, seed: int = 0) -> Sample:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, n)
        rows = rng.standard_normal((classes, d))[labels] + noise * rng.standard_normal((n, d))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels

    return make


@pytest.fixture
def tied_sample() -> Callable[..., Sample]:
    """Rows of +-0.5 in four dimensions: cosines are exactly -1, -0.5, 0, 0.5 or 1."""

    def make(n: int = 60, classes: int = 6, seed: int = 0) -> Sample:
        rng = np.random.default_rng(seed)
        return rng.choice([-0.5, 0.5], (n, 4)).astype(np.float32), rng.integers(0, classes, n)

    return make


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PAIRS_PER_BLOCK", 500)
