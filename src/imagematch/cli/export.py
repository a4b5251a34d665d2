"""`export`: a matcher's network for other programs, its embeddings for the projector, or a bundle to take along."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import Json, Quiet, Verbose, command_log, show

if TYPE_CHECKING:
    from imagematch.events import RunLog

_FORMATS = ("onnx", "litert", "openvino", "saved_model", "projector", "bundle")


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
    gallery: Annotated[str | None, typer.Option(help="bundle: the gallery's folder, which is copied into it.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Writes the network, image -> embedding, for another program, and checks that it gives the same embeddings.

    A bundle is a folder with the matcher, its network and its gallery, for `serve` and Python elsewhere.
    """
    from imagematch.config import did_you_mean
    from imagematch.errors import ConfigError

    if kind not in _FORMATS:
        do = did_you_mean(kind, _FORMATS)
        raise ConfigError(f"{kind!r} is not one of {', '.join(_FORMATS)}", where="--format", do=do)
    if gallery is not None and kind != "bundle":
        raise ConfigError("belongs to a bundle", where="--gallery", do="give --format bundle")
    log = command_log(as_json, quiet, verbose, stream=sys.stderr)
    if kind == "projector":
        from imagematch.pipeline import export_projector

        folder, logs = export_projector(model, output, split=split, data_dir=data_dir, log=log)
        show(
            {"path": str(folder), "tensorboard": str(logs)},
            [
                f"projector    {folder} (load vecs.tsv and meta.tsv at projector.tensorflow.org)",
                f"tensorboard  tensorboard --logdir {logs}",
            ],
            as_json,
        )
        return
    if output is None:
        raise ConfigError("names no file or folder", where="--output", do="give one: --output PATH")
    if kind == "bundle":
        _export_bundle(model, output, gallery, log, as_json)
        return
    from imagematch.pipeline import export_matcher

    done = export_matcher(model, kind, output, log=log)
    lines = [f"{kind}  {done.path} (embeddings at most {done.distance:.1g} from the matcher's own)"]
    lines += [f"note: {note}" for note in done.notes]
    show({"path": str(done.path), "distance": done.distance, "notes": list(done.notes)}, lines, as_json)


def _export_bundle(model: Path, output: Path, gallery: str | None, log: RunLog, as_json: bool) -> None:
    from imagematch.pipeline import export_bundle

    done = export_bundle(model, output, gallery, log=log)
    images = "no gallery" if done.images is None else f"a gallery of {done.images:,} images"
    lines = [f"bundle  {done.path} ({done.bytes / 1_000_000:,.1f} MB, {images})"]
    if done.needs_tensorflow:
        lines.append("note: its network is not converted: it needs TensorFlow where it is opened")
    with_gallery = "" if done.images is None else f" --gallery {done.path / 'gallery'}"
    lines.append(f"serve   imagematch serve --model {done.path / 'model'}{with_gallery}")
    value = {"path": str(done.path), "images": done.images, "bytes": done.bytes}
    show({**value, "needs_tensorflow": done.needs_tensorflow}, lines, as_json)
