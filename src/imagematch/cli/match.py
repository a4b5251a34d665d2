"""`match`: says whether two images show the same thing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import FarOption, ThresholdOption, chosen_distance


def match(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    first: Annotated[Path, typer.Argument(metavar="IMAGE", help="The first image.")],
    second: Annotated[Path, typer.Argument(metavar="IMAGE", help="The second image.")],
    threshold: ThresholdOption = None,
    far: FarOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Says whether two images match, with their distance, the threshold and the probability."""
    from imagematch.events import RunLog, printable
    from imagematch.matching import ImageMatcher, Match, read_card

    card = read_card(model)
    distance = chosen_distance(card.threshold.threshold(), threshold, far)
    for path in (first, second):
        card.embedding.decode(path)  # reported before the slow part, if one is unreadable
    result = ImageMatcher.load(model, log=RunLog(stream=sys.stderr)).match(first, second, threshold=distance)
    assert isinstance(result, Match)
    no_face = [str(path) for path in (first, second) if card.embedding.without_face(path)]
    if as_json:
        print(json.dumps(asdict(result) | ({"no_face": no_face} if card.embedding.face_crop else {})))
        return
    sure = "" if result.probability is None else f", probability {result.probability:.3f}"
    verdict = "match" if result.is_match else "no match"
    for name in no_face:
        print(f"note: no face found in {printable(name)}: the whole image was compared", file=sys.stderr)
    print(f"{verdict}: distance {result.distance:.4f}, threshold {result.threshold:.4f}{sure}")
