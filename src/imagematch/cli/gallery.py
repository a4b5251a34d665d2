"""`gallery`: a gallery of images that stays: create, add, remove, search, list, export, rebuild."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagematch.cli.options import FarOption, Json, Quiet, ThresholdOption, chosen_distance, command_log, show

if TYPE_CHECKING:
    from imagematch.retrieval import Gallery, GalleryImage, Hits

gallery_app = typer.Typer(add_completion=False, rich_markup_mode=None)

_AT_ONCE = 1000
_IMAGE_SIDE = 256
_EXPORTED = ("label", "id", "digest", "added", "source")

Location = Annotated[str, typer.Argument(metavar="GALLERY", help="Its folder, or the URL of a store.")]
Model = Annotated[Path, typer.Option(help="The gallery's matcher: a folder, as exp/saved_models/NAME.")]
LabelOption = Annotated[str | None, typer.Option(help="The images of this label; '' for those without one.")]


@gallery_app.command()
def create(
    location: Location,
    model: Model,
    image_side: Annotated[
        int,
        typer.Option(
            min=0, max=2048, help="Store images with their longer side at most so many pixels; 0 stores none."
        ),
    ] = _IMAGE_SIDE,
    as_json: Json = False,
) -> None:
    """Makes an empty gallery for a matcher."""
    from imagematch.retrieval import Gallery

    with Gallery.create(location, model, image_side=image_side) as gallery:
        line = f"an empty gallery, of matcher {gallery.facts.matcher_name}"
        show(asdict(gallery.facts), [line], as_json)


@gallery_app.command()
def add(
    location: Location,
    images: Annotated[Path, typer.Argument(help="An image, a folder of images, or a .csv of path (and label).")],
    model: Model,
    label: Annotated[
        str | None, typer.Option(help="The label of all of them, instead of their class folders or the table's.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Adds images under their labels: class folders, or what a table says.

    An image that already exists keeps its id, and its label is replaced. Each 1,000 images are added whole or not at
    all: if this is broken off, run it again.
    """
    from imagematch.errors import DataError
    from imagematch.files import Layout
    from imagematch.retrieval import Gallery, list_images

    log = command_log(as_json, quiet)
    with Gallery.open(location, model) as gallery:
        decoding = gallery.matcher.card.embedding.decoding
        listed = list_images(images, manifest_dir=Layout().manifests, log=log, **decoding)
        before, ids = len(gallery), []
        with log.progress("adding images", len(listed)) as advance:
            for start in range(0, len(listed), _AT_ONCE):
                rows = range(start, min(start + _AT_ONCE, len(listed)))
                whole = [listed.boxes is None or listed.boxes[row] is None for row in rows]
                given: list[Any] = [
                    listed.root / listed.paths[row] if is_whole else listed.pixels(row)
                    for row, is_whole in zip(rows, whole, strict=True)
                ]
                labels = [label if label is not None else listed.labels[row] if listed.labels else None for row in rows]
                digests = [
                    None if is_whole else str(listed.digests[row]) for row, is_whole in zip(rows, whole, strict=True)
                ]

                def left_out(row: int, error: DataError, start: int = start) -> None:
                    log.say(f"left out: {listed.paths[start + row]}: {error.what}", "warning")

                ids += gallery.add(given, labels, digests=digests, unusable=left_out)
                advance(len(rows))
        count = len(gallery)
    lines = [f"{count - before:,} images added, {len(ids) - count + before:,} were there already; {count:,} in all"]
    show({"ids": ids, "added": count - before, "images": count}, lines, as_json)


@gallery_app.command()
def remove(
    location: Location,
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Ids of the images.")] = None,
    label: LabelOption = None,
    as_json: Json = False,
) -> None:
    """Removes images by id, or all of a label. Ids are not used again."""
    from imagematch.errors import ConfigError
    from imagematch.retrieval import Gallery

    if bool(ids) == (label is not None):
        raise ConfigError("needs ids or --label, and not both", where="gallery remove", do="see gallery list")
    with Gallery.open(location) as gallery:
        removed = gallery.remove(ids) if ids else gallery.remove_label(label or "")
        show({"removed": removed, "images": len(gallery)}, [f"{removed:,} removed, {len(gallery):,} left"], as_json)


@gallery_app.command()
def search(
    location: Location,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="The images searched for.")],
    model: Model,
    top_k: Annotated[int, typer.Option(min=1, help="How many of the gallery for each.")] = 10,
    by_label: Annotated[bool, typer.Option(help="Each label once, by its nearest image.")] = False,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    as_json: Json = False,
) -> None:
    """Finds the nearest images of a gallery, and says which of them match, or that none does (unknown)."""
    from imagematch.retrieval import Gallery

    with Gallery.open(location, model) as gallery:
        distance = chosen_distance(gallery.matcher.card.threshold.threshold(), threshold, far)
        found = gallery.search_many(images, top_k, threshold=distance, by_label=by_label)
    value = {
        "threshold": distance,
        "queries": [
            {"query": str(path), "hits": [asdict(hit) for hit in hits], "unknown": hits.unknown}
            for path, hits in zip(images, found, strict=True)
        ],
    }
    lines = [line for path, hits in zip(images, found, strict=True) for line in _hit_lines(str(path), hits)]
    show(value, [f"threshold {distance:.4f}", *lines], as_json)


def _hit_lines(path: str, hits: Hits) -> Iterable[str]:
    yield f"{path}: unknown" if hits.unknown else path
    for rank, hit in enumerate(hits, start=1):
        sure = "" if hit.probability is None else f"  probability {hit.probability:.3f}"
        verdict = "match   " if hit.is_match else "no match"
        yield f"{rank:4}  {verdict} {hit.distance:8.4f}{sure}  {hit.id:8}  {hit.label or '(no label)'}"


@gallery_app.command("list")
def list_command(
    location: Location,
    label: LabelOption = None,
    labels: Annotated[bool, typer.Option("--labels", help="The labels, and how many images each has.")] = False,
    as_json: Json = False,
) -> None:
    """Lists the images of a gallery, or its labels."""
    from imagematch.retrieval import Gallery

    with Gallery.open(location) as gallery:
        if labels:
            counts = gallery.labels()
            lines = [f"{count:8,}  {name or '(no label)'}" for name, count in counts.items()]
            show({"labels": counts, "images": sum(counts.values())}, lines, as_json)
            return
        facts = gallery.facts
        lines = [f"{len(gallery):,} images, of matcher {facts.matcher_name}"]
        listed = list(gallery.images(label))
    lines += [f"{image.id:8}  {image.label or '(no label)'}  {image.source}" for image in listed]
    show({"matcher": facts.matcher_name, "images": [_shown(image) for image in listed]}, lines, as_json)


@gallery_app.command("export")
def export_gallery(
    location: Location,
    output: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    as_json: Json = False,
) -> None:
    """Writes a gallery into a folder: images.csv (path, label, id, ...), embeddings.npy in its order, the small images.

    `dataset: csv` trains on images.csv, and `gallery add` reads it.
    """
    from imagematch.errors import DataError
    from imagematch.retrieval import Gallery

    if output.exists():
        raise DataError("already exists", where=str(output), do="name a new folder")
    with Gallery.open(location) as gallery:
        count = _export(gallery, output)
    show({"images": count, "output": str(output)}, [f"{count:,} images", f"output   {output}"], as_json)


def _export(gallery: Gallery, output: Path) -> int:
    import numpy as np
    import pandas as pd

    from imagematch.files import replacing_dir
    from imagematch.reporting import write_csv

    listed = list(gallery.images())
    with replacing_dir(output) as folder:
        (folder / "images").mkdir()
        paths = []
        for image in listed:
            data = gallery.image_file(image.id) or b""
            suffix = "png" if data.startswith(b"\x89PNG") else "jpg"
            paths.append(f"images/{image.id}.{suffix}" if data else image.source)
            if data:
                (folder / paths[-1]).write_bytes(data)
        columns: dict[str, list[Any]] = {"path": paths}
        columns |= {name: [getattr(image, name) for image in listed] for name in _EXPORTED}
        table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
        write_csv(folder / "images.csv", table)
        np.save(folder / "embeddings.npy", gallery.embeddings([image.id for image in listed]), allow_pickle=False)
    return len(listed)


@gallery_app.command()
def rebuild(location: Location, model: Model, as_json: Json = False) -> None:
    """Embeds the stored images again, for another matcher. If it is interrupted, the gallery stays as it was."""
    from imagematch.retrieval import Gallery

    with Gallery.open(location) as gallery:
        count = gallery.rebuild(model)
        facts = gallery.facts
    lines = [f"{count:,} images embedded anew, for matcher {facts.matcher_name}"]
    show({"images": count, "matcher": facts.matcher_name}, lines, as_json)


def _shown(image: GalleryImage) -> dict[str, Any]:
    return {**image._asdict(), "label": image.label or None}
