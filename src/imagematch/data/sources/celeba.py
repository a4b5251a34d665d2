"""celeba: CelebA in its official layout.

`identity_CelebA.txt` and, where it is there, `list_eval_partition.txt` stand in the folder or in its `Anno` or
`Eval` folder; the pictures in `img_align_celeba` or `img_celeba`, there or below `Img` (in Kaggle's archive in a folder
of that name inside it).

Source: Z. Liu, P. Luo, X. Wang, X. Tang, Deep learning face attributes in the wild, ICCV 2015.
"""

from __future__ import annotations

import stat
from pathlib import Path

from imagematch.data.sources.listing import MISSING, Entry, FolderBased, Listing, file_mode
from imagematch.data.sources.walking import Found, image_files
from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines

_IDENTITIES = "identity_CelebA.txt"
_PARTITION = "list_eval_partition.txt"
_PICTURES = ("img_align_celeba", "img_celeba")
_SPLITS = {"0": "train", "1": "validation", "2": "test"}


class CelebaSource(FolderBased):
    """A class is an identity. Pictures that the identity file names and that are not there count as corrupt.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None) -> None:
        super().__init__(root, "celeba")

    def listing(self) -> Listing:
        """See Source. Its own split is the official partition."""
        table = self._first("", "Anno", name=_IDENTITIES)
        if table is None:
            raise DataError(
                f"has no {_IDENTITIES}",
                where=str(self.root),
                do="set data_dir to CelebA's folder, or use `dataset: folder` where each identity has a folder",
            )
        pictures = next((place for name in _PICTURES if (place := self._first("", "Img", name=name))), None)
        if pictures is None:
            raise DataError(f"has neither {' nor '.join(_PICTURES)}", where=str(self.root), do="unpack the pictures")
        if stat.S_ISDIR(file_mode(inner := pictures / pictures.name)):
            pictures = inner
        partition = self._first("", "Eval", "Anno", name=_PARTITION)
        splits = _pairs(partition) if partition else {}
        folder = pictures.relative_to(self.root).as_posix()
        found = {file.path: file for file in image_files(pictures)}
        entries = []
        for name, identity in _pairs(table).items():
            file = found.get(name, Found(name, MISSING, 0))
            split = _SPLITS.get(splits.get(name, ""), "")
            entries.append(Entry(f"{folder}/{name}", identity, split, size=file.size, mtime_ns=file.mtime_ns))
        if not entries:
            raise DataError("names no pictures", where=str(table), do="download it again")
        return Listing(tuple(sorted(entries)))

    def _first(self, *folders: str, name: str) -> Path | None:
        places = (self.root / folder / name for folder in folders)
        return next((place for place in places if file_mode(place)), None)


def _pairs(table: Path) -> dict[str, str]:
    """Picture -> what the table says of it; both are separated by white space."""
    try:
        lines = list(text_lines(table, max_bytes=TABLE_BYTES, errors="replace"))
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(table)) from error
    pairs = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and len(words) != 2:
            raise DataError("is not a picture and a number", where=f"{table}:{number}", do="download the table again")
        if words:
            pairs[words[0]] = words[1]
    return pairs
