"""Computes the features an entry lacks, block by block, so that a kill loses little and memory stays bounded."""

from __future__ import annotations

import time

import numpy as np

from imagematch.disk_space import check_room
from imagematch.errors import ModelError
from imagematch.events import Advance, RunLog
from imagematch.extractors import Engine, EngineChoice, Network
from imagematch.features.entry import BLOCK_BYTES, FeatureEntry
from imagematch.features.entry_index import RowBlock, split_table
from imagematch.features.extraction import Decode, extract

_BLOCK_SECONDS = 20.0
_FIRST_BLOCK_ROWS = 64
_ROUNDING = 2e-3


class Computation:
    """Computes what an entry lacks, in blocks of about twenty seconds each; the first, of unknown speed, is small."""

    def __init__(
        self, entry: FeatureEntry, choice: EngineChoice, network: Network, decode: Decode, log: RunLog
    ) -> None:
        self._entry = entry
        self._choice = choice
        self._network = network
        self._decode = decode
        self._log = log
        self._stored: dict[bytes, int] = {}
        self._engine: Engine | None = None
        self._rows_a_second = 0.0

    def complete(self, wanted: bytes, found: np.ndarray, damaged: tuple[RowBlock, ...]) -> int:
        """Computes the images that were not found; returns how many went through the network.

        Args:
            wanted: table of the data set's content digests.
            found: (n,) rows of the entry, -1 where a image is missing.
            damaged: blocks that must not be used any more.
        """
        digests = split_table(wanted)
        row_of = {digest: row for row, digest in enumerate(digests)}
        missing = [row for row, found_row in enumerate(found.tolist()) if found_row < 0]
        repairs: list[RowBlock] = []
        lost: list[RowBlock] = []
        for block in damaged:
            (repairs if all(digest in row_of for digest in block.images()) else lost).append(block)
        if damaged:
            count = sum(block.count for block in damaged)
            self._log.event(
                "features_damaged",
                f"{count} cached features are damaged: computing them again",
                count=count,
                level="warning",
            )
        if lost:
            self._entry.drop(lost)
        repaired = {digest for block in repairs for digest in block.images()}
        missing = [row for row in missing if digests[row] not in repaired]
        total = len(missing) + sum(block.count for block in repairs)
        check_room(self._entry.folder, total * self._entry.row_bytes)
        computed = 0
        with self._log.progress(f"features ({self._network.name})", total) as done:
            for block in repairs:
                rows = np.array([row_of[digest] for digest in block.images()])
                computed += self._block(rows, block.images(), done, instead_of=block)
            first = 0
            while first < len(missing):
                rows = np.array(missing[first : first + self._block_rows()])
                computed += self._block(rows, [digests[row] for row in rows], done)
                first += len(rows)
        return computed

    def _block_rows(self) -> int:
        rows = int(self._rows_a_second * _BLOCK_SECONDS) or _FIRST_BLOCK_ROWS
        return max(1, min(rows, BLOCK_BYTES // (4 * self._network.feature_dim)))

    def _block(
        self, rows: np.ndarray, digests: list[bytes], done: Advance, *, instead_of: RowBlock | None = None
    ) -> int:
        """Computes and stores one block; identical files go through the network once. Returns how many did."""
        started = time.monotonic()
        out = np.empty((len(rows), self._network.feature_dim), np.float32)
        first_row: dict[bytes, int] = {}
        for row, digest in enumerate(digests):
            if digest not in self._stored:
                first_row.setdefault(digest, row)
        once = np.array(sorted(first_row.values()), np.int64)
        if len(once):
            if self._engine is None:
                self._engine = self._choice.open()
                started = time.monotonic()
            largest = 3 * self._network.image_size**2
            extract(self._engine, self._decode, largest, rows[once], out, once, done)
        for row, digest in enumerate(digests):
            if digest not in first_row:
                out[row] = self._entry.array(np.array([self._stored[digest]]))[0]
            elif first_row[digest] != row:
                out[row] = out[first_row[digest]]
        done(len(rows) - len(once))
        computed = time.monotonic()
        block = self._entry.add(b"".join(digests), self._checked(out), instead_of=instead_of)
        self._stored.update(zip(digests, range(block.first, block.first + block.count), strict=True))
        stored = time.monotonic()
        seconds = {"network": computed - started, "storage": stored - computed}
        self._log.event("features_block", images=len(once), stored=block.count, seconds=seconds)
        self._rows_a_second = len(once) / max(stored - started, 1e-3)
        return len(once)

    def _checked(self, features: np.ndarray) -> np.ndarray:
        """The features in the type they are cached in. Raises ModelError where they would not survive that."""
        if not np.isfinite(features).all():
            raise ModelError(f"{self._network.name} gives features that are not numbers", do="check its weights")
        if features.dtype == self._entry.dtype:
            return features
        with np.errstate(over="ignore"):
            rounded = features.astype(self._entry.dtype)
            lost = np.linalg.norm(rounded - features, axis=1) > _ROUNDING * np.linalg.norm(features, axis=1)
        if lost.any():
            raise ModelError(
                f"{self._network.name} gives features too large or too small for half precision",
                do="use feature_precision: float32",
            )
        return rounded
