"""tiny_imagenet: Tiny ImageNet in its official layout.

`train/WNID/images/*.JPEG`, `val/images/*.JPEG` with `val/val_annotations.txt`, `words.txt`. The test images have no
labels and are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines
from imagematch.sources.downloads import MB, Archive, Download
from imagematch.sources.listing import MISSING, ImageRow, Listing, Source, file_mode, register_source
from imagematch.sources.scanning import image_files

# The MD5 and size are those that many training programs pin.
_DOWNLOAD = Download(
    "",
    (
        Archive(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            248_100_043,
            "90528d7ca1a48142e341f4ef8d21d0de",
            "md5",
            "tiny-imagenet-200",
            1000 * MB,
            150_000,
        ),
    ),
    "a part of ImageNet: for non-commercial research and education only, see image-net.org",
)


@register_source(
    "tiny_imagenet",
    "Tiny ImageNet: 200 classes x 500 images, 64 px, official layout",
    folders=("tiny-imagenet-200", "data/tiny-imagenet-200"),
    download=_DOWNLOAD,
)
class TinyImagenetSource(Source):
    """The training images; where the official split is asked for also the official validation images."""

    def listing(self) -> Listing:
        """See Source. Labels are WordNet ids; titles come from words.txt where it is there."""
        if not (self.folder / "train").is_dir():
            raise DataError(
                "no train folder in it",
                where=str(self.folder),
                do="set data_dir to the unpacked tiny-imagenet-200, or use `dataset: folder`",
            )
        official = self.options.split_by == "predefined"
        split = "train" if official else ""
        rows = [
            row._replace(path=f"train/{row.path}", label=row.path.partition("/")[0], split=split)
            for row in image_files(self.folder / "train")
            if "/" in row.path
        ]
        if not rows:
            raise DataError("no images in it", where=str(self.folder / "train"), do="unpack Tiny ImageNet again")
        labels = {row.label for row in rows}
        if official:
            rows += self._validation_rows(labels)
        return Listing(tuple(sorted(rows)), titles=_titles(self.folder / "words.txt", labels))

    def _validation_rows(self, labels: Collection[str]) -> list[ImageRow]:
        table = self.folder / "val" / "val_annotations.txt"
        found = {row.path: row for row in image_files(table.parent / "images")} if file_mode(table) else {}
        rows = []
        for number, line in enumerate(_lines(table, "split_by: predefined needs the official validation images"), 1):
            name, _, rest = line.partition("\t")
            label = rest.partition("\t")[0]
            if not name or not label:
                raise DataError("has no file and label", where=f"{table}:{number}", do="unpack Tiny ImageNet again")
            if label in labels:
                row = found.get(name, ImageRow(name, size=MISSING))
                rows.append(row._replace(path=f"val/images/{name}", label=label, split="validation"))
        return rows


def _titles(words: Path, labels: Collection[str]) -> dict[str, str]:
    if not file_mode(words):
        return {}
    pairs = (line.partition("\t") for line in _lines(words, "unpack Tiny ImageNet again"))
    return {label: title for label, _, title in pairs if label in labels and title}


def _lines(path: Path, do: str) -> list[str]:
    try:
        lines = text_lines(path, max_bytes=TABLE_BYTES, errors="replace")
        return [line.rstrip("\n") for line in lines if line.strip()]
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(path), do=do) from error
