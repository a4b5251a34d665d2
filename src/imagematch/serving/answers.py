"""What the server answers: typed, as `/openapi.json` describes it; and the error rates measured for a threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from imagematch.errors import ConfigError
from imagematch.matching import MatcherCard
from imagematch.reading import MB, read_file

_METRICS_BYTES = 16 * MB


class DecisionRates(BaseModel):
    """Where a match begins, and how often that was measured to be wrong; null where it was not measured.

    FAR and FRR are those of the calibration pairs. At another distance than a measured one they are upper bounds: the
    FAR of the next looser measured threshold, the FRR of the next stricter one. FPIR and FNIR are of `measured_on`,
    at the matcher's own threshold only.
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


class RemoveAnswer(BaseModel):
    """How many images were removed."""

    removed: int


class RelabelAnswer(BaseModel):
    """The image, and its new label."""

    id: int
    label: str


class HealthAnswer(BaseModel):
    """That the server answers."""

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

    def at(self, distance: float) -> DecisionRates:
        """Those of a threshold."""
        own, rates = self._threshold, self._threshold.rates
        if distance == own.distance:
            measured = _part(self.metrics, "threshold")
            far, frr = (rates.far, rates.frr) if rates else (_rate(measured, "far"), _rate(measured, "frr"))
            fpir, fnir = _rate(measured, "fpir"), _rate(measured, "fnir")
            return DecisionRates(threshold=distance, far=far, frr=frr, fpir=fpir, fnir=fnir)
        known = [(point.distance, point.far, point.frr) for point in own.curve]
        known += [(own.distance, rates.far, rates.frr)] if rates else []
        far = min((point[1] for point in known if point[0] >= distance), default=None)
        frr = min((point[2] for point in known if point[0] <= distance), default=None)
        return DecisionRates(threshold=distance, far=far, frr=frr, fpir=None, fnir=None)

    def curve(self) -> list[DecisionRates]:
        """Those of every measured threshold."""
        distances = {point.distance for point in self._threshold.curve} | {self._threshold.distance}
        return [self.at(distance) for distance in sorted(distances)]

    def distance(self, threshold: float | None, far: float | None) -> float:
        """The threshold that a request wants. Raises ConfigError where both are given or the rate is not resolved."""
        if threshold is not None and far is not None:
            raise ConfigError("threshold and far exclude each other")
        if far is not None:
            return self._threshold.at_far(far).distance
        return self._threshold.distance if threshold is None else threshold


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
