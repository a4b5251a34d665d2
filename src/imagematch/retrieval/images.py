"""The images of a folder or a table, or one alone: found, checked, labelled, embedded; what is unusable is named."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from imagematch.data import (
    MAX_MEGAPIXELS,
    NO_FACE,
    FaceCropper,
    Quarantined,
    Thumbnail,
    ValueRange,
    check_digest,
    crop_faces,
    decode,
    decoded_digest,
    distrust,
    faces_path,
    manifest_path,
    read_faces,
    read_manifest,
    thumbnail,
)
from imagematch.errors import ConfigError, DataError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.features import FeatureStore
from imagematch.framing import SQUASHED, Framing
from imagematch.image_files import read_bytes
from imagematch.matching import ImageMatcher
from imagematch.sources import (
    TABLE_SUFFIXES,
    Box,
    ImageRow,
    Source,
    SourceOptions,
    file_mode,
    image_files,
    open_source,
)

SPACES = ("embedding", "features")
"""embedding: what the matcher compares, of length 1. features: what its extractor alone gives, before the head."""

_T = TypeVar("_T")

_BLOCK = 1024
_NAMED = 3
_ROLES = {"query", "gallery"}


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The usable images of a folder or a table, sorted by path. The feature store takes it as a data set.

    Attributes:
        root: the folder; a table's own.
        paths: POSIX, relative to `root`; where a table names several boxes of one file, `#x,y,w,h` follows.
        digests: (n,) str, of the files' content.
        labels: each image's class: what the table says, or the folder it is in (train, val and test folders above it
            left out), in Unicode's composed form, since file systems differ in that; None where an image is in no
            folder.
        quarantined: images that cannot be used.
        boxes: the part of a file that is the image, as a face; None where that is all of it.
        angles: degrees that the box leans clockwise.
        files: of each image, relative to `root`; None where they are the paths.
        manifest: where what is known of the files is kept; None where that is nowhere.
        value_range: what grey of more than 8 bits is scaled by; None for 0 to 65,535.
    """

    root: Path
    paths: tuple[str, ...]
    digests: np.ndarray
    labels: tuple[str, ...] | None
    quarantined: tuple[Quarantined, ...] = ()
    boxes: tuple[Box | None, ...] | None = None
    angles: tuple[float, ...] | None = None
    files: tuple[str, ...] | None = None
    manifest: Path | None = None
    value_range: ValueRange | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, row: int, max_size: int | None = None, framing: Framing = SQUASHED) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`. Raises DataError where the file has gone or changed."""
        return self._decoded(row, lambda data, **how: decode(data, max_size, framing=framing, **how))

    def thumbnail(self, row: int, side: int) -> Thumbnail:
        """The same, shrunk in proportion until its longer side is at most `side`."""
        return self._decoded(row, lambda data, **how: thumbnail(data, side, **how))

    def _decoded(self, row: int, decoded: Callable[..., _T]) -> _T:
        box = None if self.boxes is None else self.boxes[row]
        angle = 0.0 if self.angles is None else self.angles[row]
        file = (self.files or self.paths)[row]
        try:
            data = read_bytes(self.root / file)
            check_digest(data, str(self.digests[row]), box, angle, self.value_range)
            return decoded(data, box=box, angle=angle, value_range=self.value_range, max_pixels=None)
        except DataError as error:
            distrust(self.manifest, file)
            where = error.where or str(self.root / file)
            raise DataError(error.what, where=where, do=error.do or "run again: it has changed meanwhile") from error

    def take(self, rows: Sequence[int]) -> ImageFolder:
        """These images alone."""
        return ImageFolder(
            self.root,
            tuple(self.paths[row] for row in rows),
            self.digests[list(rows)],
            _chosen(self.labels, rows),
            boxes=_chosen(self.boxes, rows),
            angles=_chosen(self.angles, rows),
            files=_chosen(self.files, rows),
            manifest=self.manifest,
            value_range=self.value_range,
        )


def list_images(
    place: Path,
    *,
    manifest_dir: Path,
    role: str = "",
    cropper: FaceCropper | None = None,
    value_range: ValueRange | None = None,
    max_pixels: int = MAX_MEGAPIXELS * 1_000_000,
    log: RunLog = SILENT,
) -> ImageFolder:
    """Finds and checks images; files known from an earlier time are not read again.

    Args:
        place: a folder, looked through to any depth (hidden files are left out), a table of `path`, and `label` where
            classes are known, or one image.
        manifest_dir: where manifests are kept, shared with training on the same images.
        role: "query" or "gallery": of a table that has such columns only the images that it marks so; of a folder
            that has nothing but folders query and gallery only what is in that one.
        cropper: cuts faces out, as the matcher's card has it; an image without one is left out unless it says "whole".
            A table's own boxes are kept.
        value_range: what grey of more than 8 bits is scaled by, as the matcher's card has it.
        max_pixels: larger images are left out.
        log: hears of each image that cannot be used, and of files that are no images by their names.

    Raises:
        DataError: there is no such place, or no usable image in it.
        StudyError: the manifest cannot be written.
    """
    name, source, listed = _listed(place, role, log)
    rows = read_manifest(name, source, listed, manifest_dir, log, max_pixels)
    unusable = [Quarantined(row.path, row.reason) for row in rows if row.reason]
    usable = [row for row in rows if not row.reason]
    if cropper is not None:
        kept = faces_path(name, source.root, manifest_dir, cropper)
        faces = read_faces(kept, source, [row for row in usable if row.box is None], cropper, log)
        usable, without = crop_faces(usable, faces, cropper)
        for row in without:
            log.event("no_face", f"left out: {row.path}: {NO_FACE}", path=row.path, level="warning")
        unusable += [Quarantined(row.path, NO_FACE) for row in without]
        unusable.sort(key=lambda image: image.path)
    if not usable:
        first = unusable[0]
        if len(rows) == 1 and place.name == first.path:
            raise DataError(first.reason, where=str(place), do="name an image, a folder of images, or a .csv of paths")
        raise DataError(f"none of its {len(rows):,} images can be used: {first.path}: {first.reason}", where=str(place))
    return ImageFolder(
        source.root or place,
        tuple(row.path for row in usable),
        np.array([decoded_digest(row.digest, row.mode, value_range) for row in usable]),
        _labels(usable),
        tuple(unusable),
        tuple(row.box for row in usable),
        tuple(row.angle for row in usable),
        tuple(row.source_file for row in usable),
        manifest_path(name, source.root, manifest_dir),
        value_range,
    )


def embed_images(
    matcher: ImageMatcher, images: ImageFolder, feature_dir: Path, *, space: str = "embedding", log: RunLog = SILENT
) -> tuple[np.ndarray, int]:
    """The vectors of images, (n, dim), and how many images went through the extractor for them.

    Raises:
        ConfigError: no such space.
        DataError: a file has gone or changed meanwhile.
        ModelError: the network cannot be run, or gives vectors that are not numbers.
    """
    if space not in SPACES:
        raise ConfigError(f"{space!r} is not one of {', '.join(SPACES)}", where="space")
    embedded = space == "embedding"
    features = matcher.cached_features(images, FeatureStore(feature_dir), mirrored=embedded, log=log)
    vectors = matcher.embed_cached(features) if embedded else np.asarray(features[0].array)
    computed = features[0].computed
    if not all(np.isfinite(vectors[start : start + _BLOCK]).all() for start in range(0, len(vectors), _BLOCK)):
        raise ModelError("gives vectors that are not numbers", where=matcher.card.name, do="train the model again")
    return vectors, computed


def common_labels(first: ImageFolder, second: ImageFolder) -> tuple[np.ndarray, np.ndarray] | None:
    """Both folders' labels as numbers of one list; None where one has none, or they share no class."""
    if first.labels is None or second.labels is None or not set(first.labels) & set(second.labels):
        return None
    number = {label: place for place, label in enumerate(sorted({*first.labels, *second.labels}))}
    return tuple(np.array([number[label] for label in one.labels or ()], np.int64) for one in (first, second))  # type: ignore[return-value]


def why_nothing_in_common(first: ImageFolder, second: ImageFolder) -> str:
    """Why `common_labels` gives none, in words."""
    for images in (first, second):
        if images.labels is None:
            outermost = min(images.paths, key=lambda path: path.count("/"))
            return f"not all images of {images.root} are in class folders, as {outermost}"
    named = " and ".join(f"{min(images.labels or ())} in {images.root}" for images in (first, second))
    return f"the two have no class in common (the first are {named})"


def _chosen(values: tuple[_T, ...] | None, rows: Sequence[int]) -> tuple[_T, ...] | None:
    return None if values is None else tuple(values[row] for row in rows)


def _listed(place: Path, role: str, log: RunLog) -> tuple[str, Source, Sequence[ImageRow]]:
    """The kind of source, the source, and its images; the label is "" of one that is in no class folder."""
    mode = file_mode(place)
    if stat.S_ISREG(mode) and place.suffix.lower() in TABLE_SUFFIXES:
        source = open_source("csv", place, SourceOptions(labelled=False))
        listing = source.listing()
        marked = role and any(row.role for row in listing.rows)
        entries = listing.of_role(role) if marked else listing.rows
        if not entries:
            raise DataError(f"marks no image as {role}", where=str(place), do=f"write yes in its column {role}")
        return "csv", source, entries
    if stat.S_ISREG(mode) and place.suffix.lower() not in TABLE_SUFFIXES:
        status = place.stat()
        return (
            "folder",
            open_source("folder", place.parent),
            [ImageRow(place.name, "", size=status.st_size, mtime_ns=status.st_mtime_ns)],
        )
    if not stat.S_ISDIR(mode):
        what = "is neither a folder nor a table" if mode else "no such folder"
        raise DataError(what, where=str(place), do="name a folder of images, or a .csv of paths")
    source = open_source("folder", place, SourceOptions(labelled=False))
    found = image_files(place)
    _tell_others(place, {file.path for file in found}, log)
    if not found:
        raise DataError("no images in it", where=str(place), do="name a folder of images")
    if role and {_top(file) for file in found} == _ROLES:
        own = [file for file in found if _top(file) == role]
        return "folder", source, [_entry(file, file.path.partition("/")[2].rpartition("/")[0]) for file in own]
    return "folder", source, source.listing().rows if any("/" in file.path for file in found) else found


def _top(file: ImageRow) -> str:
    """The outermost folder that an image is in, in lower case; of one in no folder its own name."""
    return file.path.partition("/")[0].lower()


def _entry(file: ImageRow, label: str) -> ImageRow:
    return file._replace(label=label)


def _labels(rows: Iterable[ImageRow]) -> tuple[str, ...] | None:
    labels = tuple(unicodedata.normalize("NFC", row.label) for row in rows)
    return labels if all(labels) else None


def _tell_others(folder: Path, images: set[str], log: RunLog) -> None:
    """Reports which files are left out because of their names, so that no photo vanishes in silence."""
    others: list[str] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        at = Path(here).relative_to(folder)
        paths = [(at / name).as_posix() for name in sorted(names) if not name.startswith(".")]
        others += [path for path in paths if path not in images]
    if others:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        named = ", ".join(others[:_NAMED]) + more
        log.event(
            "not_images", f"{folder}: not images by their names, left out: {named}", files=len(others), level="warning"
        )
