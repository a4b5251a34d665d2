"""`extractors list | check`: the networks there are, and what a network file or preset is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from imagematch.cli.options import Json, command_log, show

extractors_app = typer.Typer(add_completion=False, rich_markup_mode=None)


@extractors_app.command("list")
def list_extractors(as_json: Json = False) -> None:
    """Lists the networks by name, with image size, length of the features and millions of parameters."""
    from imagematch.registry import EXTRACTOR_REGISTRY

    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "image_size": spec.image_size,
            "feature_dim": spec.feature_dim or 3 * spec.image_size**2,
            "parameters": spec.parameters,
            "published_weights": spec.load_published is not None,
        }
        for spec in EXTRACTOR_REGISTRY.all().values()
    ]
    lines = []
    for row in rows:
        size = f"{row['image_size']} px  {row['feature_dim']:,} features  {row['parameters'] / 1e6:,.1f} M parameters"
        lines.append(f"{row['name']:<20}  {size}{'' if row['published_weights'] else '  no published weights'}")
    others = "and kerashub:PRESET (with the extra kerashub), onnx:PATH (imagematch extractors check PATH)"
    show(rows, [*lines, others], as_json)


@extractors_app.command("check")
def check_extractor(
    path: Annotated[Path, typer.Argument(help="A network file: .onnx, .xml of OpenVINO or .tflite.")],
    network_input: Annotated[
        str | None, typer.Option("--input", help="Its preprocessing, as in a configuration: '{mean: 0.5, std: 0.5}'.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Says what a network file is, runs it on made-up images, times it, and says what is unclear."""
    from imagematch.config import parse_train
    from imagematch.extractors import check_network_file
    from imagematch.registry import ONNX_PREFIX

    name = f"{ONNX_PREFIX}{path}"
    values: dict[str, Any] = {"experiment_name": "check", "dataset": "digits", "feature_extractor": name}
    if network_input is not None:
        values["input"] = _mapping(network_input)
    settings = parse_train(values, where="--input")
    found = check_network_file(name, settings.input, command_log(stream=sys.stderr))
    listed = ((key, value if isinstance(value, list) else [value]) for key, value in found.items())
    show(found, (f"{key.replace('_', ' '):<16}  {one}" for key, values in listed for one in values), as_json)


def _mapping(text: str) -> Any:
    import yaml

    from imagematch.errors import ConfigError

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError("is not a mapping", where="--input", do="give '{mean: 0.5, std: 0.5}'") from error
