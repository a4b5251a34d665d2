"""Where labelled images come from: one file a source, and the registry of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from imagematch.data.sources.celeba import CelebaSource
from imagematch.data.sources.csv_table import CsvSource
from imagematch.data.sources.digits import DigitsSource
from imagematch.data.sources.flowers import FlowersSource
from imagematch.data.sources.folder import FolderSource
from imagematch.data.sources.listing import MISSING, Entry, Listing, Source, file_mode
from imagematch.data.sources.omniglot import OmniglotSource
from imagematch.data.sources.tiny_imagenet import TinyImagenetSource
from imagematch.errors import ConfigError

SOURCES: Mapping[str, Callable[[Path | None, str], Source]] = {
    "tiny_imagenet": lambda root, split_by: TinyImagenetSource(root, official_validation=split_by == "predefined"),
    "digits": lambda _root, _split_by: DigitsSource(),
    "folder": lambda root, _split_by: FolderSource(root),
    "csv": lambda root, _split_by: CsvSource(root),
    "celeba": lambda root, _split_by: CelebaSource(root),
    "omniglot": lambda root, _split_by: OmniglotSource(root),
    "flowers": lambda root, _split_by: FlowersSource(root),
}
"""`dataset` -> what makes its source from the data folder and `split_by`."""

DESCRIPTIONS: Mapping[str, str] = {
    "tiny_imagenet": "Tiny ImageNet: 200 classes x 500 images, 64 px, official layout",
    "digits": "1,797 handwritten digits of 8 x 8 px, part of scikit-learn: no file, no download",
    "folder": "your own images: a folder for each class, with or without train, val and test folders above them",
    "csv": "your own table of path and label; optional split, box x,y,w,h, query, gallery; Parquet too",
    "celeba": "CelebA: 202,599 photos of 10,177 people, official layout; class-disjoint by person",
    "omniglot": "Omniglot: 1,623 handwritten characters x 20 drawings, 105 px; class-disjoint by alphabet",
    "flowers": "tf_flowers: 3,670 photos of 5 flowers, a folder for each",
}
"""`dataset` -> what it is, in a line."""


def open_source(dataset: str, root: Path | None, split_by: str) -> Source:
    """The source of a data set.

    Raises:
        ConfigError: no source has this name.
        DataError: its folder is not there.
    """
    if dataset not in SOURCES:
        raise ConfigError(f"no data set is called {dataset!r}", where="dataset", do=f"known are {', '.join(SOURCES)}")
    return SOURCES[dataset](root, split_by)


__all__ = ["DESCRIPTIONS", "MISSING", "SOURCES", "Entry", "Listing", "Source", "file_mode", "open_source"]
