"""A search from folder to folder: images listed, embedded, indexed, searched, and measured where they have labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from imagematch.errors import ConfigError, ModelError
from imagematch.events import SILENT, EachEventOnce, RunLog
from imagematch.file_locks import locked
from imagematch.files import digest_bytes
from imagematch.matching import ImageMatcher, read_card
from imagematch.reading import is_inside
from imagematch.retrieval.images import ImageFolder, common_labels, embed_images, list_images, why_nothing_in_common
from imagematch.retrieval.index import check_count, choose_index
from imagematch.retrieval.metrics import SearchMetrics, search_metrics
from imagematch.retrieval.saved_index import IndexedImage, SavedIndex, model_identity
from imagematch.retrieval.search import LeftOut, Neighbours, joined, nearest

Find = Callable[[np.ndarray, int, LeftOut], Neighbours]
"""Queries (q, d), how many neighbours, what does not count -> the nearest, in the gallery's rows."""

BASELINE_UP_TO = 100_000
"""Images of a gallery up to which the extractor's features alone are searched too."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What a search found.

    Attributes:
        queries: the images searched for.
        gallery: the images searched in.
        neighbours: the nearest of each query, at most as many as were requested, and none beyond the threshold.
        metric: what ranked them, one of SEARCH_DISTANCES.
        index: the kind of index.
        left_out: gallery images that are a query's own file: left out of its ranking.
        copies: other gallery images that are byte for byte a query: ranked, but not counted in its metrics.
        metrics: where the folders have classes in common; else None.
        baseline: those of the frozen extractor's features alone, by cosine; None where they are none, are what was
            searched, or where there are too many to compare all.
    """

    queries: ImageFolder
    gallery: ImageFolder
    neighbours: Neighbours
    metric: str
    index: str
    left_out: int
    copies: int
    metrics: SearchMetrics | None
    baseline: SearchMetrics | None = None

    def ranking(self) -> dict[str, list[str]]:
        """Query path -> gallery paths, the nearest first; each relative to its folder."""
        return {
            query: [self.gallery.paths[row] for row in rows if row >= 0]
            for query, rows in zip(self.queries.paths, self.neighbours.rows.tolist(), strict=True)
        }

    def unknown(self) -> np.ndarray:
        """(q,) bool: the queries for which nothing in the gallery is given."""
        return np.all(self.neighbours.rows < 0, axis=1)

    def right(self, query: int, row: int) -> bool | None:
        """Whether a gallery image has the query's class; None where there are no metrics."""
        if self.metrics is None or self.queries.labels is None or self.gallery.labels is None:
            return None
        return self.queries.labels[query] == self.gallery.labels[row]


@dataclass(frozen=True)
class RetrievalSettings:
    """How to search.

    Attributes:
        top_k: how many of the gallery for each query, 1 or more.
        metric: one of SEARCH_DISTANCES.
        space: one of SPACES.
        index: one of INDEXES; None chooses by the gallery's size.
        threshold: only what is nearer is given; None gives all. The metrics are of the whole ranking.
    """

    top_k: int = 10
    metric: str = "euclidean"
    space: str = "embedding"
    index: str | None = None
    threshold: float | None = None

    def check(self) -> None:
        """Raises ConfigError where they do not go together; opens nothing."""
        if self.top_k < 1:
            raise ConfigError(f"is {self.top_k}", where="top_k", do="give 1 or more")
        choose_index(0, self.metric, self.index)
        if self.metric == "jaccard" and self.space != "features":
            raise ConfigError(
                "weighted Jaccard needs values of 0 and more, and embeddings have negative ones",
                where="metric jaccard",
                do="use space features",
            )


def retrieve(
    model_dir: Path,
    query_dir: Path,
    gallery_dir: Path,
    settings: RetrievalSettings,
    *,
    feature_dir: Path,
    manifest_dir: Path,
    log: RunLog = SILENT,
) -> Retrieval:
    """Ranks a gallery by its distance to each query.

    Where query and gallery are the same place a query's own file is left out of its ranking. A copy of it elsewhere is
    ranked; the metrics leave that out too, since to find it says nothing. An index of kind hnsw or ivfpq is saved in
    the model's folder and appended to when the gallery has grown.

    Args:
        model_dir: the matcher's folder.
        query_dir: the images searched for: a folder, by any depth, a table, or one image.
        gallery_dir: the images searched in, likewise.
        settings: how.
        feature_dir: the feature store.
        manifest_dir: where manifests are kept.
        log: hears what happens.

    Raises:
        ConfigError: the settings do not go together.
        DataError: a folder is not there, has no usable image, or too few for the kind of index.
        ModelError: the matcher cannot be used, or the saved index is not its own.
    """
    settings.check()
    card = read_card(model_dir)
    how = {"manifest_dir": manifest_dir, "cropper": card.embedding.cropper, **card.embedding.decoding}
    once = EachEventOnce(log) if query_dir.absolute() == gallery_dir.absolute() else log
    queries = list_images(query_dir, role="query", log=once, **how)
    gallery = list_images(gallery_dir, role="gallery", log=once, **how)
    if settings.top_k > len(gallery):
        log.event(
            "small_gallery", f"top-k {settings.top_k:,} is more than the gallery has: all {len(gallery):,} are given"
        )
    kind = choose_index(len(gallery), settings.metric, settings.index)
    dim = card.embedding.dim if settings.space == "embedding" else card.embedding.feature_dim
    check_count(kind, len(gallery))  # said before the slow part
    matcher = ImageMatcher.load(model_dir, log=log)

    def embed(images: ImageFolder, space: str = settings.space) -> np.ndarray:
        return embed_images(matcher, images, feature_dir, space=space, log=log)[0]

    copies = same_content(queries, gallery)
    own, left_out, others = _same_file(queries, gallery)
    labels = common_labels(queries, gallery)
    if kind == "flat":
        find = _compare_all(embed(gallery), settings.metric)
    else:
        empty = SavedIndex.create(kind, settings.metric, model=model_identity(card), space=settings.space, dim=dim)
        folder = index_dir(model_dir, gallery_dir, f"{settings.space}-{settings.metric}-{kind}")
        with locked(folder.with_name(f".{folder.name}.lock")):
            find = _in_gallerys_order(_up_to_date(empty, gallery, folder, embed, log), gallery)
    vectors = embed(queries)
    found: list[Neighbours] = []

    def searched(part: slice, depth: int) -> Neighbours:
        near = find(vectors[part], max(depth, settings.top_k), copies.of(part))
        found.append(near.first(settings.top_k).copy())
        return near.first(depth)

    metrics = None if labels is None else search_metrics(searched, *labels, left_out=copies)
    neighbours = joined(found) if found and not others else find(vectors, settings.top_k, own)
    if settings.threshold is not None:
        neighbours = neighbours.under(settings.threshold)
    if metrics is None:
        none_relevant = "no query has another image of its class in the gallery"
        reason = why_nothing_in_common(queries, gallery) if labels is None else none_relevant
        log.event("no_metrics", f"no metrics: {reason}", level="warning")
    baseline = None
    few = len(gallery) <= BASELINE_UP_TO
    if labels is not None and settings.space == "embedding" and kind == "flat" and few and not card.embedding.trained:
        query_features, gallery_features = embed(queries, "features"), embed(gallery, "features")

        def alone(part: slice, depth: int) -> Neighbours:
            return nearest(query_features[part], gallery_features, depth, "cosine", left_out=copies.of(part))

        baseline = search_metrics(alone, *labels, left_out=copies)
    return Retrieval(queries, gallery, neighbours, settings.metric, kind, left_out, others, metrics, baseline)


def same_content(queries: ImageFolder, gallery: ImageFolder) -> LeftOut:
    """Leaves out what is byte for byte a query."""
    return LeftOut.where_same(queries.digests.tolist(), gallery.digests.tolist())


def _same_file(queries: ImageFolder, gallery: ImageFolder) -> tuple[LeftOut, int, int]:
    """Leaves out a query's own file, not its copies; how many of the gallery are a query's own, and copies of one."""
    query_files, gallery_files = _files(queries), _files(gallery)
    known = set(query_files)
    with_digest = Counter(digest for _, digest in known)
    others = sum(with_digest[file[1]] > (file in known) for file in gallery_files)
    return LeftOut.where_same(query_files, gallery_files), sum(file in known for file in gallery_files), others


def _files(images: ImageFolder) -> list[tuple[str, str]]:
    """Each image's file, its folder resolved, and its digest."""
    resolved = cache(Path.resolve)
    files = [images.root / file for file in images.files or images.paths]
    paths = [str(resolved(file.parent) / file.name) for file in files]
    return list(zip(paths, images.digests.tolist(), strict=True))


def index_dir(model_dir: Path, gallery_dir: Path, what: str) -> Path:
    """Where the index of a gallery is cached: in the model's folder, so that it goes when the model is trained again.

    Raises:
        ModelError: that folder lies outside the model's folder, through a link.
    """
    folder = model_dir / "indexes"
    if not is_inside(folder, model_dir):
        raise ModelError("leads out of the model's folder", where=str(folder), do="remove the link")
    return folder / f"{what}-{digest_bytes(os.fsencode(gallery_dir.resolve()))[:16]}"


def _ids(images: ImageFolder) -> list[IndexedImage]:
    return [IndexedImage(*both) for both in zip(images.paths, images.digests.tolist(), strict=True)]


def _compare_all(vectors: np.ndarray, metric: str) -> Find:
    return lambda queries, k, left_out: nearest(queries, vectors, k, metric, left_out=left_out)


def _in_gallerys_order(index: SavedIndex, gallery: ImageFolder) -> Find:
    """Searches an index whose images may stand in another order than the gallery's."""
    if index.ids == _ids(gallery):
        return index.search
    row_of = {path: row for row, path in enumerate(gallery.paths)}
    gallery_rows = np.array([row_of[image.path] for image in index.ids] + [-1], np.int64)

    def find(queries: np.ndarray, k: int, left_out: LeftOut) -> Neighbours:
        found = index.search(queries, k, LeftOut(left_out.queries, left_out.gallery[gallery_rows[:-1]]))
        rows = gallery_rows[found.rows]
        order = np.lexsort((rows, found.distances), axis=-1)
        return Neighbours(np.take_along_axis(rows, order, 1), np.take_along_axis(found.distances, order, 1))

    return find


def _up_to_date(
    empty: SavedIndex, gallery: ImageFolder, folder: Path, embed: Callable[[ImageFolder], np.ndarray], log: RunLog
) -> SavedIndex:
    """The saved index with what is new appended; `empty`, filled, where there is none or images changed."""
    ids = _ids(gallery)
    saved = empty.reopened(folder)
    if saved is not None:
        known, wanted = set(saved.ids), set(ids)
        new = [row for row, image in enumerate(ids) if image not in known]
        if known <= wanted and len(new) <= len(saved):
            if new:
                saved.add([ids[row] for row in new], embed(gallery.take(new)), log)
                saved.save(folder)
                log.event("index_appended", f"index: {len(new):,} images appended", path=str(folder))
            return saved
    empty.add(ids, embed(gallery), log)
    empty.save(folder)
    log.event("index_built", f"index: {empty.kind} of {len(empty):,} images, saved in {folder}", path=str(folder))
    return empty
