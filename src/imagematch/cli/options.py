"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FEATURE_DIR = Path("exp/features")

FeatureDir = Annotated[
    Path,
    typer.Option(help="Where features are cached: the feature_dir of the training, so that its features are used."),
]
