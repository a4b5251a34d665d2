"""`init`: a study file for images that are there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, show


def init(
    data_dir: Annotated[Path, typer.Option("--data-dir", help="The images: a folder for each class; or a table.")],
    dataset: Annotated[str, typer.Option(help="What the folder holds; see imagematch data list.")] = "folder",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; by default FOLDER.yaml.")] = None,
    layout: Annotated[str, typer.Option(help="How a folder is read, where two readings are possible.")] = "auto",
    feature_extractor: Annotated[str, typer.Option(help="The network; pixels needs no weights.")] = "mobilenet_v2",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Writes a commented study file fitted to a folder of images, and says what to type next.

    Example: imagematch init --data-dir photos
    """
    import json

    from imagematch.cli.options import own_command
    from imagematch.config import study_schema
    from imagematch.errors import ConfigError
    from imagematch.files import Layout, write_text
    from imagematch.pipeline import first_study

    name = re.sub(r"[^A-Za-z0-9._-]+", "_", data_dir.resolve().stem).strip("._-") or "photos"
    path = output or Path(f"{name}.yaml")
    if path.exists() and not overwrite:
        raise ConfigError("already exists", where=str(path), do="give --overwrite, or another name: --output FILE")
    schema = Layout().root / "schema" / "study.schema.json"
    relative = Path(os.path.relpath(schema, path.parent)).as_posix()
    study = first_study(name[:100], dataset, data_dir, layout=layout, extractor=feature_extractor, schema=relative)
    write_text(schema, json.dumps(study_schema(), indent=1) + "\n")
    write_text(path, study.text)
    command = own_command()
    steps = {
        "images": f"{command} data check {path}",
        "look": f"{command} hpt --hpt-config-filepath {path} --dry-run",
        "run": f"{command} hpt --hpt-config-filepath {path}",
    }
    lines = [*study.notes, f"wrote    {path}: read it, change what does not fit"]
    lines += [f"{name:8} {step}" for name, step in steps.items()]
    show({"path": path, "schema": schema, "notes": study.notes, "next": steps}, lines, as_json)
