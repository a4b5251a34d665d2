"""The distance threshold below which two images match, chosen by a criterion on pairs held out for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagematch.errors import ConfigError
from imagematch.evaluation.pairs import PairDistances
from imagematch.evaluation.verification import allowed_errors, crossing

_PLAIN_CRITERIA = ("balanced_accuracy", "accuracy", "f1", "eer")
_VALUED_CRITERIA = ("far", "frr", "cost")

Criterion = str | Mapping[str, Any]

_LARGEST = 2.0


@dataclass(frozen=True)
class CalibrationRates:
    """What a threshold does on the pairs that it was chosen on, and whether they were enough to choose it.

    Attributes:
        images, classes, genuine_pairs, impostor_pairs: what it was chosen on.
        far, frr: its rates there.
        far_ci95, frr_ci95: their 95 % intervals over classes; None for fewer than three classes.
        resolvable: at least 30 errors are expected at the requested rate (rule of 30), and a guarantee that was
            requested holds; without a requested rate: there are 30 pairs of each kind.
        note: why it is not, and what would be enough, in one sentence; "" where it is.
    """

    images: int
    classes: int
    genuine_pairs: int
    impostor_pairs: int
    far: float
    frr: float
    far_ci95: tuple[float, float] | None
    frr_ci95: tuple[float, float] | None
    resolvable: bool
    note: str


@dataclass(frozen=True)
class CurvePoint:
    """A threshold with the rates that it has on the calibration pairs."""

    distance: float
    far: float
    frr: float


@dataclass(frozen=True)
class Threshold:
    """Two images match iff their distance is strictly below `distance`.

    Attributes:
        distance: the threshold, a float32 value.
        criterion: how it was chosen, as in the configuration.
        chosen_on: the split, or splits, whose pairs it was chosen on.
        rates: what it does there; None where unknown.
        curve: other thresholds there, from strict to loose; only those that the pairs resolve.
    """

    distance: float
    criterion: str | dict[str, Any]
    chosen_on: str = "calibration"
    rates: CalibrationRates | None = None
    curve: tuple[CurvePoint, ...] = ()

    def at_far(self, far: float) -> CurvePoint:
        """The loosest threshold of the curve whose FAR is at most `far`.

        Raises:
            ConfigError: the calibration pairs resolve no such rate.
        """
        fitting = [point for point in self.curve if point.far <= far]
        if not fitting:
            least = (
                f"the least that {self.chosen_on} resolves is {self.curve[0].far:.3g}"
                if self.curve
                else "none is known"
            )
            raise ConfigError(
                f"no threshold has a FAR of {far:g} or less: {least}",
                where="--far",
                do="give a larger rate, or --threshold DISTANCE",
            )
        return fitting[-1]


def choose_threshold(pairs: PairDistances, criterion: Criterion, *, chosen_on: str = "calibration") -> Threshold:
    """Chooses the threshold by a criterion, among all thresholds that decide some pair differently.

    - "balanced_accuracy": maximises (TAR + 1 - FAR) / 2; "accuracy" and "f1" likewise. The smallest of the best.
    - "eer": where FAR and FRR are closest to each other.
    - {"far": x}: the largest threshold whose FAR is at most x. {"frr": x}: the smallest whose FRR is at most x.
      With a confidence beside the rate, `guaranteed_threshold` chooses it; see there.
    - {"cost": {"false_match": a, "false_non_match": b, "prior": p}}: minimises a (1 - p) FAR + b p FRR; p, the share of
      genuine pairs in use, is 0.5 where it is not given.

    It lies midway between the two neighbouring distances, so that no decision depends on rounding.

    Raises:
        ConfigError: an unknown criterion or a value out of range.
        DataError: there is no genuine or no impostor pair.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> round(choose_threshold(pairs, "balanced_accuracy").distance, 3)
        0.45
        >>> round(choose_threshold(pairs, {"frr": 0.0}).distance, 3)
        1.15
    """
    name, value = _named(criterion)
    pairs.require()
    if name == "far":
        distance = _at_far(pairs, value)
    elif name == "frr":
        distance = _at_frr(pairs, value)
    elif name == "eer":
        distance = _at_eer(pairs)
    else:
        distance = _best(pairs, _goal(name, value, pairs.genuine.count, pairs.impostor.count))
    stored: str | dict[str, Any] = criterion if isinstance(criterion, str) else {name: value}
    return Threshold(distance, stored, chosen_on)


def _named(criterion: Criterion) -> tuple[str, Any]:
    if isinstance(criterion, str):
        name, value = criterion, None
    elif isinstance(criterion, Mapping) and len(criterion) == 1:
        name, value = next(iter(criterion.items()))
    else:
        raise _wrong(f"{criterion!r} is not one criterion")
    if name not in (*_PLAIN_CRITERIA, *_VALUED_CRITERIA):
        raise _wrong(f"unknown criterion {name!r}")
    if (name in _VALUED_CRITERIA) != (value is not None):
        raise _wrong(f"criterion {name!r} {'takes a value' if value is None else 'takes no value'}")
    if name in ("far", "frr") and not _is_share(value):
        raise _wrong(f"{name} must be between 0 and 1, not {value!r}")
    if name == "cost":
        return name, _checked_cost(value)
    return name, value


def _checked_cost(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or not {"false_match", "false_non_match"} <= set(value):
        raise _wrong("cost needs false_match and false_non_match")
    if unknown := set(value) - {"false_match", "false_non_match", "prior"}:
        raise _wrong(f"cost has no {sorted(unknown)[0]!r}")
    if not all(_is_number(v) and v >= 0 for v in value.values()) or not 0 <= value.get("prior", 0.5) <= 1:
        raise _wrong("costs must be numbers of 0 or more, and the prior between 0 and 1")
    return {key: float(number) for key, number in value.items()}


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _wrong(what: str) -> ConfigError:
    return ConfigError(
        what,
        where="threshold",
        do="use balanced_accuracy, accuracy, f1, eer, {far: 0.001}, {frr: 0.01} "
        "or {cost: {false_match: 10, false_non_match: 1, prior: 0.5}}",
    )


Goal = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _goal(name: str, value: Any, genuine: int, impostors: int) -> Goal:
    """What is maximised, as a function of the genuine (tp) and impostor (fp) pairs matched, float64 arrays."""
    if name == "accuracy":
        return lambda tp, fp: tp - fp
    if name == "f1":
        return lambda tp, fp: tp / (tp + fp + genuine)
    if name == "balanced_accuracy":
        return lambda tp, fp: tp * impostors - fp * genuine
    prior = value.get("prior", 0.5)
    match_cost = value["false_match"] * (1 - prior) / impostors
    miss_cost = value["false_non_match"] * prior / genuine
    return lambda tp, fp: -(match_cost * fp + miss_cost * (genuine - tp))


def _candidates(pairs: PairDistances) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Thresholds that can be the best: just above a genuine distance, since impostors only add errors."""
    for values, _ in pairs.genuine.chunks():
        yield values, pairs.genuine.up_to(values), pairs.impostor.up_to(values)


def _best(pairs: PairDistances, goal: Goal) -> float:
    nothing = np.zeros(1)
    best, best_value = float(goal(nothing, nothing)[0]), None
    for values, tp, fp in _candidates(pairs):
        reached = goal(tp.astype(np.float64), fp.astype(np.float64))
        at = int(reached.argmax())
        if reached[at] > best:
            best, best_value = float(reached[at]), float(values[at])
    return _just_above(pairs, best_value)


def _at_far(pairs: PairDistances, far: float) -> float:
    errors = allowed_errors(far, pairs.impostor.count)
    if errors == pairs.impostor.count:
        return _accept_all(pairs)
    first_refused = float(pairs.impostor.value_at(errors))
    accepted = [int(side.below(first_refused)) for side in (pairs.genuine, pairs.impostor)]
    smaller = [float(s.value_at(k - 1)) for s, k in zip((pairs.genuine, pairs.impostor), accepted, strict=True) if k]
    return _between(max(smaller, default=None), first_refused)


def _at_frr(pairs: PairDistances, frr: float) -> float:
    errors = allowed_errors(frr, pairs.genuine.count)
    if errors == pairs.genuine.count:
        return _just_above(pairs, None)
    return _just_above(pairs, float(pairs.genuine.value_at(pairs.genuine.count - 1 - errors)))


def _at_eer(pairs: PairDistances) -> float:
    found = crossing(pairs)
    gaps = [
        abs((pairs.genuine.count - genuine) / pairs.genuine.count - impostors / pairs.impostor.count)
        for genuine, impostors in found.accepted
    ]
    distance = found.distances[0 if gaps[0] <= gaps[1] else 1]
    return _just_above(pairs, distance)


def _accept_all(pairs: PairDistances) -> float:
    return _just_above(pairs, max(float(side.value_at(side.count - 1)) for side in (pairs.genuine, pairs.impostor)))


def _just_above(pairs: PairDistances, accepted: float | None) -> float:
    """The threshold midway between the largest distance accepted (None: none is) and the next larger distance."""
    sides = (pairs.genuine, pairs.impostor)
    ranks = [0 if accepted is None else int(side.up_to(accepted)) for side in sides]
    larger = [float(side.value_at(rank)) for side, rank in zip(sides, ranks, strict=True) if rank < side.count]
    return _between(accepted, min(larger, default=None))


def _between(accepted: float | None, refused: float | None) -> float:
    """A float32 t with accepted < t <= refused, midway where there is room."""
    low = np.float32(0 if accepted is None else accepted)
    high = np.float32(max(_LARGEST, np.nextafter(low, np.float32(np.inf))) if refused is None else refused)
    middle = np.float32((float(low) + float(high)) / 2)
    return float(middle if middle > low or accepted is None else high)
