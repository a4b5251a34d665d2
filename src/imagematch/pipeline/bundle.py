"""A bundle: a matcher's own files and its gallery in one folder, which opens where nothing can be written."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from imagematch.errors import ConfigError
from imagematch.events import SILENT, RunLog
from imagematch.files import replacing_dir
from imagematch.matching import ImageMatcher, matcher_files
from imagematch.retrieval import Gallery, copy_gallery

MODEL_DIR, GALLERY_DIR = "model", "gallery"
_METRICS = "metrics.json"


@dataclass(frozen=True)
class Bundle:
    """What was written.

    Attributes:
        path: the folder.
        images: of its gallery; None where it has none.
        bytes: of all its files.
        needs_tensorflow: it cannot do without, as its network is not converted.
    """

    path: Path
    images: int | None
    bytes: int
    needs_tensorflow: bool


def export_bundle(
    model_dir: Path | str, output: Path | str, gallery: Path | str | None = None, *, log: RunLog = SILENT
) -> Bundle:
    """Writes `model` and `gallery` into a new folder, and opens both there before it is put in place.

    Of the matcher's folder only what it needs is copied, and its metrics. The gallery is copied as it is at one moment,
    whoever is writing to it.

    Args:
        model_dir: the matcher's folder.
        output: a folder that is not there yet.
        gallery: its gallery, a folder; None copies none.
        log: told if the engine had to be replaced.

    Raises:
        ConfigError: the folder already exists, or the gallery is on a server.
        DataError: there is no such gallery.
        ModelError: the matcher cannot be opened, or the gallery is another one's.
        StudyError: the folder cannot be written.
    """
    path, source = Path(output), Path(model_dir)
    if path.exists():
        raise ConfigError("already exists", where=f"--output {path}", do="name a new folder")
    matcher, images = ImageMatcher.load(source, log=log), None
    with replacing_dir(path) as fresh:
        model = fresh / MODEL_DIR
        model.mkdir()
        for name in matcher_files(matcher.card):
            shutil.copyfile(source / name, model / name)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source / _METRICS, model / _METRICS)
        copied = ImageMatcher.load(model)
        if gallery is not None:
            copy_gallery(gallery, fresh / GALLERY_DIR)
            with Gallery.open(fresh / GALLERY_DIR, copied) as opened:
                images = len(opened)
        size = sum(file.stat().st_size for file in fresh.rglob("*") if file.is_file())
    needs = any(one.network is None for one in matcher.card.embedding.extractors) and matcher.engine.name != "numpy"
    return Bundle(path, images, size, needs)
