"""`retrieve`: ranks a gallery for each query; prints it, or writes it as JSON, CSV or a page; and can post it."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagematch.cli.options import (
    DEFAULT_FEATURE_DIR,
    FarOption,
    FeatureDir,
    Json,
    Quiet,
    Verbose,
    checked_distance,
    chosen_distance,
    command_log,
    show,
)

if TYPE_CHECKING:
    from imagematch.retrieval import Retrieval

OUTPUTS = (".json", ".csv", ".html")
_LISTED = 20


class DistanceName(StrEnum):
    """How distances are measured."""

    euclidean = "euclidean"
    cosine = "cosine"
    jaccard = "jaccard"


class Space(StrEnum):
    """What is compared."""

    embedding = "embedding"
    features = "features"


class IndexKind(StrEnum):
    """What finds the nearest."""

    flat = "flat"
    hnsw = "hnsw"
    ivfpq = "ivfpq"


def checked_output(path: Path) -> Path:
    """`path`, if its suffix is a known format. Raises ConfigError otherwise."""
    from imagematch.errors import ConfigError
    from imagematch.files import os_reason

    if path.suffix.lower() not in OUTPUTS:
        raise ConfigError(
            f"{path.name} has no known format", where="--output", do="end its name with .json, .csv or .html"
        )
    try:
        is_folder = path.is_dir()
    except OSError as error:  # too long a name, or a folder that may not be entered
        raise ConfigError(f"{path} cannot be written: {os_reason(error)}", where="--output") from error
    if is_folder:
        raise ConfigError(f"{path} is a folder", where="--output", do="name a file")
    return path


def retrieve_command(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    query: Annotated[
        Path, typer.Option(help="The images searched for: a folder, a .csv of path (and label), or one image.")
    ],
    gallery: Annotated[Path, typer.Option(help="The images searched in, likewise.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the ranking goes: .json (query path -> gallery paths, the nearest first), .csv (rank and "
            "distance), or .html (a page of images). Without it the ranking is printed."
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many of the gallery for each query.")] = 10,
    metric: Annotated[
        DistanceName,
        typer.Option(
            help="Embeddings lie on the unit sphere, where euclidean and cosine rank alike. jaccard (weighted) needs "
            "non-negative values: --space features, of an extractor that ends in a ReLU, as mobilenet_v2 and resnet50 "
            "do; those of efficientnet, the default, go below 0."
        ),
    ] = DistanceName.euclidean,
    space: Annotated[
        Space, typer.Option(help="Compare the matcher's embeddings, or the features of its extractor alone.")
    ] = Space.embedding,
    index: Annotated[
        IndexKind | None,
        typer.Option(
            help="flat compares everything; hnsw and ivfpq are approximate, and saved in the model's folder. Without "
            "it: flat up to 1,000,000 images, then hnsw, above 4,000,000 ivfpq.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Give only what is nearer than this distance; a query without any is unknown."),
    ] = None,
    far: FarOption = None,
    submit: Annotated[str | None, typer.Option(metavar="URL", help="Also post the JSON to this address.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    feature_dir: FeatureDir = DEFAULT_FEATURE_DIR,
) -> None:
    """Ranks a gallery by its distance to each query.

    Where both have classes (class folders, or a table's labels), Recall@K, MAP@R, top-K and kNN accuracy are printed.
    Where both are the same place an image is left out of its own ranking; the metrics leave out copies of it too, byte
    for byte. Of a table with columns query and gallery only the images marked so are taken, and of a folder with
    nothing but folders query and gallery only what is in that one.
    """
    from imagematch.errors import ConfigError
    from imagematch.files import Layout
    from imagematch.matching import read_card
    from imagematch.retrieval import RetrievalSettings, check_url, retrieve
    from imagematch.retrieval import submit as submit_ranking

    if output is not None:
        checked_output(output)
    if submit is not None:
        check_url(submit)
    kind = None if index is None else index.value
    checked_distance(threshold)
    if far is not None:
        if metric is not DistanceName.euclidean or space is not Space.embedding:
            raise ConfigError("holds for euclidean distances of embeddings", where="--far", do="give --threshold")
        threshold = chosen_distance(read_card(model).threshold.threshold(), threshold, far)
    settings = RetrievalSettings(top_k, metric.value, space.value, kind, threshold)
    settings.check()
    log = command_log(as_json, quiet, verbose)
    found = retrieve(model, query, gallery, settings, feature_dir=feature_dir, manifest_dir=Layout().manifests, log=log)
    if output is not None:
        _write(output, found, model)
    lines = [] if as_json else [*_lines(found, threshold), *([] if output else _table(found))]
    show(_as_json(found, threshold) if as_json else None, lines, as_json)
    if output is not None:
        log.say(f"output   {output}")
    if submit is not None:
        answer = submit_ranking(submit, found.ranking(), log=log)
        log.say(f"posted   {answer or 'accepted without a message'}")


def _write(output: Path, found: Retrieval, model: Path) -> None:
    from imagematch.files import write_json
    from imagematch.reporting import neighbours_table, write_csv, write_neighbours_page

    suffix = output.suffix.lower()
    if suffix == ".json":
        write_json(output, found.ranking())
    elif suffix == ".csv":
        write_csv(output, neighbours_table(found))
    else:
        write_neighbours_page(output, found, model=model.resolve().name)


def _as_json(found: Retrieval, threshold: float | None) -> dict[str, Any]:
    from imagematch.reporting import nearest_rows

    def neighbours(query: int) -> list[dict[str, Any]]:
        return [
            {"gallery": found.gallery.paths[row], "distance": distance, "right": found.right(query, row)}
            for row, distance in nearest_rows(found, query)
        ]

    return {
        "metric": found.metric,
        "index": found.index,
        "threshold": threshold,
        "queries": [{"query": path, "neighbours": neighbours(row)} for row, path in enumerate(found.queries.paths)],
        "metrics": None if found.metrics is None else asdict(found.metrics),
        "baseline": None if found.baseline is None else asdict(found.baseline),
    }


def _table(found: Retrieval) -> list[str]:
    """The neighbours of the first queries."""
    from imagematch.reporting import nearest_rows

    lines = []
    for query, path in enumerate(found.queries.paths[:_LISTED]):
        near = nearest_rows(found, query)
        lines.append(path if near else f"{path}: unknown")
        lines += [
            f"{rank:4} {distance:8.4f}  {found.gallery.paths[row]}" for rank, (row, distance) in enumerate(near, 1)
        ]
    if len(found.queries) > _LISTED:
        lines.append(f"and {len(found.queries) - _LISTED:,} more queries: give --output FILE")
    return lines


def _lines(found: Retrieval, threshold: float | None) -> list[str]:
    lines = [
        f"{len(found.queries):,} queries, {len(found.gallery):,} images in the gallery, "
        f"{found.metric} distance, index {found.index}"
    ]
    if found.left_out:
        lines.append(f"{found.left_out:,} images are in both: each is left out of its own ranking")
    if threshold is not None:
        unknown = int(found.unknown().sum())
        lines.append(f"{unknown:,} queries are unknown: nothing in the gallery is nearer than {threshold:g}")
    metrics = found.metrics
    if metrics is None:
        return lines
    if found.copies:
        lines.append(
            f"{found.copies:,} images of the gallery are copies of a query: ranked, but not counted in the metrics"
        )
    lines.append(f"{'':14}" + "".join(f"{f'K = {k}':>10}" for k in metrics.recall_at_k))
    for title, values in (
        ("Recall@K", metrics.recall_at_k),
        ("top-K accuracy", metrics.top_k_accuracy),
        ("kNN accuracy", metrics.knn_accuracy),
    ):
        lines.append(f"{title:14}" + "".join(f"{value:10.4f}" for value in values.values()))
    lines.append(f"MAP@R {metrics.map_at_r:.4f}, R-precision {metrics.r_precision:.4f}")
    if found.baseline is not None:
        alone = found.baseline
        votes = ", ".join(f"{value:.4f} (k = {k})" for k, value in alone.knn_accuracy.items())
        lines.append(
            f"baseline, the extractor's features alone by cosine: Recall@1 {alone.recall_at_k[1]:.4f}, "
            f"MAP@R {alone.map_at_r:.4f}, kNN accuracy {votes}"
        )
    if metrics.without_relevant:
        lines.append(
            f"{metrics.without_relevant:,} queries have none of their class in the gallery: wrong in the accuracies, "
            "not counted in the rest"
        )
    return lines
