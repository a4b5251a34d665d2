"""A threshold with what the calibration pairs promise of it: its rates, their intervals, and whether they suffice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.at_threshold import at_threshold
from imagematch.evaluation.guarantees import guaranteed_threshold
from imagematch.evaluation.intervals import verification_intervals
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.thresholds import CalibrationRates, Criterion, CurvePoint, Threshold, choose_threshold
from imagematch.evaluation.verification import RULE_OF_30, tar_at_far

CURVE_FARS = tuple(digit / 10**power for power in range(6, 0, -1) for digit in (1, 2, 5))
"""The rates of a threshold's curve: 0.000001, 0.000002, 0.000005, ... 0.5."""


def calibrated_threshold(
    embeddings: np.ndarray,
    labels: np.ndarray,
    criterion: Criterion,
    *,
    chosen_on: str = "calibration",
    pairs: PairDistances | None = None,
) -> Threshold:
    """Chooses a threshold by a criterion, with its rates on these pairs and its curve.

    A rate that the pairs do not resolve, or cannot guarantee, is met as closely as they allow, and `rates` says so.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        criterion: as `choose_threshold`; {"far": x, "confidence": c} and {"frr": x, "confidence": c} as
            `guaranteed_threshold`.
        chosen_on: the split, or splits, of the embeddings.
        pairs: `pair_distances` of the same embeddings, if already computed.

    Raises:
        ConfigError: an unknown criterion or a value out of range.
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.repeat(rng.standard_normal((10, 32)), 4, axis=0) + 0.3 * rng.standard_normal((40, 32))
        >>> rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        >>> print(calibrated_threshold(rows, np.repeat(np.arange(10), 4), {"far": 0.01}).rates.note)
        FAR 0.01 takes 3,000 impostor pairs to measure (about 82 images of 10 classes), and calibration has 720
    """
    pairs = pair_distances(embeddings, labels) if pairs is None else pairs
    pairs.require()
    threshold, note = _chosen(embeddings, labels, criterion, chosen_on, pairs)
    classes = len(np.unique(labels))
    note = note or _too_few(criterion, classes, pairs, chosen_on)
    found = verification_intervals(embeddings, labels, pairs=pairs, fars=(), threshold=threshold.distance)
    at = at_threshold(pairs, threshold.distance)
    far, tar = found.get("far"), found.get("tar")
    rates = CalibrationRates(
        images=len(labels),
        classes=classes,
        genuine_pairs=pairs.genuine.count,
        impostor_pairs=pairs.impostor.count,
        far=float(at.far or 0),
        frr=float(at.frr or 0),
        far_ci95=None if far is None else (far.low, far.high),
        frr_ci95=None if tar is None else (1 - tar.high, 1 - tar.low),
        resolvable=not note,
        note=note,
    )
    return dataclasses.replace(threshold, rates=rates, curve=_curve(pairs))


def _chosen(
    embeddings: np.ndarray, labels: np.ndarray, criterion: Criterion, chosen_on: str, pairs: PairDistances
) -> tuple[Threshold, str]:
    """The threshold, and why it keeps no guarantee that was requested."""
    if not isinstance(criterion, Mapping) or "confidence" not in criterion:
        return choose_threshold(pairs, criterion, chosen_on=chosen_on), ""
    rate, target = next((name, value) for name, value in criterion.items() if name != "confidence")
    confidence = criterion["confidence"]
    try:
        guaranteed = guaranteed_threshold(
            embeddings, labels, rate, target, confidence=confidence, pairs=pairs, chosen_on=chosen_on
        )
    except DataError as error:
        strictest = choose_threshold(pairs, {rate: 0.0}, chosen_on=chosen_on)
        side = "impostor pair matches" if rate == "far" else "genuine pair is refused"
        note = f"{error.what}; instead, no {side} on {chosen_on}"
        return dataclasses.replace(strictest, criterion=dict(criterion)), note
    return guaranteed, ""


def _too_few(criterion: Criterion, classes: int, pairs: PairDistances, chosen_on: str) -> str:
    """Why the pairs are too few for the criterion; "" where they are enough, or a guarantee counts them itself."""
    counts = {"far": ("impostor", pairs.impostor.count), "frr": ("genuine", pairs.genuine.count)}
    needed = dict.fromkeys(counts, RULE_OF_30)
    subject = "a threshold"
    if isinstance(criterion, Mapping) and "confidence" in criterion:
        return ""
    if isinstance(criterion, Mapping) and not criterion.keys().isdisjoint(counts):
        rate, target = next(iter(criterion.items()))
        if not target:
            return f"no number of pairs shows a {rate.upper()} of 0, and {chosen_on} has {counts[rate][1]:,}"
        needed, subject = {rate: math.ceil(RULE_OF_30 / target - 1e-9)}, f"{rate.upper()} {target:g}"
    for rate, least in needed.items():
        kind, there = counts[rate]
        if there < least:
            images = f"about {_images_for(kind, least, classes):,} images of {classes:,} classes"
            return f"{subject} takes {least:,} {kind} pairs to measure ({images}), and {chosen_on} has {there:,}"
    return ""


def _images_for(kind: str, pairs: int, classes: int) -> int:
    """Images of so many equal classes that have so many pairs of a kind."""
    if kind == "impostor":
        return math.ceil(math.sqrt(2 * pairs / (1 - 1 / classes)))
    return math.ceil(classes / 2 * (1 + math.sqrt(1 + 8 * pairs / classes)))


def _curve(pairs: PairDistances) -> tuple[CurvePoint, ...]:
    """One threshold for each rate of `CURVE_FARS` that the pairs resolve, strict ones first, each once."""
    points: dict[float, CurvePoint] = {}
    for one in tar_at_far(pairs, CURVE_FARS):
        if not one.below_resolution and math.isfinite(one.distance):
            at = at_threshold(pairs, one.distance)
            points[at.distance] = CurvePoint(at.distance, float(at.far or 0), float(at.frr or 0))
    return tuple(points.values())
