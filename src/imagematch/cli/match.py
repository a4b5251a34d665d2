"""`match`: says whether two images show the same thing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import FarOption, Json, ThresholdOption, chosen_distance, command_log, show


def match(
    model: Annotated[Path, typer.Option(help="A matcher's folder, as exp/saved_models/NAME.")],
    first: Annotated[Path, typer.Argument(metavar="IMAGE", help="The first image.")],
    second: Annotated[Path, typer.Argument(metavar="IMAGE", help="The second image.")],
    threshold: ThresholdOption = None,
    far: FarOption = None,
    as_json: Json = False,
) -> None:
    """Says whether two images match, with their distance, the threshold and the probability."""
    from imagematch.events import printable
    from imagematch.matching import ImageMatcher, Match, read_card

    card = read_card(model)
    distance = chosen_distance(card.threshold.threshold(), threshold, far)
    for path in (first, second):
        card.embedding.decode(path)  # reported before the slow part, if one is unreadable
    result = ImageMatcher.load(model, log=command_log(stream=sys.stderr)).match(first, second, threshold=distance)
    assert isinstance(result, Match)
    no_face = [str(path) for path in (first, second) if card.embedding.without_face(path)]
    sure = "" if result.probability is None else f", probability {result.probability:.3f}"
    verdict = "match" if result.is_match else "no match"
    for name in () if as_json else no_face:
        print(f"note: no face found in {printable(name)}: the whole image was compared", file=sys.stderr)
    line = f"{verdict}: distance {result.distance:.4f}, threshold {result.threshold:.4f}{sure}"
    show(asdict(result) | ({"no_face": no_face} if card.embedding.face_crop else {}), [line], as_json)
