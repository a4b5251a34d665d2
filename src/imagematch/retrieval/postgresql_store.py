"""A gallery in PostgreSQL with pgvector: for more images than one machine holds, or for several machines."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from imagematch.errors import ConfigError, DataError, ModelError, StudyError
from imagematch.retrieval.gallery_store import GALLERY_STORES, GalleryFacts, GalleryImage, NewImage

EXACT_UP_TO = 50_000
"""Images up to which every one is compared; above, pgvector's HNSW index proposes candidates."""
PROPOSED = 4
"""How many times as many as wanted it proposes, at least 200."""

_CONNECT_S = 10
_AT_ONCE = 200
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_NO_GALLERY = "create one: imagematch gallery create"
_SCHEMA = """
create schema {schema};
create table {schema}.facts (matcher text not null, matcher_name text not null, dim integer not null,
    image_side integer not null, generation bigint not null);
create table {schema}.images (id bigint generated always as identity primary key, digest text not null unique,
    label text not null, source bytea not null, added text not null, embedding {vector} not null);
create index images_by_label on {schema}.images (label, id);
create table {schema}.image_files (id bigint primary key references {schema}.images on delete cascade,
    data bytea not null);
"""
_INDEX = "create index nearest on {schema}.images using hnsw ((embedding::{half}({width})) {half_ops})"
_MOST_INDEXED = 4000
"""Values of an embedding that pgvector's index takes."""


class PostgresqlStore:
    """A location is `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE?gallery=NAME`, the gallery a schema of that name.

    The methods are those of GalleryStore. Up to EXACT_UP_TO images the search is exact; above it is approximate.
    """

    def __init__(self, location: str) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(location)
        except (ArgumentError, ValueError) as error:
            raise ConfigError("is no URL", where="the gallery's URL", do="percent-encode the password") from error
        name = url.query.get("gallery", "")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            do = "end it with ?gallery=NAME, of small letters, digits and underscores"
            raise ConfigError("names no gallery", where="the gallery's URL", do=do)
        url = url.difference_update_query(["gallery"])
        self._where = f"{url.host}/{url.database}, gallery {name}"
        self._schema = f"gallery_{name}"
        options = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_S}
        with self._errors():
            self._engine = create_engine(url, pool_pre_ping=True, connect_args=options)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What the database raises, in one line without the URL."""
        from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

        try:
            yield
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            what, do = "its driver is not installed", "pip install 'imagematch[postgresql]'"
            raise ConfigError(what, where=self._where, do=do) from error
        except SQLAlchemyError as error:
            text = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise StudyError(f"the gallery cannot be used: {text}", where=self._where, do="check the server") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._errors(), self._engine.begin() as connection:
            yield _Statements(connection, self._schema)

    @contextlib.contextmanager
    def _writing(self, *, check: bool = True) -> Iterator[Any]:
        """A change of the gallery, one at a time; commits."""
        with self._transaction() as run:
            matcher = run("select matcher from {schema}.facts for update").scalar_one()
            if check:
                self._check_matcher(matcher)
            yield run
            run("update {schema}.facts set generation = generation + 1")

    def _check_matcher(self, matcher: str) -> None:
        if matcher != self.facts.matcher:
            what, do = "was rebuilt for another matcher meanwhile", "open it again with that one"
            raise ModelError(what, where=self._where, do=do)

    @classmethod
    def create(cls, location: str, facts: GalleryFacts) -> PostgresqlStore:
        with cls(location)._closed_on_error() as store, store._transaction() as run:
            if store._is_there(run):
                raise DataError("is a gallery already", where=store._where, do="choose another name, or remove it")
            if run("select 1 from pg_available_extensions where name = 'vector'").first() is None:
                raise StudyError("the server has no pgvector", where=store._where, do="install its extension vector")
            run("create extension if not exists vector")
            for statement in _SCHEMA.split(";")[:-1]:
                run(statement)
            store._index(run, facts.dim)
            run("insert into {schema}.facts values (:matcher, :matcher_name, :dim, :image_side, 0)", **asdict(facts))
            store.facts = facts
        return store

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[PostgresqlStore]:
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def _is_there(self, run: Any) -> bool:
        query = "select 1 from information_schema.tables where table_schema = :name and table_name = 'facts'"
        return run(query, name=self._schema).first() is not None

    @staticmethod
    def _index(run: Any, dim: int) -> None:
        if dim <= _MOST_INDEXED:
            run(_INDEX, width=dim)

    @classmethod
    def open(cls, location: str) -> PostgresqlStore:
        with cls(location)._closed_on_error() as store, store._transaction() as run:
            if not store._is_there(run):
                raise DataError("no gallery is there", where=store._where, do=_NO_GALLERY)
            store.facts = store._read_facts(run)
        return store

    facts: GalleryFacts

    @staticmethod
    def _read_facts(run: Any) -> GalleryFacts:
        return GalleryFacts(*run("select matcher, matcher_name, dim, image_side from {schema}.facts").one())

    def close(self) -> None:
        self._engine.dispose()

    def generation(self) -> int:
        with self._transaction() as run:
            return int(run("select generation from {schema}.facts").scalar_one())

    def add(self, images: Sequence[NewImage]) -> list[int]:
        ids, now = [], datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing() as run:
            for image in images:
                known = run("select id, label from {schema}.images where digest = :digest", digest=image.digest).first()
                if known is not None:
                    if image.label and image.label != known[1]:
                        run("update {schema}.images set label = :label where id = :id", label=image.label, id=known[0])
                    ids.append(int(known[0]))
                    continue
                ids.append(
                    run(
                        "insert into {schema}.images (digest, label, source, added, embedding) "
                        "values (:digest, :label, :source, :added, cast(:embedding as {vector})) returning id",
                        digest=image.digest,
                        label=image.label,
                        source=image.source.encode("utf-8", "surrogateescape"),
                        added=now,
                        embedding=_text(image.embedding),
                    ).scalar_one()
                )
                if image.data:
                    run("insert into {schema}.image_files values (:id, :data)", id=ids[-1], data=image.data)
        return ids

    def remove(self, ids: Iterable[int]) -> int:
        with self._writing(check=False) as run:
            return int(run("delete from {schema}.images where id = any(:ids)", ids=[int(one) for one in ids]).rowcount)

    def count(self) -> int:
        with self._transaction() as run:
            return int(run("select count(*) from {schema}.images").scalar_one())

    def labels(self, *, start: str = "", contains: str = "", limit: int | None = None) -> dict[str, int]:
        query = 'select label, count(*) from {schema}.images where label >= :start collate "C" '
        query += 'group by label order by label collate "C" limit :limit'
        part = contains.casefold()  # in some locales the server's lower() knows the letters a to z alone
        with self._transaction() as run:
            rows = run(query, start=start, limit=None if part else limit)
            return dict(itertools.islice(((label, int(n)) for label, n in rows if part in label.casefold()), limit))

    def images(self, *, label: str | None = None, after: int = 0, limit: int = 1000) -> list[GalleryImage]:
        of_label = "" if label is None else "label = :label and "
        values = {} if label is None else {"label": label}
        query = "select id, label, digest, source, added from {schema}.images where "
        with self._transaction() as run:
            rows = run(query + of_label + "id > :after order by id limit :limit", after=after, limit=limit, **values)
            return [_image(row) for row in rows]

    def find(self, ids: Sequence[int]) -> dict[int, GalleryImage]:
        query = "select id, label, digest, source, added from {schema}.images where id = any(:ids)"
        with self._transaction() as run:
            return {row[0]: _image(row) for row in run(query, ids=[int(one) for one in ids])}

    def image_file(self, image_id: int) -> bytes | None:
        with self._transaction() as run:
            found = run("select data from {schema}.image_files where id = :id", id=image_id).scalar_one_or_none()
        return None if found is None else bytes(found)

    def embeddings(self, ids: Sequence[int]) -> np.ndarray:
        query = "select id, cast(embedding as text) from {schema}.images where id = any(:ids)"
        with self._transaction() as run:
            found = {row[0]: _vector(row[1]) for row in run(query, ids=[int(one) for one in ids])}
        return np.stack([found[one] for one in ids]) if len(ids) else np.empty((0, self.facts.dim), np.float32)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with self._transaction() as run:
            self._check_matcher(self._read_facts(run).matcher)
            count = int(run("select count(*) from {schema}.images").scalar_one())
            k = min(k, count)
            found = [self._nearest(run, query, k, count) for query in queries] if k else []
        k = min([k, *map(len, found)])
        ids = np.array([[one for one, _ in rows[:k]] for rows in found], np.int64).reshape(len(queries), k)
        return ids, np.array([[d for _, d in rows[:k]] for rows in found], np.float32).reshape(len(queries), k)

    def _nearest(self, run: Any, query: np.ndarray, k: int, count: int) -> list[tuple[int, float]]:
        """Ids and distances, by distance and id."""
        order = (
            "select id, embedding <-> cast(cast(:query as text) as {vector}) as distance from {source} "
            "order by distance, id limit :k"
        )
        values = {"query": _text(query), "k": k}
        candidates = max(_AT_ONCE, PROPOSED * k)
        if count <= EXACT_UP_TO or candidates >= count or self.facts.dim > _MOST_INDEXED:
            return [tuple(row) for row in run(order.replace("{source}", "{schema}.images"), **values)]
        run(f"set local hnsw.ef_search = {min(1000, candidates)}")
        run("set local hnsw.iterative_scan = relaxed_order")
        near = (
            "(select id, embedding from {schema}.images order by "
            "embedding::{half}({width}) <-> cast(cast(:query as text) as {half}({width})) limit :candidates) as near"
        )
        return [
            tuple(row)
            for row in run(order.replace("{source}", near), width=self.facts.dim, candidates=candidates, **values)
        ]

    def replace(self, facts: GalleryFacts, embeddings: Iterable[tuple[int, np.ndarray]], *, seen: int) -> None:
        with self._writing(check=False) as run:
            if run("select generation from {schema}.facts").scalar_one() != seen:
                raise StudyError("was changed meanwhile", where=self._where, do="run it again")
            run("drop index if exists {schema}.nearest")
            count = 0
            for image_id, embedding in embeddings:
                query = "update {schema}.images set embedding = cast(:embedding as {vector}) where id = :id"
                count += run(query, embedding=_text(embedding), id=image_id).rowcount
            if count != run("select count(*) from {schema}.images").scalar_one():
                raise StudyError("not every image has a new embedding", where=self._where)
            self._index(run, facts.dim)
            run(
                "update {schema}.facts set matcher = :matcher, matcher_name = :matcher_name, dim = :dim, "
                "image_side = :image_side",
                **asdict(facts),
            )
        self.facts = facts


class _Statements:
    """Runs statements in one transaction; `{schema}` is the gallery's, and the extension's types are where it is."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection, self._schema = connection, schema

    def __call__(self, statement: str, *, width: int = 0, **values: Any) -> Any:
        from sqlalchemy import text

        names = {"schema": self._schema, "vector": "vector", "half": "halfvec", "half_ops": "halfvec_l2_ops"}
        for name, value in {**names, "width": str(width)}.items():
            statement = statement.replace(f"{{{name}}}", value)
        return self._connection.execute(text(statement.replace("::", "\\:\\:")), values)


def _text(vector: np.ndarray) -> str:
    """As pgvector reads it; nine digits tell every float32."""
    return "[" + ",".join(f"{value:.9g}" for value in vector.tolist()) + "]"


def _vector(text: str) -> np.ndarray:
    return np.array(text[1:-1].split(","), np.float32)


def _image(row: Sequence[Any]) -> GalleryImage:
    image_id, label, digest, source, added = row
    return GalleryImage(int(image_id), label, digest, bytes(source).decode("utf-8", "surrogateescape"), added)


GALLERY_STORES.register("postgresql", PostgresqlStore)
