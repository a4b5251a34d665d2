"""`compare`: a retrained matcher and the one that it would replace, on the pairs that people judged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show


def compare_command(
    old: Annotated[Path, typer.Argument(help="The folder of the matcher in use.")],
    new: Annotated[Path, typer.Argument(help="The folder of the retrained one.")],
    corrections: Annotated[
        Path | None, typer.Option(help="The table of answers; without it, the one that NEW was trained with.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the images of NEW's data set are now.")] = None,
    gallery: Annotated[str | None, typer.Option(help="A gallery that has judged images, too.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compares two matchers on the pairs that people called the same or different in the page's review."""
    from imagematch.pipeline import compare_on_corrections

    log = command_log(as_json, quiet, verbose, stream=sys.stderr)
    found = compare_on_corrections(old, new, corrections, data_dir=data_dir, gallery=gallery, log=log)
    show(found.to_json(), found.lines(), as_json)
