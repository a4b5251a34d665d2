"""The probability that two images are of the same class, fitted to pairs: Platt's sigmoid or isotonic regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagematch.errors import ConfigError, ModelError
from imagematch.evaluation.pairs import PairDistances

CALIBRATION_METHODS = ("platt", "isotonic")

DEFAULT_PRIOR = 0.5
"""Genuine and impostor pairs are equally likely a priori."""

_CELLS = 1 << 14
_EXACT_PAIRS = 1 << 17


@dataclass(frozen=True)
class Probability:
    """The probability that a pair is genuine, as a function of its distance.

    Attributes:
        method: "platt" or "isotonic".
        prior: the share of genuine pairs for which the probabilities are calibrated.
        distances: knots of the isotonic fit, ascending; Platt: empty.
        values: the probability at each knot; Platt: (slope, intercept) of
            p = 1 / (1 + exp(slope x distance + intercept)).
        calibration_error: expected calibration error on the pairs it was fitted to, 0..1.

    Examples:
        >>> probability = Probability("platt", 0.5, (), (4.0, -4.0))
        >>> probability(np.array([0.5, 1.0])).round(3).tolist()
        [0.881, 0.5]
    """

    method: str
    prior: float
    distances: tuple[float, ...]
    values: tuple[float, ...]
    calibration_error: float | None = None

    def __call__(self, distance: np.ndarray | float) -> np.ndarray:
        """The probability for each distance: float64 in 0..1, the shape of `distance`."""
        distance = np.asarray(distance, dtype=np.float64)
        if self.method == "platt":
            slope, intercept = self.values
            return _sigmoid(-(slope * distance + intercept))
        return np.asarray(np.interp(distance, self.distances, self.values))

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object for `from_json`."""
        return {
            "method": self.method,
            "prior": self.prior,
            "distances": list(self.distances),
            "values": list(self.values),
            "calibration_error": self.calibration_error,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Probability:
        """Reads a JSON object of `to_json`.

        Raises:
            ModelError: it is not such an object.
        """
        try:
            method, error = stored["method"], stored["calibration_error"]
            distances = tuple(float(x) for x in stored["distances"])
            values = tuple(float(x) for x in stored["values"])
            fitted = cls(method, float(stored["prior"]), distances, values, None if error is None else float(error))
        except (KeyError, TypeError, ValueError) as problem:
            raise ModelError(
                f"the stored probability cannot be read: {problem}", do="calibrate the model again"
            ) from None
        fits = len(values) == 2 if method == "platt" else len(values) == len(distances) > 0
        if method not in CALIBRATION_METHODS or not fits:
            raise ModelError("the stored probability cannot be read", do="calibrate the model again")
        return fitted


@dataclass(frozen=True, eq=False)
class _Cells:
    """Pairs grouped by distance: distance, genuine and impostor weight of each cell, ascending."""

    distance: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


def fit_probability(pairs: PairDistances, method: str = "platt", *, prior: float | None = None) -> Probability:
    """Fits the probability that a pair is genuine to held-out pairs.

    Genuine and impostor pairs are weighted so that a share `prior` (default 0.5) is genuine: at another prior the
    same distance has another probability. Up to 131,072 pairs are used one by one. More are grouped in 16,384 cells of
    equal width, which moves a distance by at most 6e-5.

    - "platt": a sigmoid by Newton's method with Platt's targets (n + 1) / (n + 2), so that separable pairs stay finite.
    - "isotonic": the best decreasing function, by pooling adjacent violators; straight lines between its knots.

    Raises:
        ConfigError: an unknown method or a prior outside 0..1 (exclusive).
        DataError: there is no genuine or no impostor pair.

    Source: Platt, Probabilistic outputs for support vector machines, 1999, with Lin, Lin and Weng's Newton method,
        Machine Learning 68, 2007; Zadrozny and Elkan, KDD 2002 (isotonic).

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> fit_probability(pairs, "isotonic")(np.array([0.2, 0.8, 1.4])).tolist()
        [1.0, 0.5, 0.0]
    """
    prior = DEFAULT_PRIOR if prior is None else prior
    if method not in CALIBRATION_METHODS:
        raise ConfigError(f"unknown calibration method {method!r}", do=f"use {' or '.join(CALIBRATION_METHODS)}")
    if not 0 < prior < 1:
        raise ConfigError(f"the prior must be between 0 and 1, not {prior}")
    pairs.require()
    cells = _weighted(_grouped(pairs), prior)
    if method == "platt":
        fitted = Probability(method, prior, (), _platt(cells, pairs.genuine.count, pairs.impostor.count))
    else:
        fitted = Probability(method, prior, *_isotonic(cells))
    error = calibration_error(fitted, pairs)
    return Probability(method, prior, fitted.distances, fitted.values, error)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities against observed frequencies, in bins of equal width; empty bins are left out.

    Attributes:
        claimed: (bins,) float64, mean predicted probability.
        observed: (bins,) float64, share of genuine pairs.
        weight: (bins,) float64, share of the pairs, summing to 1; pairs weighted to the probability's prior.
    """

    claimed: np.ndarray
    observed: np.ndarray
    weight: np.ndarray


def reliability(probability: Probability, pairs: PairDistances, bins: int = 15) -> Reliability:
    """Compares predicted probabilities with pairs, weighted to the probability's prior.

    Raises:
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.5, 1.5]), np.array([True, False]))
        >>> found = reliability(Probability("platt", 0.5, (), (4.0, -4.0)), pairs)
        >>> found.claimed.round(3).tolist(), found.observed.tolist(), found.weight.tolist()
        ([0.119, 0.881], [0.0, 1.0], [0.5, 0.5])
    """
    pairs.require()
    cells = _weighted(_grouped(pairs), probability.prior)
    claimed = probability(cells.distance)
    weight = cells.genuine + cells.impostor
    at = np.minimum((claimed * bins).astype(np.int64), bins - 1)
    total = np.bincount(at, weights=weight, minlength=bins)
    filled = total > 0
    mean = np.bincount(at, weights=weight * claimed, minlength=bins)[filled] / total[filled]
    observed = np.bincount(at, weights=cells.genuine, minlength=bins)[filled] / total[filled]
    return Reliability(mean, observed, total[filled] / total.sum())


def calibration_error(probability: Probability, pairs: PairDistances, bins: int = 15) -> float:
    """Expected calibration error, 0..1: sum over bins of weight |predicted - observed|, with `reliability`'s bins.

    Source: Naeini et al., AAAI 2015.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.5, 1.5]), np.array([True, False]))
        >>> round(calibration_error(Probability("platt", 0.5, (), (4.0, -4.0)), pairs), 3)
        0.119
    """
    found = reliability(probability, pairs, bins)
    return float((found.weight * np.abs(found.claimed - found.observed)).sum())


def _grouped(pairs: PairDistances) -> _Cells:
    genuine, impostor = pairs.genuine, pairs.impostor
    if genuine.count + impostor.count <= _EXACT_PAIRS:
        values = np.union1d(genuine.values, impostor.values)
        sides = [(side.up_to(values) - side.below(values)).astype(np.float64) for side in (genuine, impostor)]
        return _Cells(values.astype(np.float64), *sides)
    largest = max(float(side.value_at(side.count - 1)) for side in (genuine, impostor))
    edges = np.linspace(0, largest or 1.0, _CELLS + 1)
    edges[-1] = np.inf
    counts = [np.diff(side.below(edges)).astype(np.float64) for side in (genuine, impostor)]
    edges[-1] = largest
    filled = counts[0] + counts[1] > 0
    return _Cells(((edges[:-1] + edges[1:]) / 2)[filled], counts[0][filled], counts[1][filled])


def _weighted(cells: _Cells, prior: float) -> _Cells:
    """Scales the weights to a sum of 1, of which `prior` is genuine."""
    return _Cells(
        cells.distance,
        cells.genuine * (prior / cells.genuine.sum()),
        cells.impostor * ((1 - prior) / cells.impostor.sum()),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _platt(cells: _Cells, genuine: int, impostors: int) -> tuple[float, float]:
    """Minimises the weighted log loss of p = 1 / (1 + exp(a d + b)): (a, b)."""
    high, low = (genuine + 1) / (genuine + 2), 1 / (impostors + 2)
    weight = cells.genuine + cells.impostor
    target = cells.genuine * high + cells.impostor * low
    centre = float((weight * cells.distance).sum())
    d = cells.distance - centre
    design = np.stack([d, np.ones_like(d)])

    def loss(theta: np.ndarray) -> float:
        f = theta @ design
        return float((weight * np.logaddexp(0, -f) + target * f).sum())

    prior = float(target.sum())
    theta = np.array([0.0, np.log((1 - prior) / prior)])
    current = loss(theta)
    for _ in range(100):
        p = _sigmoid(-(theta @ design))
        gradient = design @ (target - weight * p)
        hessian = (design * (weight * p * (1 - p))) @ design.T + 1e-12 * np.eye(2)
        if np.abs(gradient).max() < 1e-12:
            break
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-10 and loss(theta - size * step) > current - 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= 1e-10:
            break
        theta = theta - size * step
        current = loss(theta)
    return float(theta[0]), float(theta[1] - theta[0] * centre)


def _isotonic(cells: _Cells) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The best decreasing fit of the genuine share over the distance: its knots and their values."""
    weight = cells.genuine + cells.impostor
    blocks: list[list[float]] = []
    for at, (genuine, total) in enumerate(zip(cells.genuine.tolist(), weight.tolist(), strict=True)):
        blocks.append([genuine, total, at, at])
        while len(blocks) > 1 and blocks[-1][0] * blocks[-2][1] >= blocks[-2][0] * blocks[-1][1]:
            later = blocks.pop()
            blocks[-1] = [blocks[-1][0] + later[0], blocks[-1][1] + later[1], blocks[-1][2], later[3]]
    knots: list[float] = []
    values: list[float] = []
    for genuine, total, first, last in blocks:
        ends = {int(first), int(last)}
        knots.extend(float(cells.distance[i]) for i in sorted(ends))
        values.extend([genuine / total] * len(ends))
    return tuple(knots), tuple(values)
