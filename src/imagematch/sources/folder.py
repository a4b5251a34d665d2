"""folder: a folder per class, nested or not, with or without train/val/test folders above them."""

from __future__ import annotations

from collections.abc import Collection

from imagematch.errors import DataError
from imagematch.sources.listing import ImageRow, Listing, Source, register_source
from imagematch.sources.scanning import image_files

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


ROLE_FOLDERS = {"query": "query", "gallery": "gallery"}


@register_source(
    "folder",
    "your own images: a folder for each class, with or without train, val and test folders above them",
    data_dir="the folder that holds a folder for each class",
    not_fetched="folder reads your own images: there is nothing to fetch",
)
class FolderSource(Source):
    """A class is a folder that directly holds images; its label is the folder's path.

    Where every top folder is named after a split (train, val, test, ...) and holds class folders, it says the split
    and is no part of the label; likewise where the top folders are query and gallery.
    """

    def listing(self) -> Listing:
        """See Source."""
        files = image_files(self.folder)
        if not files:
            raise DataError("no images in it", where=str(self.folder), do="put the images of each class in a folder")
        inside = [file for file in files if "/" in file.path]
        if not inside:
            raise DataError(
                f"{len(files):,} images, but no class folders",
                where=str(self.folder),
                do="make a folder for each class",
            )
        notes = []
        if stray := len(files) - len(inside):
            notes.append(f"{stray:,} images directly in {self.folder} are left out: they are in no class folder")
        split_layout = _has_top_folders(inside, SPLIT_FOLDERS)
        if split_layout:
            notes.append(f"{self.folder} has its own split; `split_by: predefined` keeps it, others mix its folders")
        role_layout = _has_top_folders(inside, ROLE_FOLDERS)
        return Listing(tuple(_placed(row, split_layout, role_layout) for row in inside), notes=tuple(notes))


def _has_top_folders(files: list[ImageRow], names: Collection[str]) -> bool:
    return all(file.path.count("/") >= 2 and _top(file.path).lower() in names for file in files)


def _top(path: str) -> str:
    return path.partition("/")[0]


def _placed(row: ImageRow, split_layout: bool, role_layout: bool) -> ImageRow:
    label, split, role = row.path.rpartition("/")[0], "", ""
    if split_layout or role_layout:
        top, _, label = label.partition("/")
        split, role = SPLIT_FOLDERS.get(top.lower(), ""), ROLE_FOLDERS.get(top.lower(), "")
    return row._replace(label=label, split=split, role=role)
