"""Caches the faces that were found, by the image's content, so that each image is searched once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagematch.data.boxes import check_digest, pixels_digest
from imagematch.data.decoding import DECODER_VERSION, thread_count
from imagematch.data.faces.cropping import FaceCropper
from imagematch.data.faces.detection import DETECTOR_VERSION, Face, find_face, opencv
from imagematch.data.kept_table import load_table, save_table
from imagematch.data.manifest import Fact, doubt, manifest_path
from imagematch.data.sources import Entry, Source
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.file_locks import locked

Faces = Mapping[str, Face | None]
"""Digest of an image's content -> its face; None where there is none."""

_VERSION = 1
_SAVE_EVERY_S = 60.0
_CHUNK = 64


def faces_path(name: str, root: Path | None, manifest_dir: Path, cropper: FaceCropper) -> Path | None:
    """Where the faces of the data set `name` at `root` are cached, beside its manifest; None for embedded images."""
    if root is None:
        return None
    return manifest_path(name, root, manifest_dir).with_suffix(".eyes.jsonl" if cropper.align else ".faces.jsonl")


def read_faces(
    path: Path | None, source: Source, rows: Sequence[tuple[Entry, Fact]], cropper: FaceCropper, log: RunLog
) -> Faces:
    """The face of every image; only images that were never searched are.

    Threads share the work: the cascades let go of the interpreter's lock. What was found is saved every minute, so that
    a kill loses little.

    Args:
        path: where faces are cached; None caches none.
        source: reads the images.
        rows: readable images with what is known of them.
        cropper: says whether eyes are looked for too.
        log: hears of progress.

    Raises:
        DataError: an image cannot be read any more or has changed since, or OpenCV's cascades are not there.
        StudyError: what was found cannot be saved.
    """
    eyes = cropper.align
    entry_of = {fact.digest: entry for entry, fact in rows}
    if path is None:
        return dict(_found(source, entry_of, eyes, None, log))
    kind = {"version": _VERSION, "decoder": DECODER_VERSION, "detector": DETECTOR_VERSION, "eyes": eyes}
    with locked(path.with_suffix(".lock")):
        faces = load_table(path, kind, _parsed, log) or {}
        missing = {digest: entry for digest, entry in entry_of.items() if digest not in faces}
        saved = time.monotonic()
        try:
            for digest, face in _found(source, missing, eyes, path, log):
                faces[digest] = face
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    _save(path, kind, faces)
                    saved = time.monotonic()
        finally:
            if missing and len(faces):
                _save(path, kind, faces)
    return {digest: faces[digest] for digest in entry_of}


def crop_faces(
    rows: Sequence[tuple[Entry, Fact]], faces: Faces, cropper: FaceCropper
) -> tuple[list[tuple[Entry, Fact]], list[tuple[Entry, Fact]]]:
    """The images as they are used, and apart those left out: without a face, unless such are taken whole.

    Args:
        rows: readable images; one with a box of its own stays as it is.
        faces: of the others.
        cropper: how they are cropped, and what becomes of an image without one.
    """
    used, without = [], []
    for entry, fact in rows:
        face = faces.get(fact.digest)
        if entry.box is None and face is not None:
            used.append(crop_to_face(entry, fact, face, cropper))
        elif entry.box is not None or cropper.missing == "whole":
            used.append((entry, fact))
        else:
            without.append((entry, fact))
    return used, without


def crop_to_face(entry: Entry, fact: Fact, face: Face, cropper: FaceCropper) -> tuple[Entry, Fact]:
    """An image cropped to its face, with what is known of the crop: other pixels, so another digest."""
    box, angle = cropper.region(face, fact.width, fact.height)
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    digest = pixels_digest(fact.digest, box, angle)
    return entry._replace(box=box, angle=angle), fact._replace(digest=digest, width=width, height=height, box=box)


def _found(
    source: Source, entry_of: Mapping[str, Entry], eyes: bool, path: Path | None, log: RunLog
) -> Iterator[tuple[str, Face | None]]:
    """(digest, face) of images, in order, searched a chunk at a time.

    In threads, not processes: OpenCV and Pillow let go of the interpreter's lock while they work.
    """

    def search(item: tuple[str, Entry]) -> tuple[str, Face | None]:
        digest, entry = item
        file = entry.file or entry.path
        try:
            data = source.read(file)
            check_digest(data, digest)
            return digest, find_face(data, eyes=eyes)
        except DataError as error:
            doubt(path, file)
            raise DataError(error.what, where=error.where or entry.path, do=error.do or "run again") from error

    items = list(entry_of.items())
    if not items:
        return
    pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="faces")
    with log.progress("finding faces", len(items)) as advance, _one_thread_each(), pool:
        for start in range(0, len(items), _CHUNK):
            found = list(pool.map(search, items[start : start + _CHUNK]))
            advance(len(found))
            yield from found


_threads = threading.Lock()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV starts no threads of its own while ours share the work."""
    cv2 = opencv()
    with _threads:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(before)


def _save(path: Path, kind: Mapping[str, Any], faces: Faces) -> None:
    columns: dict[str, list[Any]] = {
        "digest": list(faces),
        "face": [None if face is None else list(face) for face in faces.values()],
    }
    save_table(path, {**kind, "rows": len(faces)}, columns)


def _parsed(columns: dict[str, Any]) -> dict[str, Face | None]:
    found = [None if face is None else Face(*map(float, face)) for face in columns["face"]]
    return dict(zip(columns["digest"], found, strict=True))
