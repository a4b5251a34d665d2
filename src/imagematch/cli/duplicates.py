"""`duplicates`: groups of images that match each other, listed or written as JSON, CSV or a page."""

from __future__ import annotations

from collections.abc import Sequence
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
    import numpy as np

    from imagematch.retrieval import Group, ImageFolder

_LISTED = 20
_WIDE = (
    "over half of the images are in groups: where they are no copies, this threshold tells classes apart; "
    "give a smaller --threshold"
)


def duplicates(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    images_dir: Annotated[
        Path, typer.Argument(help="The folder that is looked through, to any depth, or a .csv of path (and label).")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the groups go: .csv, .json, or .html (a page of images).")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="The distance under which two images are duplicates, instead of the matcher's own, which tells its "
            "classes apart: for copies, or for other images than it was trained on, a tenth of that is a start."
        ),
    ] = None,
    far: FarOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    feature_dir: FeatureDir = DEFAULT_FEATURE_DIR,
) -> None:
    """Finds images that match each other. Nothing is deleted.

    In a group every image matches every other, so that a chain of small differences does not join what is far apart.
    """
    from imagematch.cli.retrieve import checked_output
    from imagematch.files import Layout
    from imagematch.matching import ImageMatcher, read_card
    from imagematch.retrieval import duplicate_groups, embed_images, list_images

    if output is not None:
        checked_output(output)
    checked_distance(threshold)
    log = command_log(as_json, quiet, verbose)
    card = read_card(model)
    under, how = chosen_distance(card.threshold.threshold(), threshold, far), card.embedding
    images = list_images(images_dir, manifest_dir=Layout().manifests, cropper=how.cropper, **how.decoding, log=log)
    matcher = ImageMatcher.load(model, log=log)
    vectors, _ = embed_images(matcher, images, feature_dir, log=log)
    groups, undivided = duplicate_groups(vectors, under, log)
    inside = sum(len(group.rows) for group in groups)
    log.say(f"{len(images):,} images: {len(groups):,} groups with {inside:,} images under {under:.4f}")
    if 2 * inside > len(images):
        log.say(_WIDE, "warning")
    for chain in undivided:
        log.say(
            f"{len(chain):,} more images, such as {images.paths[chain[0]]}, form a chain of matches too long to be "
            "divided into groups: the threshold is too wide for them; give a smaller --threshold",
            "warning",
        )
    listed = [] if as_json or output is not None else _listed(images, groups)
    show(_as_json(images, groups, undivided, under) if as_json else None, listed, as_json)
    if output is not None:
        _write(output, images, groups, undivided, model, under)
        log.say(f"output   {output}")


def _listed(images: ImageFolder, groups: Sequence[Group]) -> list[str]:
    from imagematch.reporting import visible

    lines = []
    for number, group in enumerate(groups[:_LISTED], start=1):
        lines.append(f"{number}: at most {group.diameter:.4f} apart")
        lines += [f"   {visible(images.paths[row], None)}" for row in group.rows.tolist()]
    if len(groups) > _LISTED:
        lines.append(f"and {len(groups) - _LISTED:,} more groups: give --output FILE")
    return lines


def _as_json(
    images: ImageFolder, groups: Sequence[Group], undivided: Sequence[np.ndarray], threshold: float
) -> dict[str, Any]:
    listed = [
        {
            "diameter": group.diameter,
            "images": [
                {"path": images.paths[row], "distance": distance}
                for row, distance in zip(group.rows.tolist(), group.distances.tolist(), strict=True)
            ],
        }
        for group in groups
    ]
    chains = [[images.paths[row] for row in chain.tolist()] for chain in undivided]
    return {"threshold": threshold, "groups": listed, "undivided": chains}


def _write(
    output: Path,
    images: ImageFolder,
    groups: Sequence[Group],
    undivided: Sequence[np.ndarray],
    model: Path,
    threshold: float,
) -> None:
    from imagematch.files import write_json
    from imagematch.reporting import groups_table, write_csv, write_groups_page

    suffix = output.suffix.lower()
    if suffix == ".json":
        write_json(output, _as_json(images, groups, undivided, threshold))
    elif suffix == ".csv":
        write_csv(output, groups_table(images, groups))
    else:
        write_groups_page(
            output, images, groups, model=model.resolve().name, threshold=threshold, undivided=sum(map(len, undivided))
        )
