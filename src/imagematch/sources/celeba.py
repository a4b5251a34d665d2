"""celeba: CelebA in its official layout.

`identity_CelebA.txt` and, where it is there, `list_eval_partition.txt` stand in the folder or in its `Anno` or
`Eval` folder; the images in `img_align_celeba` or `img_celeba`, there or below `Img` (in Kaggle's archive in a folder
of that name inside it).

Source: Z. Liu, P. Luo, X. Wang, X. Tang, Deep learning face attributes in the wild, ICCV 2015.
"""

from __future__ import annotations

import stat
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines
from imagematch.sources.listing import Listing, Source, file_mode, register_source
from imagematch.sources.scanning import image_files

_IDENTITIES = "identity_CelebA.txt"
_PARTITION = "list_eval_partition.txt"
_IMAGES = ("img_align_celeba", "img_celeba")
_SPLITS = {"0": "train", "1": "validation", "2": "test"}


@register_source(
    "celeba",
    "CelebA: 202,599 photos of 10,177 people, official layout; class-disjoint by person",
    folders=("data/celeba",),
    not_fetched=(
        "CelebA is for non-commercial research only and its images are handed out in a browser: agree to the terms "
        "and download img_align_celeba.zip, identity_CelebA.txt and list_eval_partition.txt from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, and unpack them in data/celeba"
    ),
)
class CelebaSource(Source):
    """A class is an identity. Images that the identity file names and that are not there are left out."""

    def listing(self) -> Listing:
        """See Source. Its own split is the official partition."""
        table = self._first("", "Anno", name=_IDENTITIES)
        if table is None:
            raise DataError(
                f"has no {_IDENTITIES}",
                where=str(self.folder),
                do="set data_dir to CelebA's folder, or use `dataset: folder` where each identity has a folder",
            )
        images = next((path for name in _IMAGES if (path := self._first("", "Img", name=name))), None)
        if images is None:
            raise DataError(f"has neither {' nor '.join(_IMAGES)}", where=str(self.folder), do="unpack the images")
        if stat.S_ISDIR(file_mode(inner := images / images.name)):
            images = inner
        partition = self._first("", "Eval", "Anno", name=_PARTITION)
        splits = _pairs(partition) if partition else {}
        folder = images.relative_to(self.folder).as_posix()
        found = {row.path: row for row in image_files(images)}
        rows, missing = [], []
        for name, identity in _pairs(table).items():
            split = _SPLITS.get(splits.get(name, ""), "")
            if name in found:
                rows.append(found[name]._replace(path=f"{folder}/{name}", label=identity, split=split))
            else:
                missing.append(name)
        if missing and not rows:
            what = f"none of the {len(missing):,} images that {table.name} names is there, as {missing[0]}"
            raise DataError(what, where=str(images), do="unpack the images")
        if not rows:
            raise DataError("names no images", where=str(table), do="download it again")
        left_out = {f"images that {table.name} names and that are not there": missing} if missing else {}
        return Listing(tuple(sorted(rows)), left_out=left_out)

    def _first(self, *folders: str, name: str) -> Path | None:
        paths = (self.folder / folder / name for folder in folders)
        return next((path for path in paths if file_mode(path)), None)


def _pairs(table: Path) -> dict[str, str]:
    """Image -> what the table says of it; both are separated by white space."""
    try:
        lines = list(text_lines(table, max_bytes=TABLE_BYTES, errors="replace"))
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(table)) from error
    pairs = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and len(words) != 2:
            raise DataError("is not an image and a number", where=f"{table}:{number}", do="download the table again")
        if words:
            pairs[words[0]] = words[1]
    return pairs
