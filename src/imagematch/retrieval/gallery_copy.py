"""A gallery's folder, copied as it is at one moment."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from imagematch.errors import ConfigError, StudyError
from imagematch.files import make_dir
from imagematch.retrieval.gallery_store import GALLERY_STORES
from imagematch.retrieval.sqlite_store import BUSY_TIMEOUT_S, GALLERY_FILE, GALLERY_FILE_BYTES, SqliteStore
from imagematch.sqlite_files import open_checked


def copy_gallery(location: Path | str, folder: Path) -> None:
    """Copies a gallery that is a folder, ids and all, while others may add to it; its index is made anew.

    Raises:
        ConfigError: the gallery is on a server.
        DataError: there is none.
        StudyError: it cannot be read, or the copy not written.
    """
    if GALLERY_STORES.of(str(location)) is not SqliteStore:
        raise ConfigError("only a gallery in a folder is copied", where="gallery", do="copy its server's database")
    source = Path(location)
    SqliteStore.open(str(source)).close()  # checks that it is one
    try:
        with (
            contextlib.closing(
                open_checked(
                    source / GALLERY_FILE,
                    max_bytes=GALLERY_FILE_BYTES,
                    noun="gallery",
                    do="restore it from a backup",
                    timeout=BUSY_TIMEOUT_S,
                )
            ) as base,
            contextlib.closing(sqlite3.connect(make_dir(folder) / GALLERY_FILE)) as copy,
        ):
            base.backup(copy)
    except sqlite3.Error as error:
        raise StudyError(f"cannot be copied: {error}", where=str(folder), do="free some space") from error
