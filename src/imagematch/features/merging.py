"""Puts the features of one store into another, as several machines computed them apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.disk_space import check_room
from imagematch.errors import StudyError
from imagematch.features.entry import FeatureEntry, read_facts
from imagematch.features.maintenance import store_entries
from imagematch.features.store import lock_path
from imagematch.file_locks import locked


@dataclass(frozen=True)
class Merged:
    """What became of a store's features.

    Attributes:
        images: copied.
        known: left out, for the target had them.
        damaged: left out, for they are not what was written; they are computed again when they are needed.
    """

    images: int = 0
    known: int = 0
    damaged: int = 0


def merge_features(source: Path, target: Path) -> Merged:
    """Copies the features that `target` lacks, block by block; what a kill cut off is copied by the next call.

    Every block is compared with its checksum before. The stores may be of other machines: features are found by the
    content of image and network.

    Raises:
        StudyError: there are no features in `source`, or `target` cannot be written.
    """
    entries = [entry for entry in store_entries(source) if read_facts(entry.folder) is not None]
    if not entries:
        raise StudyError("no features are there", where=str(source), do="name a store: the feature_dir of a shard")
    total = Merged()
    for entry in entries:
        one = _merge_entry(entry, FeatureEntry(target / entry.folder.name, entry.facts))
        total = Merged(total.images + one.images, total.known + one.known, total.damaged + one.damaged)
    return total


def _merge_entry(source: FeatureEntry, target: FeatureEntry) -> Merged:
    images = known = damaged = 0
    with locked(lock_path(target.folder)):
        target.prepare()
        there = {digest for block in target.blocks() for digest in block.images()}
        blocks = source.blocks()
        check_room(target.folder, sum(len({*block.images()} - there) for block in blocks) * source.row_bytes)
        for block in blocks:
            if source.damaged([block]):
                damaged += block.count
                continue
            digests = block.images()
            missing = [number for number, digest in enumerate(digests) if digest not in there]
            known += block.count - len(missing)
            if not missing:
                continue
            rows = np.arange(block.first, block.first + block.count)
            new = [digests[number] for number in missing]
            target.add(b"".join(new), np.asarray(source.array(rows))[missing])
            there.update(new)
            images += len(missing)
    return Merged(images, known, damaged)
