"""Options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from imagematch.errors import ConfigError

DEFAULT_FEATURE_DIR = Path("exp/features")

FeatureDir = Annotated[
    Path,
    typer.Option(help="Where features are cached: the feature_dir of the training, so that its features are used."),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output; lines go to the other.")]


def checked_threshold(threshold: float | None) -> float | None:
    """The value of --threshold. Raises ConfigError where it is no distance over 0."""
    if threshold is not None and not 0 < threshold < math.inf:
        raise ConfigError(f"is {threshold:g}", where="--threshold", do="give a distance over 0")
    return threshold
