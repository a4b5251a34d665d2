"""folder: a folder per class, in any of the layouts of `layouts`."""

from __future__ import annotations

from imagematch.errors import DataError
from imagematch.sources.layouts import AmbiguousLayoutError, read_layout
from imagematch.sources.listing import Listing, Source, register_source
from imagematch.sources.scanning import count_left_out, scan_folder


@register_source(
    "folder",
    "your own images: a folder for each class, with or without train, val and test folders above them",
    data_dir="the folder that holds a folder for each class",
    not_fetched="folder reads your own images: there is nothing to fetch",
)
class FolderSource(Source):
    """The class of an image is a folder that it is in; which one, `layouts` says, or the key `layout`."""

    def listing(self) -> Listing:
        """See Source."""
        scan = scan_folder(self.folder)
        if not scan.rows:
            found = "; ".join(count_left_out(scan.left_out))
            raise DataError(
                "no images in it" + (f" ({found})" if found else ""),
                where=str(self.folder),
                do="put the images of each class in a folder",
            )
        if not any("/" in row.path for row in scan.rows):
            raise DataError(
                f"{len(scan.rows):,} images, but no class folders",
                where=str(self.folder),
                do="make a folder for each class, or a table of path and label (dataset: csv)",
            )
        try:
            reading = read_layout(scan.rows, self.options.layout, str(self.folder))
        except AmbiguousLayoutError:
            if self.options.labelled:
                raise
            reading = read_layout(scan.rows, "classes", str(self.folder))
        if not self.options.labelled:  # to be searched, all images count
            unlabelled = [row for rows in reading.left_out.values() for row in rows]
            return Listing(tuple(sorted([*reading.rows, *unlabelled])), left_out=scan.left_out)
        left_out = {**{why: [row.path for row in rows] for why, rows in reading.left_out.items()}, **scan.left_out}
        return Listing(tuple(reading.rows), notes=(reading.describe(),), left_out=left_out)
