"""`upgrade`: a matcher's folder of imagematch 0.1 becomes one of data only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, show


def upgrade(
    model: Annotated[Path, typer.Argument(help="A matcher's folder that imagematch 0.1 wrote.")],
    as_json: Json = False,
) -> None:
    """Writes a matcher of imagematch 0.1 anew, as data only, and keeps the old folder beside it.

    Upgrade only matchers that you trained yourself: the old folder holds a Keras archive, which can be a program.
    """
    from imagematch.matching import upgrade_matcher

    backup = upgrade_matcher(model)
    line = f"upgraded {model}; the old folder is {backup} (delete it when all is well)"
    show({"model": model, "backup": backup}, [line], as_json)
