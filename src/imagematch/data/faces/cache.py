"""Caches the faces that were found, by the image's content, so that each image is searched once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagematch.data.boxes import check_digest, pixels_digest
from imagematch.data.decoding import DECODER_VERSION, thread_count
from imagematch.data.faces.cropping import FaceCropper
from imagematch.data.faces.detector import Face
from imagematch.data.manifest import distrust, manifest_path
from imagematch.data.table_cache import load_table, save_table
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.file_locks import locked
from imagematch.sources import ImageRow, Source

Faces = Mapping[str, Face | None]
"""Digest of an image's content -> its face; None where there is none."""

_VERSION = 1
_SAVE_EVERY_S = 60.0
_CHUNK = 64


def faces_path(name: str, root: Path | None, manifest_dir: Path, cropper: FaceCropper) -> Path | None:
    """Path of the cached faces of data set `name` at `root`, beside its manifest; None for embedded images."""
    manifest = manifest_path(name, root, manifest_dir)
    of_haar = "eyes" if cropper.align else "faces"
    kind = of_haar if cropper.detector == "haar" else cropper.detector
    return None if manifest is None else manifest.with_suffix(f".{kind}.jsonl")


def read_faces(path: Path | None, source: Source, rows: Sequence[ImageRow], cropper: FaceCropper, log: RunLog) -> Faces:
    """The face of every image; only images that were never searched are.

    Threads share the work: detectors let go of the interpreter's lock. What was found is saved every minute, so that
    a kill loses little.

    Args:
        path: where faces are cached; None caches none.
        source: reads the images.
        rows: readable images.
        cropper: says what finds them.
        log: hears of progress.

    Raises:
        DataError: an image cannot be read any more or has changed since, or the detector is not installed.
        StudyError: what was found cannot be saved.
    """
    row_of = {row.digest: row for row in rows}
    if path is None:
        return dict(_found(source, row_of, cropper, None, log))
    kind = {"version": _VERSION, "decoder": DECODER_VERSION, "detector": cropper.opened().version}
    kind |= {"eyes": cropper.align} if cropper.detector == "haar" else {}
    with locked(path.with_suffix(".lock")):
        faces = load_table(path, kind, _parsed, log) or {}
        missing = {digest: row for digest, row in row_of.items() if digest not in faces}
        saved = time.monotonic()
        try:
            for digest, face in _found(source, missing, cropper, path, log):
                faces[digest] = face
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    _save(path, kind, faces)
                    saved = time.monotonic()
        finally:
            if missing and len(faces):
                _save(path, kind, faces)
    return {digest: faces[digest] for digest in row_of}


def crop_faces(rows: Sequence[ImageRow], faces: Faces, cropper: FaceCropper) -> tuple[list[ImageRow], list[ImageRow]]:
    """The images as they are used, and apart those left out: without a face, unless such are taken whole.

    Args:
        rows: readable images; one with a box of its own stays as it is.
        faces: of the others.
        cropper: how they are cropped, and what becomes of an image without one.
    """
    used, without = [], []
    for row in rows:
        face = faces.get(row.digest)
        if row.box is None and face is not None:
            used.append(crop_to_face(row, face, cropper))
        elif row.box is not None or cropper.missing == "whole":
            used.append(row)
        else:
            without.append(row)
    return used, without


def crop_to_face(row: ImageRow, face: Face, cropper: FaceCropper) -> ImageRow:
    """An image cropped to its face: other pixels, so another digest."""
    box, angle = cropper.region(face, row.width, row.height)
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    digest = pixels_digest(row.digest, box, angle)
    return row._replace(box=box, angle=angle, digest=digest, width=width, height=height)


def _found(
    source: Source, row_of: Mapping[str, ImageRow], cropper: FaceCropper, path: Path | None, log: RunLog
) -> Iterator[tuple[str, Face | None]]:
    """(digest, face) of images, in order, searched a chunk at a time.

    In threads, not processes: OpenCV, OpenVINO and Pillow let go of the interpreter's lock while they work.
    """

    def search(item: tuple[str, ImageRow]) -> tuple[str, Face | None]:
        digest, row = item
        try:
            data = source.read(row.source_file)
            check_digest(data, digest)
            return digest, cropper.find(data, max_pixels=None)  # its size was checked when it was listed
        except DataError as error:
            distrust(path, row.source_file)
            raise DataError(error.what, where=error.where or row.path, do=error.do or "run again") from error

    items = list(row_of.items())
    if not items:
        return
    pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="faces")
    with log.progress("finding faces", len(items)) as advance, cropper.opened().shared(), pool:
        for start in range(0, len(items), _CHUNK):
            found = list(pool.map(search, items[start : start + _CHUNK]))
            advance(len(found))
            yield from found


def _save(path: Path, kind: Mapping[str, Any], faces: Faces) -> None:
    columns: dict[str, list[Any]] = {
        "digest": list(faces),
        "face": [None if face is None else _written(face) for face in faces.values()],
    }
    save_table(path, {**kind, "rows": len(faces)}, columns)


def _written(face: Face) -> list[Any]:
    return [*face[:5], *([face.points] if face.points else [])]


def _parsed(columns: dict[str, Any]) -> dict[str, Face | None]:
    return dict(zip(columns["digest"], map(_read, columns["face"]), strict=True))


def _read(face: Any) -> Face | None:
    if face is None:
        return None
    (left, top, width, height, angle), points = map(float, face[:5]), face[5] if len(face) == 6 else []
    if len(points) not in (0, 5):
        raise ValueError("no face")
    return Face(left, top, width, height, angle, tuple((float(x), float(y)) for x, y in points))
