"""A gallery in a folder: one SQLite file, which is the gallery, and a FAISS index beside it, which is a cache."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.disk_space import full_disk_error
from imagematch.errors import DataError, ModelError, StudyError
from imagematch.files import os_reason, read_error, replacing_dir
from imagematch.reading import GB, RefusedFileError, check_file
from imagematch.retrieval.gallery_index import Changes, GalleryIndex
from imagematch.retrieval.gallery_store import GALLERY_STORES, GalleryFacts, GalleryImage, NewImage
from imagematch.sqlite_files import VALUE_BYTES, is_full, of_kinds, open_checked

GALLERY_FILE_BYTES = 1024 * GB
BUSY_TIMEOUT_S = 30.0  # a writer waits so long for another one
GALLERY_FILE, _INDEX = "gallery.sqlite", "index"
_FORMAT = 1
_AT_ONCE = 500
_NO_GALLERY = "create one: imagematch gallery create"
_SCHEMA = """
create table facts (key text primary key, value not null);
create table generations (generation integer primary key, token text not null);
create table images (id integer primary key autoincrement, digest text not null unique, label text not null,
    source blob not null, added text not null, generation integer not null, embedding blob not null);
create index images_by_label on images (label, id);
create index images_by_generation on images (generation, id);
create table image_files (id integer primary key, data blob not null);
create table removals (id integer primary key, generation integer not null);
create index removals_by_generation on removals (generation);
"""
_IMAGES = "select id, label, digest, source, added from images"
_EMBEDDINGS = "select id, embedding from images"
_LISTED = "id in (select value from json_each(?))"


class SqliteStore:
    """A location is a folder. The methods are those of GalleryStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / GALLERY_FILE
        self._lock = threading.RLock()
        try:
            self._base = open_checked(
                self._path,
                max_bytes=GALLERY_FILE_BYTES,
                noun="gallery",
                do="restore it from a backup",
                timeout=BUSY_TIMEOUT_S,
                check_same_thread=False,
                isolation_level=None,
            )
            self._base.execute("pragma synchronous = full")
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            with self._reading():
                self.facts = self._read_facts()
        except BaseException:
            self._base.close()
            raise
        self._index = GalleryIndex(folder / _INDEX, self.facts.dim)

    @classmethod
    def create(cls, location: str, facts: GalleryFacts) -> SqliteStore:
        folder = Path(location)
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            what = "is a gallery already" if (folder / GALLERY_FILE).exists() else "already exists"
            raise DataError(what, where=location, do="choose another name, or remove it")
        values = {"format": _FORMAT, **asdict(facts)}
        with replacing_dir(folder) as fresh, contextlib.closing(sqlite3.connect(fresh / GALLERY_FILE)) as base:
            try:
                base.executescript(f"begin; {_SCHEMA} commit;")
                with base:
                    base.executemany("insert into facts values (?, ?)", values.items())
                    base.execute("insert into generations values (0, ?)", (uuid.uuid4().hex,))
            except sqlite3.Error as error:
                raise _write_error(folder, f"cannot be written: {error}") from error
        return cls.open(location)

    @classmethod
    def open(cls, location: str) -> SqliteStore:
        folder = Path(location)
        try:
            check_file(folder / GALLERY_FILE, max_bytes=GALLERY_FILE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError("no gallery is there", where=location, do=_NO_GALLERY) from None
        except RefusedFileError as error:
            raise DataError(f"its {GALLERY_FILE} {os_reason(error)}", where=location, do=_NO_GALLERY) from error
        except OSError as error:
            raise read_error(folder / GALLERY_FILE, error) from error
        return cls(folder)

    def _error(self, error: sqlite3.Error) -> StudyError | DataError:
        if "not a database" in str(error) or "no such table" in str(error):
            return DataError("is not a gallery", where=str(self._folder), do=_NO_GALLERY)
        if "locked" in str(error):
            return StudyError("another process is writing to it", where=str(self._folder), do="try again later")
        return _write_error(self._folder, f"the gallery cannot be used: {error}")

    def _read_facts(self) -> GalleryFacts:
        query = "select key, value from facts where length(key) < 100 and length(value) < 1000 limit 100"
        found = dict(self._base.execute(query))
        kinds = {"format": int, "matcher": str, "matcher_name": str, "dim": int, "image_side": int}
        facts = {key: found[key] for key, kind in kinds.items() if isinstance(found.get(key), kind)}
        if len(facts) < len(kinds) or not 0 < facts["dim"] <= 65_536 or not 0 <= facts["image_side"] <= 65_536:
            raise DataError("is not a gallery", where=str(self._folder), do=_NO_GALLERY)
        if facts.pop("format") > _FORMAT:
            raise DataError("was written by a newer imagematch", where=str(self._folder), do="update imagematch")
        return GalleryFacts(**facts)

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._base.execute(begin)
                try:
                    yield self._base
                    self._base.execute("commit")
                except BaseException:
                    if self._base.in_transaction:  # a full disk has rolled it back already
                        self._base.execute("rollback")
                    raise
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self._transaction("begin")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[int]:
        """A change of the gallery: gives its generation, and commits."""
        with self._transaction("begin immediate") as base:
            generation = self._generation()[0] + 1
            yield generation
            base.execute("insert into generations values (?, ?)", (generation, uuid.uuid4().hex))

    def _generation(self) -> tuple[Any, ...]:
        query = "select generation, token from generations where generation < 1 << 62 order by generation desc limit 1"
        return of_kinds(self._base.execute(query).fetchone(), int, str)

    def _check_matcher(self) -> None:
        if self._read_facts().matcher != self.facts.matcher:
            raise ModelError(
                "was rebuilt for another matcher meanwhile", where=str(self._folder), do="open it again with that one"
            )

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def generation(self) -> int:
        with self._reading():
            return self._generation()[0]

    def add(self, images: Sequence[NewImage]) -> list[int]:
        ids, now = [], datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing() as generation:
            self._check_matcher()
            for image in images:
                known = self._base.execute("select id, label from images where digest = ?", (image.digest,)).fetchone()
                if known is not None:
                    if image.label and image.label != known[1]:
                        self._base.execute("update images set label = ? where id = ?", (image.label, known[0]))
                    ids.append(known[0])
                    continue
                embedding = np.ascontiguousarray(image.embedding, "<f4").tobytes()
                source = image.source.encode("utf-8", "surrogateescape")
                row = (image.digest, image.label, source, now, generation, embedding)
                cursor = self._base.execute("insert into images values (null, ?, ?, ?, ?, ?, ?)", row)
                ids.append(int(cursor.lastrowid or 0))
                if image.data:
                    self._base.execute("insert into image_files values (?, ?)", (ids[-1], image.data))
        return ids

    def remove(self, ids: Iterable[int]) -> int:
        removed = 0
        with self._writing() as generation:
            for image_id in ids:
                if self._base.execute("delete from images where id = ?", (image_id,)).rowcount:
                    self._base.execute("delete from image_files where id = ?", (image_id,))
                    self._base.execute("insert into removals values (?, ?)", (image_id, generation))
                    removed += 1
        return removed

    def count(self) -> int:
        with self._reading() as base:
            return int(base.execute("select count(*) from images").fetchone()[0])

    def labels(self, *, start: str = "", contains: str = "", limit: int | None = None) -> dict[str, int]:
        query = "select label, count(*) from images where label >= ? group by label order by label"
        with self._reading() as base:
            rows = (of_kinds(row, str, int) for row in base.execute(query, (start,)))
            found = (row for row in rows if contains.casefold() in row[0].casefold())
            return dict(itertools.islice(found, limit))

    def images(self, *, label: str | None = None, after: int = 0, limit: int = 1000) -> list[GalleryImage]:
        page = "id > ? order by id limit ?"
        with self._reading() as base:
            if label is None:
                rows = base.execute(f"{_IMAGES} where {page}", (after, limit))
            else:
                rows = base.execute(f"{_IMAGES} where label = ? and {page}", (label, after, limit))
            return [_image(row) for row in rows]

    def find(self, ids: Sequence[int]) -> dict[int, GalleryImage]:
        with self._reading() as base:
            return {row[0]: _image(row) for row in base.execute(f"{_IMAGES} where {_LISTED}", (_json(ids),))}

    def image_file(self, image_id: int) -> bytes | None:
        with self._reading() as base:
            found = base.execute("select data from image_files where id = ?", (image_id,)).fetchone()
            return None if found is None else of_kinds(found, bytes, longest=VALUE_BYTES)[0]

    def embeddings(self, ids: Sequence[int]) -> np.ndarray:
        with self._reading() as base:
            rows = base.execute(f"{_EMBEDDINGS} where {_LISTED}", (_json(ids),))
            found = {one: self._embedding(data) for one, data in rows}
        return np.array([found[one] for one in ids], np.float32).reshape(-1, self.facts.dim)

    def _embedding(self, data: Any) -> np.ndarray:
        sound = isinstance(data, bytes) and len(data) == 4 * self.facts.dim
        if not sound or not np.isfinite(row := np.frombuffer(data, "<f4")).all():
            raise StudyError("holds a damaged embedding", where=str(self._folder), do="restore it from a backup")
        return row

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            with self._reading():
                self._check_matcher()
                generation, token = self._generation()
                if (generation, token) != (self._index.generation, self._index.token):
                    self._index.update(self._changes(generation, token))
            self._index.save_after_many_changes()
            return self._index.search(queries, k)

    def _changes(self, generation: int, token: str) -> Changes:
        """What the index does not know yet."""
        since = self._index.generation
        known = (since, self._index.token)
        query = "select 1 from generations where (generation, token) = (?, ?)"
        whole = self._base.execute(query, known).fetchone() is None
        gone = [] if whole else self._base.execute("select id from removals where generation > ? order by id", (since,))
        removed = np.array([of_kinds(row, int)[0] for row in gone], np.int64)
        return Changes(generation, token, whole, removed, self._added(-1 if whole else since))

    def _added(self, since: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = self._base.execute(f"{_EMBEDDINGS} where generation > ? order by generation, id", (since,))
        checked = ((of_kinds((image_id,), int)[0], self._embedding(data)) for image_id, data in rows)
        while block := list(itertools.islice(checked, _AT_ONCE)):
            ids, embeddings = zip(*block, strict=True)
            yield np.array(ids, np.int64), np.stack(embeddings)

    def replace(self, facts: GalleryFacts, embeddings: Iterable[tuple[int, np.ndarray]], *, seen: int) -> None:
        with self._writing() as generation:
            if generation != seen + 1:
                raise StudyError("was changed meanwhile", where=str(self._folder), do="run it again")
            count = 0
            for image_id, embedding in embeddings:
                row = (np.ascontiguousarray(embedding, "<f4").tobytes(), generation, image_id)
                change = "update images set embedding = ?, generation = ? where id = ?"
                count += self._base.execute(change, row).rowcount
            if count != self._base.execute("select count(*) from images").fetchone()[0]:
                raise StudyError("not every image has a new embedding", where=str(self._folder))
            self._base.execute("delete from generations")  # so that every index begins anew
            values = [(value, key) for key, value in asdict(facts).items()]
            self._base.executemany("update facts set value = ? where key = ?", values)
        with self._lock:
            self.facts = facts
            self._index = GalleryIndex(self._folder / _INDEX, facts.dim)


def _json(ids: Sequence[int]) -> str:
    return json.dumps([int(image_id) for image_id in ids])


def _image(row: tuple[Any, ...]) -> GalleryImage:
    image_id, label, digest, source, added = of_kinds(row, int, str, str, bytes, str)
    return GalleryImage(image_id, label, digest, source.decode("utf-8", "surrogateescape"), added)


GALLERY_STORES.register("sqlite", SqliteStore)


def _write_error(folder: Path, what: str) -> StudyError:
    return full_disk_error(folder, what) if is_full(what) else StudyError(what, where=str(folder))
