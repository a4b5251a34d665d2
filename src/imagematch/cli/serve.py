"""`serve`: a matcher and its gallery as an HTTP service with a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, show


def serve(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    gallery: Annotated[
        str | None, typer.Option(help="Its gallery: a folder, or the URL of a store; see imagematch gallery create.")
    ] = None,
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
        from imagematch.serving import ServerSettings, serve_matcher
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn", "python_multipart"):
            raise
        raise ConfigError(f"{error.name} is not installed", do="pip install 'imagematch[serve]'") from error

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
    serve_matcher(settings, lambda line: show({"started": line}, [line], as_json), RunLog(stream=sys.stderr))
