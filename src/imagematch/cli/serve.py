"""`serve`: a matcher and its gallery as an HTTP service with a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, own_command


def serve(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    gallery: Annotated[
        str | None, typer.Option(help="Its gallery: a folder, or the URL of a store; see imagematch gallery create.")
    ] = None,
    with_data: Annotated[
        bool,
        typer.Option(
            "--with-data",
            help="Serve the images of the matcher's data set: where --gallery (else exp/galleries/NAME) is not there, "
            "it is made of them. Answers go to GALLERY-corrections.csv, unless --corrections says where.",
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen on; without a token, this machine's own.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes, each with a matcher of its own; they share the gallery.")
    ] = 1,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that requests must bear; else $IMAGEMATCH_TOKEN.")
    ] = None,
    max_body_mb: Annotated[int, typer.Option(min=1, max=1024, help="Size of a request, MB.")] = 32,
    max_images: Annotated[int, typer.Option(min=1, max=1024, help="Images of a request.")] = 64,
    max_megapixels: Annotated[int, typer.Option(min=1, max=500, help="Pixels of an image, millions.")] = 50,
    max_waiting: Annotated[
        int, typer.Option(min=1, max=65_536, help="Images that wait at a time; more requests are answered 503.")
    ] = 256,
    corrections: Annotated[
        Path | None, typer.Option(help="A .csv file for what people answer in the page's review.")
    ] = None,
    body_seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Time in which a request must arrive.")] = 30,
    as_json: Json = False,
) -> None:
    """Serves a matcher over HTTP, with a page at / and its interface at /docs. Ctrl-C ends it.

    The log is on standard error, one JSON object a line, without images.
    """
    from imagematch.errors import ConfigError
    from imagematch.events import RunLog

    try:
        from imagematch.serving import ServerSettings, ServerStart, serve_matcher
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn", "python_multipart"):
            raise
        raise ConfigError(f"{error.name} is not installed", do="pip install 'imagematch[serve]'") from error

    def started(start: ServerStart) -> None:
        if as_json:
            print(json.dumps(start._asdict()), flush=True)
        else:
            say = RunLog(stream=sys.stdout).say
            say(start.line)
            if start.corrections is not None and (model / "config.yaml").is_file():
                say(f"learn    {_learning(model, Path(start.corrections))}")

    if with_data:
        gallery, corrections = _data_gallery(model, gallery, corrections)
    settings = ServerSettings(
        model=model.absolute(),
        gallery=gallery,
        host=host,
        port=port,
        workers=workers,
        token_file=token_file,
        max_body_mb=max_body_mb,
        max_images=max_images,
        max_megapixels=max_megapixels,
        max_waiting=max_waiting,
        body_seconds=body_seconds,
        corrections=None if corrections is None else corrections.absolute(),
    )
    serve_matcher(settings, started, RunLog(stream=sys.stderr))


def _learning(model: Path, corrections: Path) -> str:
    """The command by which a matcher is trained again with what people answered."""
    here = Path.cwd()
    file = corrections.relative_to(here) if corrections.is_relative_to(here) else corrections
    return f"{own_command()} train --config {model / 'config.yaml'} --set corrections={file} --fresh"


def _data_gallery(model: Path, gallery: str | None, corrections: Path | None) -> tuple[str, Path]:
    """The gallery of the matcher's data set, made or brought up to date, and the file of answers beside it."""
    from imagematch.errors import ConfigError
    from imagematch.events import RunLog
    from imagematch.files import Layout
    from imagematch.matching import read_card
    from imagematch.pipeline import open_data_gallery

    if gallery is not None and "://" in gallery:
        raise ConfigError("makes a gallery in a folder", where="--with-data", do="name a folder in --gallery")
    folder = Path(gallery) if gallery is not None else Layout().gallery_dir(read_card(model).name)
    open_data_gallery(model, folder, log=RunLog(stream=sys.stderr)).close()
    return str(folder), corrections or folder.with_name(f"{folder.name}-corrections.csv")
