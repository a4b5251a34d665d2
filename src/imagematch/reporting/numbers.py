"""Numbers for people, and the interval of a mean over runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def number_text(value: Any, digits: int = 4) -> str:
    """A number with fixed digits and separated thousands; a dash for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size and (size < 10.0**-digits or size >= 1e6):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: "1 epoch", "2 epochs", "3 classes"."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def interval_text(ends: tuple[float, float] | None) -> str:
    """An interval's ends; empty where there is none."""
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of runs with different seeds, by Student's t; None for fewer than two runs."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, len(values) - 1)) * spread / math.sqrt(len(values))
    return mean - half, mean + half


def percent_text(share: float) -> str:
    """A share of 0 to 1 in per cent, to the digits that tell it from none and all: "0.012 %", "97 %", "99.96 %"."""
    rest = 1 - share
    if share > 0.9 and rest > 0:
        return f"{100 - float(f'{100 * rest:.2g}'):.10g} %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def two_digits(value: float) -> str:
    """A number to the two digits that it is known to: "0.19", "1.9", "19,000"."""
    return f"{float(f'{value:.2g}'):,.10g}" if value else "0"
