"""Builds a data set: lists it, checks every file once, finds the faces, leaves out what cannot be used, splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.data.boxes import decoded_digest
from imagematch.data.corrections import corrected, read_corrections
from imagematch.data.dataset import Dataset, NearDuplicates, Quarantined
from imagematch.data.faces import Face, FaceCropper, crop_faces, faces_path, read_faces
from imagematch.data.manifest import (
    manifest_path,
    read_manifest,
    read_splits,
    refuse_corrupt,
    save_splits,
    splits_path,
)
from imagematch.data.near_duplicates import find_near_duplicates
from imagematch.data.splits import Pairs, SplitRules, first_possible_split
from imagematch.data.stratified import LEFT_OUT, together
from imagematch.data.value_ranges import ValueRange, describe_range, set_range
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog
from imagematch.file_locks import locked
from imagematch.sources import ImageRow, Listing, Source, SourceOptions, composed, listing_notes, open_source

if TYPE_CHECKING:
    from imagematch.config import TrainSettings

NO_FACE = "no face found in it"
_MOST_COMPARED = 200_000
_SPLIT_KEYS = (
    *("split", "split_by", "calibration_share", "seed", "min_images_per_class", "max_classes"),
    *("face_crop", "face_missing", "layout", "near_duplicates"),
)
"""Keys that change which images there are, or how they are split: splits of other values have nothing in common."""


@dataclass(frozen=True)
class Scan:
    """A data set's images with everything known about them, before unusable ones are left out.

    Attributes:
        settings: what the data set was listed by.
        source: reads the images.
        listing: every image of the source.
        rows: the images of the classes that the settings ask for, with what is known of their files.
        cropper: how images are cropped to faces; None where they are not.
        faces: digest of an image's content -> its face, None where there is none; of those that were searched.
        manifest: where what is known of the files is cached; None where the images are embedded.
    """

    settings: TrainSettings
    source: Source
    listing: Listing
    rows: tuple[ImageRow, ...]
    cropper: FaceCropper | None = None
    faces: Mapping[str, Face | None] = field(default_factory=dict)
    manifest: Path | None = None

    @property
    def usable(self) -> list[ImageRow]:
        """The images that can be read."""
        return [row for row in self.rows if not row.reason]

    @property
    def faceless(self) -> list[ImageRow]:
        """The images in which no face was found."""
        return [row for row in self.rows if self.faces.get(row.digest, True) is None]

    @property
    def value_range(self) -> ValueRange | None:
        """The value range that deep grey images are scaled by; None for 0 to 65,535."""
        return set_range(self.settings.value_range, *self._values)

    @property
    def range_note(self) -> str:
        """How deep grey values are scaled, where users should know; else ""."""
        modes, _, highs = self._values
        return describe_range(self.value_range, modes, highs)

    @property
    def _values(self) -> tuple[list[str], list[float], list[float]]:
        """Mode, lowest and highest value of each readable image."""
        rows = self.usable
        return [row.mode for row in rows], [row.low for row in rows], [row.high for row in rows]


def open_dataset(settings: TrainSettings, *, manifest_dir: Path, whole: bool = False, log: RunLog = SILENT) -> Dataset:
    """Opens the data set that the settings name: listed, checked (files that changed are read again) and split.

    Images that were split before by the same keys stay where they were; only new ones are assigned.

    Args:
        settings: dataset, data_dir, split, split_by, calibration_share, min_images_per_class, max_classes,
            the face fields and seed are what counts.
        manifest_dir: where manifests, splits, and the faces that were found, are cached.
        whole: all images are test images, whatever the source says of splits.
        log: gets progress, corrupt images and what is left out.

    Raises:
        DataError: the folder is not there or empty, there are too few images or classes, too many corrupt images, an
            image without a face where that is an error, or a split would lack pairs.
        StudyError: the manifest cannot be written.
    """
    return build_dataset(scan_images(settings, manifest_dir=manifest_dir, log=log), whole=whole, log=log)


def scan_images(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Scan:
    """Lists the images, reads the files that are new or have changed, and finds the faces where they are cut out.

    Raises:
        DataError: the folder is not there or empty, or there are too few images or classes.
        StudyError: the manifest cannot be written.
    """
    options = SourceOptions(settings.split_by, settings.layout, settings.missing_files)
    source = open_source(settings.dataset, settings.data_dir, options)
    listing = composed(source.listing())
    for note in listing_notes(listing, settings.split_by):
        log.event("data_note", note)
    source.check_files(listing.rows)
    answers = None if settings.corrections is None else read_corrections(settings.corrections)
    listed = listing.rows if answers else _of_frequent_classes(listing.rows, settings, log)
    rows = read_manifest(settings.dataset, source, listed, manifest_dir, log, settings.max_megapixels * 1_000_000)
    if answers:
        rows = _of_frequent_classes(corrected(rows, answers, log), settings, log)
    manifest = manifest_path(settings.dataset, source.root, manifest_dir)
    cropper = FaceCropper.of(settings)
    if cropper is None:
        return Scan(settings, source, listing, tuple(rows), manifest=manifest)
    searched = [row for row in rows if not row.reason and row.box is None]
    cache = faces_path(settings.dataset, source.root, manifest_dir, cropper)
    faces = read_faces(cache, source, searched, cropper, log=log)
    return Scan(settings, source, listing, tuple(rows), cropper, faces, manifest)


def build_dataset(scan: Scan, *, whole: bool = False, log: RunLog = SILENT) -> Dataset:
    """The data set of a scan: the usable images, split. Raises DataError as `open_dataset` does."""
    settings = scan.settings
    refuse_corrupt(scan.source, scan.rows)
    if note := scan.range_note:
        log.event("value_range", note)
    if several := [row.path for row in scan.usable if row.more_frames]:
        text = f"images with more pages or frames, of each the first is used: {len(several):,}, such as {several[0]}"
        log.event("more_frames", text, count=len(several))
    usable, without = _crop(scan, log)
    classes = _large_classes(usable, settings, log)
    rows = sorted((row for row in usable if row.label in classes), key=lambda row: row.path)
    near = None if whole else _near_duplicates(scan, rows, log)
    splits, kept_together = (np.full(len(rows), "test"), []) if whole else _splits(scan, rows, near, log)
    if left_out := int(np.count_nonzero(splits == LEFT_OUT)):
        log.event(
            "copies_left_out",
            f"{left_out:,} images left out: another split has a copy, byte by byte or nearly",
        )
    placed = [row._replace(split=str(split)) for row, split in zip(rows, splits, strict=True) if split != LEFT_OUT]
    quarantined = [Quarantined(row.path, row.reason) for row in scan.rows if row.reason]
    quarantined += [Quarantined(row.path, NO_FACE) for row in without]
    dataset = _dataset(scan, placed, tuple(sorted(quarantined, key=lambda image: image.path)))
    used = np.flatnonzero(splits != LEFT_OUT)
    if kept_together or any(row.group for row in rows):
        dataset = replace(dataset, groups=np.array(together(rows, kept_together))[used])
    if near is not None:
        dataset = replace(dataset, near_duplicates=near.take(used), near_training=near.in_training(splits))
    for remark in dataset.remarks("test"):
        log.event("near_duplicates", remark, level="warning")
    return dataset


def _near_duplicates(scan: Scan, rows: Sequence[ImageRow], log: RunLog) -> NearDuplicates | None:
    """Near duplicates among the images that are files; None where the settings do not look for them."""
    if scan.manifest is None or not rows:
        return None
    if len(rows) > _MOST_COMPARED:
        log.event(
            "not_compared",
            f"near duplicates are not looked for among more than {_MOST_COMPARED:,} images",
            level="warning",
        )
        return None
    return find_near_duplicates(_dataset(scan, rows, ()), scan.manifest.with_suffix(".looks.npz"), log)


def _crop(scan: Scan, log: RunLog) -> tuple[list[ImageRow], list[ImageRow]]:
    """The images as they are used, and those left out because they have no face."""
    cropper, rows = scan.cropper, scan.usable
    if cropper is None:
        return rows, []
    without = scan.faceless
    searched = sum(row.digest in scan.faces for row in rows)
    if without:
        what = {"whole": "taken whole", "skip": "left out", "error": "refused"}[cropper.missing]
        message = f"no face found in {len(without):,} of {searched:,} images: {what} (face_missing)"
        log.event("faces", message, searched=searched, missing=len(without), level="warning")
    if without and cropper.missing == "error":
        raise DataError(
            f"no face found in {len(without):,} of {searched:,} images, the first is {without[0].path}",
            where=str(scan.source.root or ""),
            do="remove them, or give face_missing: whole or skip",
        )
    return crop_faces(rows, scan.faces, cropper)


def _of_frequent_classes(rows: Sequence[ImageRow], settings: TrainSettings, log: RunLog) -> list[ImageRow]:
    """The images of the `max_classes` most frequent of the large enough classes; of equals the first by name."""
    classes = _large_classes(rows, settings, log)
    if settings.max_classes is not None and len(classes) > settings.max_classes:
        sizes = Counter(row.label for row in rows if row.label in classes)
        log.event(
            "classes_left_out",
            f"{settings.max_classes:,} most frequent of {len(classes):,} classes are used",
            level="warning",
        )
        classes = set(sorted(sizes, key=lambda label: (-sizes[label], label))[: settings.max_classes])
    return [row for row in rows if row.label in classes]


def _large_classes(rows: Sequence[ImageRow], settings: TrainSettings, log: RunLog) -> set[str]:
    smallest, where = settings.min_images_per_class, str(settings.data_dir or settings.dataset)
    sizes = Counter(row.label for row in rows)
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
        log.event("classes_left_out", message, classes=few, images=images, level="warning")
    return classes


def _splits(scan: Scan, rows: Sequence[ImageRow], near: NearDuplicates | None, log: RunLog) -> tuple[np.ndarray, Pairs]:
    """The split of every row, and the near duplicates that stay together.

    Rows that were split by the same keys before stay, and all splits are saved for the next time.
    """
    settings = scan.settings
    alike: Pairs = [] if near is None or settings.near_duplicates == "as_is" else near.of_one_label(rows)
    rules = SplitRules(settings.split, settings.split_by, settings.calibration_share, settings.seed)
    keys = {**{key: getattr(settings, key) for key in _SPLIT_KEYS}, "split": list(settings.split)}
    path = None if scan.manifest is None else splits_path(scan.manifest, keys)
    with nullcontext() if path is None else locked(path.with_suffix(".lock")):
        before = {} if path is None else read_splits(path, keys, log)
        attempts = [(before, alike), ({}, alike), (before, []), ({}, [])]
        splits, alike = first_possible_split(rows, rules, attempts, log)
        found = {row.digest: str(split) for row, split in zip(rows, splits, strict=True) if split != LEFT_OUT}
        if path is not None and before != (now := {**before, **found}):
            save_splits(path, keys, now)
    return splits, alike


def _dataset(scan: Scan, rows: Sequence[ImageRow], quarantined: tuple[Quarantined, ...]) -> Dataset:
    titles, chosen = scan.listing.titles, scan.value_range
    class_names = tuple(sorted({row.label for row in rows}))
    index = {label: number for number, label in enumerate(class_names)}
    superclasses = {row.label: row.superclass for row in rows if row.superclass}

    def column(name: str, dtype: Any = None) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], dtype)

    return Dataset(
        name=scan.settings.dataset,
        class_names=class_names,
        paths=column("path", object),  # of fixed width all would be as long as the longest
        labels=np.array([index[row.label] for row in rows], np.int32),
        splits=column("split"),
        digests=np.array([decoded_digest(row.digest, row.mode, chosen) for row in rows]),
        widths=column("width", np.int32),
        heights=column("height", np.int32),
        modes=column("mode"),
        quarantined=quarantined,
        split_by=scan.settings.split_by,
        root=scan.source.root,
        titles=tuple(titles.get(label, label) for label in class_names),
        superclasses=tuple(superclasses.get(label, "") for label in class_names) if superclasses else (),
        source=scan.source,
        files=tuple(row.source_file for row in rows) if any(row.file for row in rows) else None,
        boxes=tuple(row.box for row in rows) if any(row.box for row in rows) else None,
        angles=tuple(row.angle for row in rows) if any(row.angle for row in rows) else None,
        face_cropper=scan.cropper,
        manifest=scan.manifest,
        value_range=chosen,
    )
