"""What the server answers: typed, as `/openapi.json` describes it; and the error rates measured for a threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from imagematch.errors import ConfigError
from imagematch.matching import MatcherCard
from imagematch.reading import MB, read_file

_METRICS_BYTES = 16 * MB


class DecisionRates(BaseModel):
    """A threshold and its measured error rates; null where a rate was not measured.

    FAR and FRR are those of the calibration pairs, FPIR and FNIR those of the searches of `measured_on`. At another
    distance than a measured one they are upper bounds: FAR and FPIR of the next looser measured threshold, FRR and FNIR
    of the next stricter one.
    """

    threshold: float
    far: float | None
    frr: float | None
    fpir: float | None
    fnir: float | None


class MatchAnswer(DecisionRates):
    """Whether two images match."""

    is_match: bool
    distance: float
    probability: float | None


class EmbedAnswer(BaseModel):
    """Embeddings of length 1, in the order of the images."""

    embeddings: list[list[float]]


class HitAnswer(BaseModel):
    """An image of the gallery."""

    id: int
    label: str | None
    distance: float
    probability: float | None
    is_match: bool


class Found(BaseModel):
    """What was found for an image, the nearest first; unknown: none of them matches."""

    hits: list[HitAnswer]
    unknown: bool


class SearchAnswer(DecisionRates, Found):
    """What was found for the first image, and for each where there are several."""

    results: list[Found] | None = None


class AddAnswer(BaseModel):
    """The id of the first image, and of all."""

    id: int
    ids: list[int]


class ImageAnswer(BaseModel):
    """An image of the gallery, and when it was added."""

    id: int
    label: str | None
    added: str


class PageAnswer(BaseModel):
    """A part of the gallery; `next` is the `after` of the following part, null at the end."""

    images: list[ImageAnswer]
    next: int | None
    count: int


class LabelAnswer(BaseModel):
    """A label, and how many images have it; null: none."""

    label: str | None
    count: int


class LabelsAnswer(BaseModel):
    """The labels, in order."""

    labels: list[LabelAnswer]
    next: str | None


class UnknownAnswer(BaseModel):
    """A subject of several searches that nothing in the gallery matched."""

    id: int
    searches: int = Field(description="With how many different images.")
    last: str = Field(description="When the last one was, ISO 8601, UTC.")


class UnknownsAnswer(BaseModel):
    """Those that were searched for more than once, the most often first."""

    unknowns: list[UnknownAnswer]


class RemoveAnswer(BaseModel):
    """How many images were removed."""

    removed: int


class RelabelAnswer(BaseModel):
    """The image, and its new label."""

    id: int
    label: str


class HealthAnswer(BaseModel):
    """The server is running."""

    status: str = "ok"


class ModelAnswer(BaseModel):
    """The matcher: its card, its threshold with the measured rates, and the gallery's size; null: no gallery."""

    name: str
    version: str
    decision: DecisionRates
    curve: list[DecisionRates] = Field(description="Thresholds from strict to loose.")
    calibration: dict[str, Any] | None
    measured_on: str | None
    metrics: dict[str, Any] | None
    card: dict[str, Any]
    gallery: int | None
    review: bool = Field(description="Answers of the review are recorded.")
    changed_on_disk: bool = Field(description="The folder holds another matcher by now; restart the server to use it.")


class MeasuredRates:
    """The error rates that a matcher's folder states.

    Args:
        card: with the curve of the calibration pairs.
        folder: with `metrics.json`; one that cannot be read counts as none.
    """

    def __init__(self, card: MatcherCard, folder: Path) -> None:
        self._threshold = card.threshold.threshold()
        metrics = _read_metrics(folder / "metrics.json")
        self.measured_on = next((split for split in ("test", "validation") if _part(metrics, split)), None)
        self.metrics = _part(metrics, self.measured_on) if self.measured_on else None
        self._searches = _searches(self.metrics)

    def at(self, distance: float) -> DecisionRates:
        """Those of a threshold."""
        own, rates, measured = self._threshold, self._threshold.rates, _part(self.metrics, "threshold")
        fpir, fnir = _rate(measured, "fpir"), _rate(measured, "fnir")
        if distance == own.distance:
            far, frr = (rates.far, rates.frr) if rates else (_rate(measured, "far"), _rate(measured, "frr"))
            return DecisionRates(threshold=distance, far=far, frr=frr, fpir=fpir, fnir=fnir)
        pairs = [(point.distance, point.far, point.frr) for point in own.curve]
        pairs += [(own.distance, rates.far, rates.frr)] if rates else []
        far, frr = _bounds(pairs, distance)
        fpir, fnir = _bounds([*self._searches, (own.distance, fpir, fnir)], distance)
        return DecisionRates(threshold=distance, far=far, frr=frr, fpir=fpir, fnir=fnir)

    def curve(self) -> list[DecisionRates]:
        """Those of every measured threshold."""
        distances = {self._threshold.distance, *(point.distance for point in self._threshold.curve)}
        distances |= {distance for distance, _, _ in self._searches}
        return [self.at(distance) for distance in sorted(distances)]

    def distance(self, threshold: float | None, far: float | None) -> float:
        """The threshold that a request wants. Raises ConfigError where both are given or the rate is not resolved."""
        if threshold is not None and far is not None:
            raise ConfigError("threshold and far exclude each other")
        if far is not None:
            return self._threshold.at_far(far).distance
        return self._threshold.distance if threshold is None else threshold


def _bounds(
    measured: Sequence[tuple[float, float | None, float | None]], distance: float
) -> tuple[float | None, float | None]:
    """The first rate of the next looser measured threshold, and the second of the next stricter one."""
    looser = [first for at, first, _ in measured if at >= distance and first is not None]
    stricter = [second for at, _, second in measured if at <= distance and second is not None]
    return min(looser, default=None), min(stricter, default=None)


def _searches(metrics: dict[str, Any] | None) -> list[tuple[float, float | None, float | None]]:
    """Distance, FPIR and FNIR at each threshold of the metrics' curve."""
    points = metrics.get("threshold_curve") if metrics else None
    found = [(one.get("distance"), one) for one in points if isinstance(one, dict)] if isinstance(points, list) else []
    return [
        (float(distance), _rate(one, "fpir"), _rate(one, "fnir"))
        for distance, one in found
        if isinstance(distance, int | float) and 0 <= distance <= 2
    ]


def _read_metrics(path: Path) -> Any:
    try:
        return json.loads(read_file(path, max_bytes=_METRICS_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def _part(value: Any, name: str | None) -> dict[str, Any] | None:
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else None


def _rate(value: Any, name: str) -> float | None:
    rate = value.get(name) if isinstance(value, dict) else None
    return float(rate) if isinstance(rate, int | float) and 0 <= rate <= 1 else None
