"""A gallery of the images that a matcher was trained and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagematch.config import load_train
from imagematch.data import decode, scan_images
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout, replacing_dir
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery
from imagematch.sources import ImageRow

_AT_ONCE = 500


def create_data_gallery(model_dir: Path, location: Path, *, layout: Layout | None = None, log: RunLog = SILENT) -> int:
    """Makes a gallery of a matcher's data set, whole or not at all; how many images it has.

    Labels and digests are those of the data set, so that answers about its images correct it.

    Args:
        model_dir: the matcher's folder, whose config.yaml says where the images are.
        location: the gallery's folder, which is not there yet.
        layout: where manifests are cached; None: `exp`.
        log: told what is left out.

    Raises:
        DataError: the images are not there.
        ModelError: the matcher cannot be opened.
        StudyError: the gallery cannot be written.
    """
    matcher = ImageMatcher.load(model_dir, log=log)
    value_range = matcher.card.embedding.value_range
    settings = load_train(model_dir / "config.yaml").model_copy(update={"face_crop": "none"})  # the matcher's own task
    scan = scan_images(settings, manifest_dir=(layout or Layout()).manifests, log=log)
    rows = scan.usable
    with (
        replacing_dir(location) as folder,
        Gallery.create(folder, matcher) as gallery,
        log.progress("adding images", len(rows)) as advance,
    ):
        for start in range(0, len(rows), _AT_ONCE):
            block = rows[start : start + _AT_ONCE]
            images = [
                data if row.box is None else decode(data, box=row.box, angle=row.angle, value_range=value_range)
                for row, data in ((row, scan.source.read(row.source_file)) for row in block)
            ]

            def left_out(number: int, error: DataError, block: Sequence[ImageRow] = block) -> None:
                log.say(f"left out: {block[number].path}: {error.what}")

            gallery.add(images, [row.label for row in block], digests=[row.digest for row in block], unusable=left_out)
            advance(len(block))
        return len(gallery)
