"""Opens a data set: lists it, checks every file once, finds the faces, leaves out what cannot be used, splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.data.boxes import decoded_digest
from imagematch.data.dataset import Dataset, Quarantined
from imagematch.data.faces import Face, FaceCropper, crop_faces, faces_path, read_faces
from imagematch.data.manifest import Fact, manifest_path, read_manifest, refuse_corrupt
from imagematch.data.sources import Entry, Listing, Source, open_source
from imagematch.data.splits import LEFT_OUT, Images, split_images
from imagematch.data.value_ranges import ValueRange, describe_range, set_range
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog

if TYPE_CHECKING:
    from imagematch.config import TrainSettings

NO_FACE = "no face found in it"


@dataclass(frozen=True)
class Survey:
    """What is known of a data set's images before any is left out for what was found.

    Attributes:
        settings: what the data set was listed by.
        source: reads the images.
        listing: every image of the source.
        rows: the images of the classes that the settings ask for, each with what is known of its file.
        cropper: how images are cropped to faces; None where they are not.
        faces: digest of an image's content -> its face, None where there is none; of those that were searched.
        manifest: where what is known of the files is kept; None where the images are embedded.
    """

    settings: TrainSettings
    source: Source
    listing: Listing
    rows: tuple[tuple[Entry, Fact], ...]
    cropper: FaceCropper | None = None
    faces: Mapping[str, Face | None] = field(default_factory=dict)
    manifest: Path | None = None

    @property
    def faceless(self) -> list[tuple[Entry, Fact]]:
        """The images in which no face was found."""
        return [(entry, fact) for entry, fact in self.rows if self.faces.get(fact.digest, True) is None]

    @property
    def value_range(self) -> ValueRange | None:
        """What grey of more than 8 bits is scaled by in all images; None for 0 to 65,535."""
        return set_range(self.settings.value_range, *self._values)

    @property
    def range_note(self) -> str:
        """How such grey is scaled, where that is to be noticed; else ""."""
        modes, _, highs = self._values
        return describe_range(self.value_range, modes, highs)

    @property
    def _values(self) -> tuple[list[str], list[float], list[float]]:
        """Mode, lowest and highest value of each readable image."""
        facts = [fact for _, fact in self.rows if not fact.reason]
        return [fact.mode for fact in facts], [fact.low for fact in facts], [fact.high for fact in facts]


def open_dataset(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Dataset:
    """Opens the data set that the settings name: listed, checked (files that changed are read again) and split.

    Args:
        settings: dataset, data_dir, split, split_by, calibration_share, min_images_per_class, max_classes,
            the face fields and seed are what counts.
        manifest_dir: where manifests, and the faces that were found, are kept.
        log: hears of progress, corrupt images and what is left out.

    Raises:
        DataError: the folder is not there or empty, there are too few images or classes, too many corrupt images, an
            image without a face where that is an error, or a split would lack pairs.
        StudyError: the manifest cannot be written.
    """
    return assemble(survey(settings, manifest_dir=manifest_dir, log=log), log)


def survey(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Survey:
    """Lists the images, reads the files that are new or have changed, and finds the faces where they are cut out.

    Raises:
        DataError: the folder is not there or empty, or there are too few images or classes.
        StudyError: the manifest cannot be written.
    """
    source = open_source(settings.dataset, settings.data_dir, settings.split_by)
    listing = source.listing()
    for note in listing.notes:
        log.event("data_note", note)
    classes = _frequent_classes(listing.entries, settings, log)
    listed = [entry for entry in listing.entries if entry.label in classes]
    max_pixels = settings.max_megapixels * 1_000_000
    facts = read_manifest(settings.dataset, source, listed, manifest_dir, log, max_pixels)
    rows = tuple(zip(listed, facts, strict=True))
    manifest = None if source.root is None else manifest_path(settings.dataset, source.root, manifest_dir)
    cropper = FaceCropper.of(settings)
    if cropper is None:
        return Survey(settings, source, listing, rows, manifest=manifest)
    searched = [(entry, fact) for entry, fact in rows if not fact.reason and entry.box is None]
    kept = faces_path(settings.dataset, source.root, manifest_dir, cropper)
    faces = read_faces(kept, source, searched, cropper, log=log)
    return Survey(settings, source, listing, rows, cropper, faces, manifest)


def assemble(surveyed: Survey, log: RunLog = SILENT) -> Dataset:
    """The data set of what was surveyed: the usable images, split. Raises DataError as `open_dataset` does."""
    settings = surveyed.settings
    refuse_corrupt(surveyed.source, [entry for entry, _ in surveyed.rows], [fact for _, fact in surveyed.rows])
    if surveyed.range_note:
        log.event("value_range", surveyed.range_note)
    usable, without = _crop(surveyed, [(entry, fact) for entry, fact in surveyed.rows if not fact.reason], log)
    classes = _large_classes([entry for entry, _ in usable], settings, log)
    rows = sorted(((e, fact) for e, fact in usable if e.label in classes), key=lambda row: row[0].path)
    splits = _splits(rows, settings)
    if left_out := int(np.count_nonzero(splits == LEFT_OUT)):
        log.event("copies_left_out", f"{left_out:,} images left out: another split has a byte-identical one")
    placed = [(*row, str(split)) for row, split in zip(rows, splits, strict=True) if split != LEFT_OUT]
    quarantined = [Quarantined(entry.path, fact.reason) for entry, fact in surveyed.rows if fact.reason]
    quarantined += [Quarantined(entry.path, NO_FACE) for entry, _ in without]
    return _dataset(surveyed, placed, tuple(sorted(quarantined, key=lambda image: image.path)))


def _crop(
    surveyed: Survey, rows: Sequence[tuple[Entry, Fact]], log: RunLog
) -> tuple[list[tuple[Entry, Fact]], list[tuple[Entry, Fact]]]:
    """The images as they are used, and those left out because they have no face."""
    cropper, faces = surveyed.cropper, surveyed.faces
    if cropper is None:
        return list(rows), []
    without = surveyed.faceless
    searched = sum(fact.digest in faces for _, fact in rows)
    if without:
        what = {"whole": "taken whole", "skip": "left out", "error": "refused"}[cropper.missing]
        message = f"no face found in {len(without):,} of {searched:,} images: {what} (face_missing)"
        log.event("faces", message, searched=searched, missing=len(without))
    if without and cropper.missing == "error":
        raise DataError(
            f"no face found in {len(without):,} of {searched:,} images, the first is {without[0][0].path}",
            where=str(surveyed.source.root or ""),
            do="remove them, or give face_missing: whole or skip",
        )
    return crop_faces(rows, faces, cropper)


def _frequent_classes(entries: Sequence[Entry], settings: TrainSettings, log: RunLog) -> set[str]:
    """The `max_classes` most frequent of the large enough classes; of equally frequent ones the first by name."""
    classes = _large_classes(entries, settings, log)
    if settings.max_classes is None or len(classes) <= settings.max_classes:
        return classes
    sizes = Counter(entry.label for entry in entries if entry.label in classes)
    log.event("classes_left_out", f"{settings.max_classes:,} most frequent of {len(classes):,} classes are used")
    return set(sorted(sizes, key=lambda label: (-sizes[label], label))[: settings.max_classes])


def _large_classes(entries: Sequence[Entry], settings: TrainSettings, log: RunLog) -> set[str]:
    smallest, where = settings.min_images_per_class, str(settings.data_dir or settings.dataset)
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
    surveyed: Survey, rows: Sequence[tuple[Entry, Fact, str]], quarantined: tuple[Quarantined, ...]
) -> Dataset:
    settings, source, titles = surveyed.settings, surveyed.source, surveyed.listing.titles
    chosen = surveyed.value_range
    entries = [entry for entry, _, _ in rows]
    class_names = tuple(sorted({entry.label for entry in entries}))
    index = {label: number for number, label in enumerate(class_names)}
    groups = {entry.label: entry.group for entry in entries if entry.group}
    return Dataset(
        name=settings.dataset,
        class_names=class_names,
        paths=np.array([entry.path for entry in entries]),
        labels=np.array([index[entry.label] for entry in entries], np.int32),
        splits=np.array([split for _, _, split in rows]),
        digests=np.array([decoded_digest(fact.digest, fact.mode, chosen) for _, fact, _ in rows]),
        widths=np.array([fact.width for _, fact, _ in rows], np.int32),
        heights=np.array([fact.height for _, fact, _ in rows], np.int32),
        modes=np.array([fact.mode for _, fact, _ in rows]),
        quarantined=quarantined,
        split_by=settings.split_by,
        root=source.root,
        titles=tuple(titles.get(label, label) for label in class_names),
        groups=tuple(groups.get(label, "") for label in class_names) if groups else (),
        source=source,
        files=tuple(entry.file or entry.path for entry in entries) if any(e.file for e in entries) else None,
        boxes=tuple(entry.box for entry in entries) if any(e.box for e in entries) else None,
        angles=tuple(entry.angle for entry in entries) if any(e.angle for e in entries) else None,
        face_cropper=surveyed.cropper,
        manifest=surveyed.manifest,
        value_range=chosen,
    )
