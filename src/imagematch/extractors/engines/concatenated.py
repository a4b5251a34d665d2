"""The engines of several networks side by side, run as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imagematch.extractors.concatenation import side_by_side
from imagematch.extractors.engines.interface import Engine


class ConcatenatedEngine(Engine):
    """Hands every batch to each member's engine; what they give is put side by side when all of it is there.

    Args:
        engines: one a member, in the order of their features.
        name: of the engine that runs them.
        precision: what they compute in.
    """

    def __init__(self, engines: Sequence[Engine], name: str, precision: str) -> None:
        self.name = name
        self.precision = precision
        self.feature_dim = sum(engine.feature_dim for engine in engines)
        self.batch_size = min(engine.batch_size for engine in engines)
        self._engines = engines
        ends = np.cumsum([engine.feature_dim for engine in engines])
        self._columns = [slice(end - engine.feature_dim, end) for end, engine in zip(ends, engines, strict=True)]
        self._started: list[tuple[np.ndarray, np.ndarray | slice]] = []

    def start(self, pictures: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """See Engine."""
        for engine, columns in zip(self._engines, self._columns, strict=True):
            engine.start(pictures, out[:, columns], rows)
        self._started.append((out, rows))

    def finish(self) -> None:
        """Waits for all engines, then scales what they gave."""
        started, self._started = self._started, []
        for engine in self._engines:
            engine.finish()
        for out, rows in started:
            out[rows] = side_by_side([out[rows, columns] for columns in self._columns])
