"""Options that several commands have."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from imagematch.errors import ConfigError
from imagematch.events import RunLog, finite

if TYPE_CHECKING:
    from imagematch.evaluation import Threshold

DEFAULT_FEATURE_DIR = Path("exp/features")

FeatureDir = Annotated[
    Path,
    typer.Option(help="Where features are cached: the feature_dir of the training, so that its features are used."),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON value on standard output; progress and words go to standard error."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result and warnings.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every step, such as each epoch of a training.")]

ThresholdOption = Annotated[
    float | None, typer.Option(min=0, max=2, metavar="DISTANCE", help="Decide at this distance, not the matcher's own.")
]
FarOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, metavar="RATE", help="Decide where the false accept rate was at most this much."),
]


def command_log(
    as_json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    *,
    path: Path | None = None,
    stream: TextIO | None = None,
) -> RunLog:
    """Where a command says how it goes on: on standard output, or the error stream beside JSON.

    Args:
        as_json, quiet, verbose: the options of these names.
        path: of `run.jsonl`; None writes none.
        stream: another than standard output, where the command prints its result there.

    Raises:
        ConfigError: both quiet and verbose.
    """
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose exclude each other", do="give one of them")
    words = sys.stderr if as_json else stream or sys.stdout
    return RunLog(path, words, shows="warning" if quiet else "detail" if verbose else "info")


def show(value: Any, lines: Iterable[str], as_json: bool = False) -> None:
    """Prints a command's result: one JSON value, or lines, each of which stays one whatever is in it."""
    if as_json:
        print(json.dumps(finite(value), default=str, allow_nan=False), flush=True)
        return
    for line in lines:
        RunLog(stream=sys.stdout).say(line)


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
