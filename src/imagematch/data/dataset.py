"""The data set: checked images with labels and splits, ready to be decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.data.boxes import check_digest
from imagematch.data.decoding import decode
from imagematch.data.faces import FaceCropper
from imagematch.data.manifest import distrust
from imagematch.data.stratified import SPLITS
from imagematch.data.value_ranges import ValueRange
from imagematch.errors import DataError
from imagematch.files import digest_bytes
from imagematch.framing import SQUASHED, Framing
from imagematch.image_files import read_bytes
from imagematch.sources import Box, ImageRow, Source


@dataclass(frozen=True)
class Quarantined:
    """An image that is left out because it cannot be used."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """The pairs of near duplicates among the images of a data set; byte-identical files are not among them.

    Attributes:
        pairs: (n, 2) int64 rows, the smaller first, sorted.
        not_compared: images that are too plain, or too many with one hash, to be compared.
        complete: False where there were too many candidates to look at all.
    """

    pairs: np.ndarray
    not_compared: int
    complete: bool

    def of_one_label(self, rows: Sequence[ImageRow]) -> list[tuple[int, int]]:
        """The pairs within one class; the others are labelling mistakes, or look alike without being copies."""
        return [(one, other) for one, other in self.pairs.tolist() if rows[one].label == rows[other].label]

    def in_training(self, splits: np.ndarray) -> dict[str, int]:
        """Split -> how many of its images have a near duplicate in the training split, by the split of each image."""
        one, other = splits[self.pairs[:, 0]], splits[self.pairs[:, 1]]
        found = {}
        for split in SPLITS[1:]:
            first = self.pairs[(one == split) & (other == "train"), 0]
            second = self.pairs[(other == split) & (one == "train"), 1]
            found[split] = len(np.unique(np.concatenate([first, second])))
        return found

    def take(self, rows: np.ndarray) -> NearDuplicates:
        """The pairs among some of the images, by their number among these (sorted)."""
        inside = np.isin(self.pairs, rows).all(axis=1)
        return NearDuplicates(np.searchsorted(rows, self.pairs[inside]), self.not_compared, self.complete)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images with their splits. Rows are sorted by path; row i is the same image in every array.

    Attributes:
        name: of the source, as "folder".
        class_names: (classes,) labels, sorted.
        paths: (n,) object, unique ids, str: POSIX, relative to `root` for files.
        labels: (n,) int32, index into `class_names`.
        splits: (n,) str, each of SPLITS.
        digests: (n,) str, of the content; what depends on pixels alone is keyed by it.
        widths: (n,) int32, of the upright image, pixels.
        heights: (n,) int32.
        modes: (n,) str, Pillow's mode of the file.
        quarantined: images left out because they cannot be used.
        split_by: how the splits were made.
        root: folder of the files; None where the images are embedded.
        titles: (classes,) readable class names; those of `class_names` where there are no others.
        superclasses: (classes,) classes of one stay together by class, "" is one of its own; empty where all are.
        groups: (n,) int64, images of one number stand on one side of every split; None: byte-identical ones do.
        source: reads the images; None reads `root / path`.
        files: what the source reads, where that is not the path.
        boxes: the part of a file that is the image, where that is not all of it.
        angles: degrees that each box leans clockwise, where some do.
        face_cropper: how faces are cut out; None where they are not. What it cut is in boxes and angles.
        manifest: where what is known of the files is cached; None where that is nowhere.
        value_range: what grey of more than 8 bits is scaled by; None for 0 to 65,535.
        near_duplicates: the pairs of near duplicates among the images; None where none were looked for.
        near_training: split -> how many of its images have a near duplicate in training; empty likewise.
    """

    name: str
    class_names: tuple[str, ...]
    paths: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    digests: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    modes: np.ndarray
    quarantined: tuple[Quarantined, ...] = ()
    split_by: str = "image"
    root: Path | None = None
    titles: tuple[str, ...] = ()
    superclasses: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    source: Source | None = None
    files: tuple[str, ...] | None = None
    boxes: tuple[Box | None, ...] | None = None
    angles: tuple[float, ...] | None = None
    face_cropper: FaceCropper | None = None
    manifest: Path | None = None
    value_range: ValueRange | None = None
    near_duplicates: NearDuplicates | None = None
    near_training: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """Digest of paths, labels, splits and contents."""
        names = [self.class_names[label] for label in self.labels]
        columns = (self.paths.tolist(), names, self.splits.tolist(), self.digests.tolist())
        text = "\0".join("\n".join(column) for column in columns)
        return digest_bytes(text.encode(errors="surrogateescape"))

    def rows(self, split: str) -> np.ndarray:
        """(m,) int64, sorted: the images of a split. Raises ValueError where no split has this name."""
        if split not in SPLITS:
            raise ValueError(f"no split is called {split!r}: known are {', '.join(SPLITS)}")
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def read(self, row: int) -> bytes:
        """The bytes of the file that image `row` is in. Raises DataError naming it where it cannot be read."""
        file = self._file(row)
        if self.source is not None:
            return self.source.read(file)
        if self.root is None:
            raise DataError("has neither a file nor a source", where=file)
        return read_bytes(self.root / file)

    def _file(self, row: int) -> str:
        return self.files[row] if self.files is not None else str(self.paths[row])

    def pixels(self, row: int, max_size: int | None = None, framing: Framing = SQUASHED) -> np.ndarray:
        """(height, width, 3) uint8: image `row`, each side longer than `max_size` shrunk to it; see `decode`.

        Raises:
            DataError: the file has gone or has changed since the manifest was made; names it. The next run looks at it
                again.
        """
        box = None if self.boxes is None else self.boxes[row]
        angle = 0.0 if self.angles is None else self.angles[row]
        try:
            data = self.read(row)
            check_digest(data, str(self.digests[row]), box, angle, self.value_range)
            return decode(
                data, max_size, box=box, angle=angle, value_range=self.value_range, max_pixels=None, framing=framing
            )
        except DataError as error:
            distrust(self.manifest, self._file(row))
            where = error.where or str(self.paths[row])
            raise DataError(error.what, where=where, do=error.do or "run again: it has changed meanwhile") from error

    def remarks(self, split: str) -> list[str]:
        """Warnings that a reader of a split's metrics needs."""
        count = self.near_training.get(split, 0)
        if not count:
            return []
        share = count / max(1, len(self.rows(split)))
        return [
            f"{count:,} {split} images ({share:.0%}) have a near duplicate in training: the metrics flatter. Frames of "
            "one sitting belong in one split: give a column or folder level of groups"
        ]

    def summary(self) -> dict[str, Any]:
        """Counts, as JSON: images, classes, quarantined, and images and classes of each split."""
        splits = {}
        for split in SPLITS:
            labels = self.labels[self.splits == split]
            splits[split] = {"images": len(labels), "classes": len(np.unique(labels))}
        return {
            "dataset": self.name,
            "root": None if self.root is None else str(self.root),
            "images": len(self),
            "classes": len(self.class_names),
            "quarantined": len(self.quarantined),
            "split_by": self.split_by,
            "splits": splits,
        }
