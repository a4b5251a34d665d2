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
from imagematch.retrieval import Gallery, model_identity
from imagematch.sources import ImageRow, Source

_AT_ONCE = 500


def open_data_gallery(
    model_dir: Path, location: Path, *, layout: Layout | None = None, log: RunLog = SILENT
) -> Gallery:
    """The gallery of a matcher's data set: made where it is not there, whole or not at all.

    Where a former matcher of the same name made it, its images are embedded again. Labels and digests are those of the
    data set, so that answers about its images correct it.

    Args:
        model_dir: the matcher's folder, whose config.yaml says where the images are.
        location: the gallery's folder.
        layout: where manifests are cached; None: `exp`.
        log: told what is made and what is left out.

    Raises:
        DataError: the images are not there.
        ModelError: the matcher cannot be opened, or the gallery belongs to one of another name.
        StudyError: the gallery cannot be written.
    """
    matcher = ImageMatcher.load(model_dir, log=log)
    if not location.exists():
        settings = load_train(model_dir / "config.yaml").model_copy(update={"face_crop": "none"})  # the matcher's task
        scan = scan_images(settings, manifest_dir=(layout or Layout()).manifests, log=log)
        with replacing_dir(location) as folder, Gallery.create(folder, matcher) as made:
            _fill(made, scan.usable, scan.source, log)
            log.say(f"gallery  {location}: {len(made):,} images of the matcher's data set")
    with Gallery.open(location) as former:
        facts, card = former.facts, matcher.card
        if facts.matcher != model_identity(card) and facts.matcher_name == card.name:
            log.say(
                f"gallery  {location}: {former.rebuild(matcher):,} images embedded again: {card.name} is another by now"
            )
    return Gallery.open(location, matcher)


def _fill(gallery: Gallery, rows: Sequence[ImageRow], source: Source, log: RunLog) -> None:
    value_range = gallery.matcher.card.embedding.value_range
    with log.progress("adding images", len(rows)) as advance:
        for start in range(0, len(rows), _AT_ONCE):
            block = rows[start : start + _AT_ONCE]
            images = [
                data if row.box is None else decode(data, box=row.box, angle=row.angle, value_range=value_range)
                for row, data in ((row, source.read(row.source_file)) for row in block)
            ]

            def left_out(number: int, error: DataError, block: Sequence[ImageRow] = block) -> None:
                log.say(f"left out: {block[number].path}: {error.what}")

            gallery.add(images, [row.label for row in block], digests=[row.digest for row in block], unusable=left_out)
            advance(len(block))
