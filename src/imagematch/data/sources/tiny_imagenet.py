"""tiny_imagenet: Tiny ImageNet in its official layout.

`train/WNID/images/*.JPEG`, `val/images/*.JPEG` with `val/val_annotations.txt`, `words.txt`. The test images have no
labels and are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from imagematch.data.sources.listing import MISSING, Entry, FolderBased, Listing, file_mode
from imagematch.data.sources.walking import image_files
from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines


class TinyImagenetSource(FolderBased):
    """The training images; with `official_validation` also the official validation images.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None, *, official_validation: bool) -> None:
        super().__init__(root, "tiny_imagenet")
        self._official_validation = official_validation

    def listing(self) -> Listing:
        """See Source. Labels are WordNet ids; titles come from words.txt where it is there."""
        if not (self.root / "train").is_dir():
            raise DataError(
                "no train folder in it",
                where=str(self.root),
                do="set data_dir to the unpacked tiny-imagenet-200, or use `dataset: folder`",
            )
        split = "train" if self._official_validation else ""
        entries = [
            Entry(f"train/{path}", path.partition("/")[0], split, size=size, mtime_ns=mtime_ns)
            for path, size, mtime_ns in image_files(self.root / "train")
            if "/" in path
        ]
        if not entries:
            raise DataError("no images in it", where=str(self.root / "train"), do="unpack Tiny ImageNet again")
        labels = {entry.label for entry in entries}
        if self._official_validation:
            entries += self._validation_entries(labels)
        return Listing(tuple(sorted(entries)), titles=_titles(self.root / "words.txt", labels))

    def _validation_entries(self, labels: Collection[str]) -> list[Entry]:
        table = self.root / "val" / "val_annotations.txt"
        found = {file.path: file for file in image_files(table.parent / "images")} if file_mode(table) else {}
        entries = []
        for number, line in enumerate(_lines(table, "split_by: predefined needs the official validation images"), 1):
            name, _, rest = line.partition("\t")
            label = rest.partition("\t")[0]
            if not name or not label:
                raise DataError("has no file and label", where=f"{table}:{number}", do="unpack Tiny ImageNet again")
            if label in labels:
                file = found.get(name)
                size, mtime_ns = (file.size, file.mtime_ns) if file else (MISSING, 0)
                entries.append(Entry(f"val/images/{name}", label, "validation", size=size, mtime_ns=mtime_ns))
        return entries


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
