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
from imagematch.events import SILENT, RunLog, TellingOnce
from imagematch.file_locks import locked
from imagematch.files import digest_bytes
from imagematch.matching import ImageMatcher, read_card
from imagematch.reading import is_inside
from imagematch.retrieval.collection import embed_images
from imagematch.retrieval.faiss_index import check_count
from imagematch.retrieval.figures import SearchFigures, search_figures
from imagematch.retrieval.images import ImageFolder, common_labels, list_images, why_nothing_in_common
from imagematch.retrieval.index import choose_index, make_index
from imagematch.retrieval.metrics import make_metric
from imagematch.retrieval.saved_index import GalleryIndex, ImageId, model_identity
from imagematch.retrieval.search import LeftOut, Neighbours, joined, nearest


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What a search found.

    Attributes:
        queries: the images searched for.
        gallery: the images searched in.
        neighbours: the nearest of each query, at most as many as were asked for.
        metric: what ranked them.
        index: the kind of index.
        left_out: gallery images that are a query's own file: left out of its ranking.
        copies: other gallery images that are byte for byte a query: ranked, but not counted in its figures.
        figures: where the folders have classes in common; else None.
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
    figures: SearchFigures | None
    baseline: SearchFigures | None = None

    def ranking(self) -> dict[str, list[str]]:
        """Query path -> gallery paths, the nearest first; each relative to its folder."""
        return {
            query: [self.gallery.paths[row] for row in rows if row >= 0]
            for query, rows in zip(self.queries.paths, self.neighbours.rows.tolist(), strict=True)
        }

    def right(self, query: int, row: int) -> bool | None:
        """Whether a gallery image has the query's class; None where there are no figures."""
        if self.figures is None or self.queries.labels is None or self.gallery.labels is None:
            return None
        return self.queries.labels[query] == self.gallery.labels[row]


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes:
        top_k: how many of the gallery for each query, 1 or more.
        metric: one of METRICS.
        space: one of SPACES.
        index: one of INDEXES; None chooses by the gallery's size.
    """

    top_k: int = 10
    metric: str = "euclidean"
    space: str = "embedding"
    index: str | None = None

    def check(self) -> None:
        """Raises ConfigError where the parts do not go together or FAISS is missing; opens nothing."""
        if self.top_k < 1:
            raise ConfigError(f"is {self.top_k}", where="top_k", do="give 1 or more")
        make_metric(self.metric)
        if self.metric == "jaccard" and self.space != "features":
            raise ConfigError(
                "weighted Jaccard needs values of 0 and more, and embeddings have negative ones",
                where="metric jaccard",
                do="use space features",
            )
        choose_index(0, self.metric, self.index)
        if self.index is not None:
            make_index(self.index, self.metric, 1)


def retrieve(
    model_dir: Path,
    query_dir: Path,
    gallery_dir: Path,
    search: Search,
    *,
    feature_dir: Path,
    manifest_dir: Path,
    log: RunLog = SILENT,
) -> Retrieval:
    """Ranks a gallery by its distance to each query.

    Where query and gallery are the same place a query's own file is left out of its ranking. A copy of it elsewhere is
    ranked; the figures leave that out too, since to find it says nothing. A FAISS index is kept in the model's folder
    and appended to when the gallery has grown; an exact one is made anew, from the cached features.

    Args:
        model_dir: the matcher's folder.
        query_dir: the images searched for: a folder, by any depth, or a table.
        gallery_dir: the images searched in, likewise.
        search: how.
        feature_dir: the feature store.
        manifest_dir: where manifests are kept.
        log: told what happens.

    Raises:
        ConfigError: the parts of `search` do not go together, or FAISS is missing.
        DataError: a folder is not there, has no usable image, or too few for the kind of index.
        ModelError: the matcher cannot be used, or the kept index is not its own.
    """
    search.check()
    card = read_card(model_dir)
    how = {"manifest_dir": manifest_dir, "cropper": card.embedding.cropper, **card.embedding.decoding}
    told = TellingOnce(log) if query_dir.absolute() == gallery_dir.absolute() else log
    queries = list_images(query_dir, role="query", log=told, **how)
    gallery = list_images(gallery_dir, role="gallery", log=told, **how)
    if search.top_k > len(gallery):
        log.event(
            "small_gallery", f"top-k {search.top_k:,} is more than the gallery has: all {len(gallery):,} are given"
        )
    kind = choose_index(len(gallery), search.metric, search.index)
    dim = card.embedding.dim if search.space == "embedding" else card.embedding.feature_dim
    make_index(kind, search.metric, dim)  # FAISS is missing: told before the slow part, as are too few images
    check_count(kind, len(gallery))
    matcher = ImageMatcher.load(model_dir, log=log)

    def embed(images: ImageFolder, space: str = search.space) -> np.ndarray:
        return embed_images(matcher, images, feature_dir, space=space, log=log)[0]

    made = GalleryIndex.create(kind, search.metric, model=model_identity(card), space=search.space, dim=dim)
    if kind == "exact":
        made.add(_ids(gallery), embed(gallery))
        index = made
    else:
        folder = index_dir(model_dir, gallery_dir, f"{search.space}-{search.metric}-{kind}")
        with locked(folder.with_name(f".{folder.name}.lock")):
            index = _up_to_date(made, gallery, folder, embed, log)
    copies = same_content(queries, gallery)
    own, left_out, others = _same_file(queries, gallery)
    labels = common_labels(queries, gallery)
    vectors, find = embed(queries), _finder(index, gallery)
    kept: list[Neighbours] = []

    def judged(part: slice, depth: int) -> Neighbours:
        found = find(vectors[part], max(depth, search.top_k), copies.of(part))
        kept.append(found.first(search.top_k).copy())
        return found.first(depth)

    figures = None if labels is None else search_figures(judged, *labels, left_out=copies)
    found = joined(kept) if kept and not others else find(vectors, search.top_k, own)
    if figures is None:
        none_relevant = "no query has another image of its class in the gallery"
        reason = why_nothing_in_common(queries, gallery) if labels is None else none_relevant
        log.event("no_figures", f"no figures: {reason}")
    baseline = None
    if labels is not None and search.space == "embedding" and kind == "exact" and not card.embedding.trained:
        asked, searched = embed(queries, "features"), embed(gallery, "features")

        def alone(part: slice, depth: int) -> Neighbours:
            return nearest(asked[part], searched, depth, "cosine", left_out=copies.of(part))

        baseline = search_figures(alone, *labels, left_out=copies)
    return Retrieval(queries, gallery, found, search.metric, kind, left_out, others, figures, baseline)


def same_content(queries: ImageFolder, gallery: ImageFolder) -> LeftOut:
    """Leaves out what is byte for byte a query."""
    return LeftOut.where_same(queries.digests.tolist(), gallery.digests.tolist())


def _same_file(queries: ImageFolder, gallery: ImageFolder) -> tuple[LeftOut, int, int]:
    """Leaves out a query's own file, not its copies; how many of the gallery are a query's own, and copies of one."""
    asked, searched = _places(queries), _places(gallery)
    known = set(asked)
    files = Counter(digest for _, digest in known)
    others = sum(files[place[1]] > (place in known) for place in searched)
    return LeftOut.where_same(asked, searched), sum(place in known for place in searched), others


def _places(images: ImageFolder) -> list[tuple[str, str]]:
    """Where each image's file is, and its digest."""
    resolved = cache(Path.resolve)
    files = [images.root / file for file in images.files or images.paths]
    places = [str(resolved(file.parent) / file.name) for file in files]
    return list(zip(places, images.digests.tolist(), strict=True))


def index_dir(model_dir: Path, gallery_dir: Path, what: str) -> Path:
    """Where the index of a gallery is cached: in the model's folder, so that it goes when the model is trained again.

    Raises:
        ModelError: that place lies outside the model's folder, through a link.
    """
    folder = model_dir / "indexes"
    if not is_inside(folder, model_dir):
        raise ModelError("leads out of the model's folder", where=str(folder), do="remove the link")
    return folder / f"{what}-{digest_bytes(os.fsencode(gallery_dir.resolve()))[:16]}"


def _ids(images: ImageFolder) -> list[ImageId]:
    return [ImageId(*both) for both in zip(images.paths, images.digests.tolist(), strict=True)]


def _up_to_date(
    made: GalleryIndex, gallery: ImageFolder, folder: Path, embed: Callable[[ImageFolder], np.ndarray], log: RunLog
) -> GalleryIndex:
    """The kept index with what is new appended; `made`, filled, where there is none or images have gone or changed."""
    ids = _ids(gallery)
    kept = made.reopened(folder)
    if kept is not None:
        known, wanted = set(kept.ids), set(ids)
        new = [row for row, image in enumerate(ids) if image not in known]
        if known <= wanted and len(new) <= len(kept):
            if new:
                kept.add([ids[row] for row in new], embed(gallery.take(new)))
                kept.save(folder)
                log.event("index_appended", f"index: {len(new):,} images appended", path=str(folder))
            return kept
    made.add(ids, embed(gallery))
    made.save(folder)
    log.event("index_built", f"index: {made.kind} of {len(made):,} images, kept in {folder}", path=str(folder))
    return made


def _finder(index: GalleryIndex, gallery: ImageFolder) -> Callable[[np.ndarray, int, LeftOut], Neighbours]:
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
