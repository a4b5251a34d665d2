"""`export`: a matcher's network for other programs, or its embeddings for the projector."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

_FORMATS = ("onnx", "litert", "openvino", "saved_model", "projector")


def export(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    kind: Annotated[str, typer.Option("--format", help=f"One of {', '.join(_FORMATS)}.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="A file for onnx (.onnx) and litert (.tflite), else a folder; the projector has its own by default."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="projector: whose images.")] = "test",
    data_dir: Annotated[Path | None, typer.Option(help="projector: where the images are now.")] = None,
) -> None:
    """Writes the network, image -> embedding, for another program, and checks that it gives the same embeddings."""
    from imagematch.errors import ConfigError
    from imagematch.events import RunLog

    if kind not in _FORMATS:
        raise ConfigError(f"{kind!r} is not one of {', '.join(_FORMATS)}", where="--format")
    log = RunLog(stream=sys.stderr)
    if kind == "projector":
        from imagematch.pipeline import export_projector

        folder, logs = export_projector(model, output, split=split, data_dir=data_dir, log=log)
        print(f"projector    {folder} (load vecs.tsv and meta.tsv at projector.tensorflow.org)")
        print(f"tensorboard  tensorboard --logdir {logs}")
        return
    if output is None:
        raise ConfigError("names no file or folder", where="--output", do="give one: --output PATH")
    from imagematch.pipeline import export_matcher

    done = export_matcher(model, kind, output, log=log)
    print(f"{kind}  {done.path} (embeddings at most {done.distance:.1g} from the matcher's own)")
    for note in done.notes:
        print(f"note: {note}")
