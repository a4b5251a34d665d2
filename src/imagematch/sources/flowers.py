"""flowers: tf_flowers, a folder per flower, plain or below train and val.

Source: The TensorFlow Team, Flowers, 2019, http://download.tensorflow.org/example_images/flower_photos.tgz
"""

from __future__ import annotations

from pathlib import Path

from imagematch.sources.downloads import MB, Archive, Download
from imagematch.sources.folder import FolderSource
from imagematch.sources.listing import SourceOptions, checked_root, register_source

_ARCHIVE_FOLDER = "flower_photos"


# The SHA-256 and size are those of TensorFlow Datasets (tensorflow_datasets/url_checksums/tf_flowers.txt).
_DOWNLOAD = Download(
    "",
    (
        Archive(
            "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
            228_813_984,
            "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
            "sha256",
            _ARCHIVE_FOLDER,
            1000 * MB,
            10_000,
        ),
    ),
    "photos under Creative Commons licences of their own, named in LICENSE.txt",
)


@register_source(
    "flowers",
    "tf_flowers: 3,670 photos of 5 flowers, a folder for each",
    folders=("data/flowers5", "data/flower_photos"),
    download=_DOWNLOAD,
)
class FlowersSource(FolderSource):
    """A folder source that also takes the folder the official archive was unpacked in.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None, options: SourceOptions = SourceOptions()) -> None:  # noqa: B008 - frozen
        inner = checked_root(root, self.name) / _ARCHIVE_FOLDER
        super().__init__(inner if inner.is_dir() else root, options)
