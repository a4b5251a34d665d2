"""What the threshold does, what others would, and what that means in a gallery: tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imagematch.reporting.numbers import number_text, two_digits
from imagematch.reporting.tables.metrics import SplitMetrics

if TYPE_CHECKING:
    import pandas as pd


def rates_lines(block: SplitMetrics, split: str) -> list[str]:
    """What was asked of the threshold, what calibration promised and what a split shows, in sentences.

    Args:
        block: the metrics of the split.
        split: its name.

    Examples:
        >>> threshold = {"criterion": {"far": 0.01}, "chosen_on": "calibration", "far": 0.013}
        >>> threshold |= {"far_ci95": [0.006, 0.024], "calibration": {"far": 0.0098, "far_ci95": [0.004, 0.019]}}
        >>> rates_lines({"threshold": threshold}, "test")
        ['FAR asked 0.01, on calibration 0.0098 (0.004 to 0.019), on test 0.013 (0.006 to 0.024)']
    """
    threshold = block.get("threshold") or {}
    criterion, promised = threshold.get("criterion"), threshold.get("calibration") or {}
    asked = criterion if isinstance(criterion, Mapping) else {}
    lines = []
    for rate in ("far", "frr"):
        parts = [f"asked {asked[rate]:g}"] if rate in asked else []
        if rate in asked and "confidence" in asked:
            parts[0] += f" with confidence {asked['confidence']:g}"
        for where, measured in ((threshold.get("chosen_on"), promised), (split, threshold)):
            if measured.get(rate) is not None:
                parts.append(f"on {where} {_rate_text(measured[rate], measured.get(f'{rate}_ci95'))}")
        if parts:
            lines.append(f"{rate.upper()} {', '.join(parts)}")
    searches = block.get("identification") or {}
    if searches.get("fpir") is not None:
        lines.append(
            f"FPIR {_rate_text(searches['fpir'], searches['fpir_ci95'])}: share of searches for unenrolled classes "
            f"that return an image, in a gallery of {searches['gallery_images']:,} images ({split})"
        )
    if searches.get("fnir") is not None:
        lines.append(
            f"FNIR {_rate_text(searches['fnir'], searches['fnir_ci95'])}: share of searches for enrolled classes "
            f"whose nearest image is of another class or no match; {searches['fnir_rank_10']:.2g} among the nearest ten"
        )
    if promised.get("note"):
        lines.append(f"not resolved: {promised['note']}")
    return lines


def _rate_text(rate: float, ends: Sequence[float] | None) -> str:
    return f"{rate:.2g}" + ("" if ends is None else f" ({ends[0]:.2g} to {ends[1]:.2g})")


def gallery_table(block: SplitMetrics) -> pd.DataFrame:
    """False matches and FPIR of a search for a class that is not enrolled, in galleries of several sizes."""
    import pandas as pd

    rows = []
    for gallery in (block.get("identification") or {}).get("galleries") or []:
        matches, ends = gallery["false_matches"], gallery["false_matches_ci95"]
        fpir = gallery["fpir"]
        about = "" if matches is None else f"about {two_digits(matches)}"
        about += "" if ends is None else f", {two_digits(ends[0])} to {two_digits(ends[1])}"
        rows.append(
            {
                "gallery (images)": f"{gallery['images']:,}",
                "false matches of a search": about,
                "searches with a false match (FPIR)": "larger than measured" if fpir is None else f"{100 * fpir:.2g} %",
            }
        )
    return pd.DataFrame(rows)


def threshold_table(block: SplitMetrics) -> pd.DataFrame:
    """Other thresholds with what each costs in both errors, strict ones first; only those that the pairs resolve."""
    import pandas as pd

    return pd.DataFrame(
        {
            "distance": number_text(point["distance"]),
            "FAR": f"{point['far']:.2g}",
            "FRR": "–" if point["frr"] is None else f"{point['frr']:.2g}",
            "FPIR": "–" if point["fpir"] is None else f"{point['fpir']:.2g}",
            "FNIR": "–" if point["fnir"] is None else f"{point['fnir']:.2g}",
        }
        for point in block.get("threshold_curve") or []
    )
