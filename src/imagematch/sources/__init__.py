"""Where labelled images come from: one file a source, registered by its decorator, and the table of images it fills.

Importing this package, and each of its modules, imports neither numpy nor Pillow: the configuration reads the sources'
names. A new source is one module: see CONTRIBUTING.md.
"""

from __future__ import annotations

from pathlib import Path

from imagematch.errors import ConfigError
from imagematch.registry import SOURCE_REGISTRY
from imagematch.sources.downloads import Archive, Download
from imagematch.sources.listing import (
    MISSING,
    Box,
    ImageRow,
    Listing,
    Source,
    SourceOptions,
    file_mode,
    register_source,
)
from imagematch.sources.remarks import composed, listing_notes, same_when_folded
from imagematch.sources.scanning import SYSTEM_FILES, image_files, kind_in_words
from imagematch.sources.tables import TABLE_SUFFIXES, Table, file_below, table_rows

__all__ = [
    "MISSING",
    "SYSTEM_FILES",
    "TABLE_SUFFIXES",
    "Archive",
    "Box",
    "Download",
    "ImageRow",
    "Listing",
    "Source",
    "SourceOptions",
    "Table",
    "composed",
    "file_below",
    "file_mode",
    "image_files",
    "kind_in_words",
    "listing_notes",
    "open_source",
    "register_source",
    "same_when_folded",
    "table_rows",
]


def open_source(dataset: str, root: Path | None, options: SourceOptions = SourceOptions()) -> Source:  # noqa: B008
    """The source of a data set.

    Args:
        dataset: its name.
        root: its folder, or what it takes in its place.
        options: how it is read.

    Raises:
        ConfigError: no source has this name.
        DataError: its folder is not there.
    """
    specs = SOURCE_REGISTRY.all()
    if dataset not in specs:
        raise ConfigError(f"no data set is called {dataset!r}", where="dataset", do=f"known are {', '.join(specs)}")
    source: Source = specs[dataset].maker(root, options)
    return source
