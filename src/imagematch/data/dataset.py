"""The data set: checked images with labels and splits, ready to be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.data.decoding import Box, decode, read_bytes
from imagematch.data.manifest import Fact, read_manifest
from imagematch.data.sources import Entry, Listing, Source, open_source
from imagematch.data.splits import LEFT_OUT, SPLITS, Images, split_images
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog
from imagematch.files import digest_bytes

if TYPE_CHECKING:
    from imagematch.config import TrainSettings


@dataclass(frozen=True)
class Quarantined:
    """An image that is left out because it cannot be used."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images with their splits. Rows are sorted by path; row i is the same image in every array.

    Attributes:
        name: of the source, as "folder".
        class_names: (classes,) labels, sorted.
        paths: (n,) str, unique ids: POSIX, relative to `root` for files.
        labels: (n,) int32, index into `class_names`.
        splits: (n,) str, each of SPLITS.
        digests: (n,) str, of the content; what depends on pixels alone is keyed by it.
        widths: (n,) int32, of the upright picture, pixels.
        heights: (n,) int32.
        modes: (n,) str, Pillow's mode of the file.
        quarantined: images left out because they cannot be used.
        split_by: how the splits were made.
        root: folder of the files; None where the images are embedded.
        titles: (classes,) readable class names; those of `class_names` where there are no others.
        source: reads the images; None reads `root / path`.
        files: what the source reads, where that is not the path.
        boxes: the part of a file that is the image, where that is not all of it.
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
    source: Source | None = None
    files: tuple[str, ...] | None = None
    boxes: tuple[Box | None, ...] | None = None

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
        file = self.files[row] if self.files is not None else str(self.paths[row])
        if self.source is not None:
            return self.source.read(file)
        if self.root is None:
            raise DataError("has neither a file nor a source", where=file)
        return read_bytes(self.root / file)

    def picture(self, row: int, max_size: int | None = None) -> np.ndarray:
        """(height, width, 3) uint8: image `row`, each side longer than `max_size` shrunk to it; see `decode`.

        Raises:
            DataError: the file has gone or has changed since the manifest was made; names it.
        """
        try:
            box = None if self.boxes is None else self.boxes[row]
            return decode(self.read(row), max_size, box=box)
        except DataError as error:
            where = error.where or str(self.paths[row])
            raise DataError(error.what, where=where, do=error.do or "run again: it has changed meanwhile") from error

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


def open_dataset(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Dataset:
    """Opens the data set that the settings name: listed, checked (files that changed are read again) and split.

    Args:
        settings: dataset, resolved_data_dir, split, split_by, calibration_share, min_images_per_class, max_classes and
            seed are what counts.
        manifest_dir: where manifests are kept.
        log: hears of progress, corrupt images and what is left out.

    Raises:
        DataError: the folder is not there or empty, there are too few images or classes, too many corrupt images, or a
            split would lack pairs.
        StudyError: the manifest cannot be written.
    """
    source = open_source(settings.dataset, settings.resolved_data_dir, settings.split_by)
    listing = source.listing()
    for note in listing.notes:
        log.event("data_note", note)
    listed = _of_classes(listing.entries, _frequent_classes(listing.entries, settings, log))
    manifest = list(zip(listed, read_manifest(settings.dataset, source, listed, manifest_dir, log), strict=True))
    intact = [(entry, fact) for entry, fact in manifest if not fact.reason]
    classes = _large_classes([entry for entry, _ in intact], settings, log)
    rows = sorted(((e, fact) for e, fact in intact if e.label in classes), key=lambda row: row[0].path)
    splits = _splits(rows, settings)
    if left_out := int(np.count_nonzero(splits == LEFT_OUT)):
        log.event("copies_left_out", f"{left_out:,} images left out: another split has a byte-identical one")
    placed = [(*row, str(split)) for row, split in zip(rows, splits, strict=True) if split != LEFT_OUT]
    quarantined = tuple(Quarantined(entry.path, fact.reason) for entry, fact in manifest if fact.reason)
    return _dataset(settings, source, listing, placed, quarantined)


def _of_classes(entries: Sequence[Entry], classes: Collection[str]) -> list[Entry]:
    return [entry for entry in entries if entry.label in classes]


def _frequent_classes(entries: Sequence[Entry], settings: TrainSettings, log: RunLog) -> set[str]:
    """The `max_classes` most frequent of the large enough classes; of equally frequent ones the first by name."""
    classes = _large_classes(entries, settings, log)
    if settings.max_classes is None or len(classes) <= settings.max_classes:
        return classes
    sizes = Counter(entry.label for entry in entries if entry.label in classes)
    log.event("classes_left_out", f"{settings.max_classes:,} most frequent of {len(classes):,} classes are used")
    return set(sorted(sizes, key=lambda label: (-sizes[label], label))[: settings.max_classes])


def _large_classes(entries: Sequence[Entry], settings: TrainSettings, log: RunLog) -> set[str]:
    smallest, where = settings.min_images_per_class, str(settings.resolved_data_dir or settings.dataset)
    sizes = Counter(entry.label for entry in entries)
    classes = {label for label, size in sizes.items() if size >= smallest}
    if not classes:
        raise DataError(
            f"every class has fewer than {smallest} images (min_images_per_class)", where=where, do="add images"
        )
    if len(classes) == 1:
        raise DataError(
            f"only one class ({min(classes)}) has {smallest} images or more",
            where=where,
            do="give at least two classes: there are no impostor pairs in one",
        )
    if few := len(sizes) - len(classes):
        images = sum(size for size in sizes.values() if size < smallest)
        message = f"{few:,} of {len(sizes):,} classes ({images:,} images) left out: fewer than {smallest} images each"
        log.event("classes_left_out", message, classes=few, images=images)
    return classes


def _splits(rows: Sequence[tuple[Entry, Fact]], settings: TrainSettings) -> np.ndarray:
    images = Images(
        paths=[entry.path for entry, _ in rows],
        labels=[entry.label for entry, _ in rows],
        digests=[fact.digest for _, fact in rows],
        groups=[entry.group for entry, _ in rows],
        given=[entry.split for entry, _ in rows],
    )
    return split_images(images, settings.split, settings.split_by, settings.calibration_share, settings.seed)


def _dataset(
    settings: TrainSettings,
    source: Source,
    listing: Listing,
    rows: Sequence[tuple[Entry, Fact, str]],
    quarantined: tuple[Quarantined, ...],
) -> Dataset:
    class_names = tuple(sorted({entry.label for entry, _, _ in rows}))
    index = {label: number for number, label in enumerate(class_names)}
    return Dataset(
        name=settings.dataset,
        class_names=class_names,
        paths=np.array([entry.path for entry, _, _ in rows]),
        labels=np.array([index[entry.label] for entry, _, _ in rows], np.int32),
        splits=np.array([split for _, _, split in rows]),
        digests=np.array([fact.digest for _, fact, _ in rows]),
        widths=np.array([fact.width for _, fact, _ in rows], np.int32),
        heights=np.array([fact.height for _, fact, _ in rows], np.int32),
        modes=np.array([fact.mode for _, fact, _ in rows]),
        quarantined=quarantined,
        split_by=settings.split_by,
        root=source.root,
        titles=tuple(listing.titles.get(label, label) for label in class_names),
        source=source,
        files=tuple(entry.file or entry.path for entry, _, _ in rows) if any(e.file for e, _, _ in rows) else None,
        boxes=tuple(entry.box for entry, _, _ in rows) if any(e.box for e, _, _ in rows) else None,
    )
