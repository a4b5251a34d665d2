"""`retrieve`: ranks a gallery for each query, writes it as JSON, CSV or a page, and posts it where that is wanted."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import DEFAULT_FEATURE_DIR, FeatureDir

if TYPE_CHECKING:
    from imagematch.retrieval import Retrieval

OUTPUTS = (".json", ".csv", ".html")


class Metric(StrEnum):
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

    exact = "exact"
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


def retrieve(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    query: Annotated[Path, typer.Option(help="The images searched for: a folder, or a .csv of path (and label).")],
    gallery: Annotated[Path, typer.Option(help="The images searched in, likewise.")],
    output: Annotated[
        Path,
        typer.Option(
            help="Where the ranking goes: .json (query path -> gallery paths, the nearest first), .csv (rank and "
            "distance), or .html (a page of pictures)."
        ),
    ],
    top_k: Annotated[int, typer.Option(min=1, help="How many of the gallery for each query.")] = 10,
    metric: Annotated[
        Metric,
        typer.Option(
            help="Embeddings lie on the unit sphere, where euclidean and cosine rank alike. jaccard (weighted) needs "
            "non-negative values: --space features, of an extractor that ends in a ReLU, as mobilenet_v2 and resnet50 "
            "do; those of efficientnet, the default, go below 0."
        ),
    ] = Metric.euclidean,
    space: Annotated[
        Space, typer.Option(help="Compare the matcher's embeddings, or the features of its extractor alone.")
    ] = Space.embedding,
    index: Annotated[
        IndexKind | None,
        typer.Option(
            help="exact compares everything, in numpy; flat, hnsw and ivfpq are FAISS's and are kept in the model's "
            "folder. Without it: exact up to 100,000 images, then flat, hnsw, ivfpq by size.",
            show_default=False,
        ),
    ] = None,
    submit: Annotated[str | None, typer.Option(metavar="URL", help="Also post the JSON to this address.")] = None,
    feature_dir: FeatureDir = DEFAULT_FEATURE_DIR,
) -> None:
    """Ranks a gallery by its distance to each query.

    Where both have classes (class folders, or a table's labels), Recall@K, MAP@R, top-K and kNN accuracy are printed.
    Where both are the same place an image is left out of its own ranking; the figures leave out copies of it too, byte
    for byte. Of a table with columns query and gallery only the images marked so are taken, and of a folder with
    nothing but folders query and gallery only what is in that one.
    """
    from imagematch.events import console_log
    from imagematch.files import Layout
    from imagematch.retrieval import Search, check_url
    from imagematch.retrieval import retrieve as retrieve_images
    from imagematch.retrieval import submit as submit_ranking

    checked_output(output)
    if submit is not None:
        check_url(submit)
    search = Search(top_k, metric.value, space.value, None if index is None else index.value)
    search.check()
    log = console_log()
    found = retrieve_images(
        model, query, gallery, search, feature_dir=feature_dir, manifest_dir=Layout().manifests, log=log
    )
    _write(output, found, model)
    for line in _lines(found):
        print(line)
    log.say(f"output   {output}")
    if submit is not None:
        answer = submit_ranking(submit, found.ranking(), log=log)
        log.say(f"posted   {answer or 'taken without a word'}")


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


def _lines(found: Retrieval) -> list[str]:
    lines = [
        f"{len(found.queries):,} queries, {len(found.gallery):,} images in the gallery, "
        f"{found.metric} distance, index {found.index}"
    ]
    if found.left_out:
        lines.append(f"{found.left_out:,} images are in both: each is left out of its own ranking")
    figures = found.figures
    if figures is None:
        return lines
    if found.copies:
        lines.append(
            f"{found.copies:,} images of the gallery are copies of a query: ranked, but not counted in the figures"
        )
    lines.append(f"{'':14}" + "".join(f"{f'K = {k}':>10}" for k in figures.recall_at_k))
    for title, values in (
        ("Recall@K", figures.recall_at_k),
        ("top-K accuracy", figures.top_k_accuracy),
        ("kNN accuracy", figures.knn_accuracy),
    ):
        lines.append(f"{title:14}" + "".join(f"{value:10.4f}" for value in values.values()))
    lines.append(f"MAP@R {figures.map_at_r:.4f}, R-precision {figures.r_precision:.4f}")
    if found.baseline is not None:
        alone = found.baseline
        votes = ", ".join(f"{value:.4f} (k = {k})" for k, value in alone.knn_accuracy.items())
        lines.append(
            f"baseline, the extractor's features alone by cosine: Recall@1 {alone.recall_at_k[1]:.4f}, "
            f"MAP@R {alone.map_at_r:.4f}, kNN accuracy {votes}"
        )
    if figures.without_relevant:
        lines.append(
            f"{figures.without_relevant:,} queries have none of their class in the gallery: wrong in the accuracies, "
            "not counted in the rest"
        )
    return lines
