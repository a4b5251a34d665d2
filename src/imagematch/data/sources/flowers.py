"""flowers: tf_flowers, a folder per flower, plain or below train and val.

Source: The TensorFlow Team, Flowers, 2019, http://download.tensorflow.org/example_images/flower_photos.tgz
"""

from __future__ import annotations

from pathlib import Path

from imagematch.data.sources.folder import FolderSource
from imagematch.data.sources.listing import checked_root

_ARCHIVE_FOLDER = "flower_photos"


class FlowersSource(FolderSource):
    """A folder source that also takes the folder the official archive was unpacked in.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None) -> None:
        inner = checked_root(root, "flowers") / _ARCHIVE_FOLDER
        super().__init__(inner if inner.is_dir() else root, "flowers")
