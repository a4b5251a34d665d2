"""folder: a folder per class, nested or not, with or without train/val/test folders above them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from imagematch.data.sources.listing import Entry, FolderBased, Listing
from imagematch.data.sources.walking import Found, image_files
from imagematch.errors import DataError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


ROLE_FOLDERS = {"query": "query", "gallery": "gallery"}


class FolderSource(FolderBased):
    """A class is a folder that directly holds images; its label is the folder's path.

    Where every top folder is named after a split (train, val, test, ...) and holds class folders, it says the split
    and is no part of the label; likewise where the top folders are query and gallery.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None, name: str = "folder") -> None:
        super().__init__(root, name)

    def listing(self) -> Listing:
        """See Source."""
        files = image_files(self.root)
        if not files:
            raise DataError("no images in it", where=str(self.root), do="put the images of each class in a folder")
        inside = [file for file in files if "/" in file.path]
        if not inside:
            raise DataError(
                f"{len(files):,} images, but no class folders", where=str(self.root), do="make a folder for each class"
            )
        notes = []
        if stray := len(files) - len(inside):
            notes.append(f"{stray:,} images directly in {self.root} are left out: they are in no class folder")
        split_layout = _has_top_folders(inside, SPLIT_FOLDERS)
        if split_layout:
            notes.append(f"{self.root} has its own split; `split_by: predefined` keeps it, others mix its folders")
        role_layout = _has_top_folders(inside, ROLE_FOLDERS)
        return Listing(tuple(_entry(file, split_layout, role_layout) for file in inside), notes=tuple(notes))


def _has_top_folders(files: list[Found], names: Collection[str]) -> bool:
    return all(file.path.count("/") >= 2 and _top(file.path).lower() in names for file in files)


def _top(path: str) -> str:
    return path.partition("/")[0]


def _entry(file: Found, split_layout: bool, role_layout: bool) -> Entry:
    label, split, role = file.path.rpartition("/")[0], "", ""
    if split_layout or role_layout:
        top, _, label = label.partition("/")
        split, role = SPLIT_FOLDERS.get(top.lower(), ""), ROLE_FOLDERS.get(top.lower(), "")
    return Entry(file.path, label, split, size=file.size, mtime_ns=file.mtime_ns, role=role)
