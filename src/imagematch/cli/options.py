"""Options that several commands have."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.errors import ConfigError

if TYPE_CHECKING:
    from imagematch.evaluation import Threshold

DEFAULT_FEATURE_DIR = Path("exp/features")

FeatureDir = Annotated[
    Path,
    typer.Option(help="Where features are cached: the feature_dir of the training, so that its features are used."),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output; lines go to the other.")]

ThresholdOption = Annotated[
    float | None, typer.Option(min=0, max=2, metavar="DISTANCE", help="Decide at this distance, not the matcher's own.")
]
FarOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, metavar="RATE", help="Decide where the false accept rate was at most this much."),
]


def chosen_distance(threshold: Threshold, distance: float | None, far: float | None) -> float:
    """The distance under which two images match: the given one, that of a rate, or the matcher's own.

    Raises:
        ConfigError: both are given, or the calibration pairs resolve no such rate.
    """
    if distance is not None and far is not None:
        raise ConfigError("--threshold and --far exclude each other", do="give one of them")
    if far is not None:
        return threshold.at_far(far).distance
    return threshold.distance if distance is None else distance


def own_command() -> str:
    """`imagematch`, as it can be typed in this shell: with its folder where that is not on the search path."""
    script = Path(sys.executable).parent / "imagematch"
    if shutil.which("imagematch") == str(script):
        return "imagematch"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def checked_distance(threshold: float | None) -> float | None:
    """The value of --threshold. Raises ConfigError where it is no distance over 0."""
    if threshold is not None and not 0 < threshold < math.inf:
        raise ConfigError(f"is {threshold:g}", where="--threshold", do="give a distance over 0")
    return threshold
