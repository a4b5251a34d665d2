"""`matcher.json`: what a matcher's folder says about itself: numbers, registered names and digests, never a path."""

from __future__ import annotations

import itertools
import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from imagematch.errors import ConfigError, ModelError
from imagematch.evaluation import CalibrationRates, CurvePoint, Probability, Threshold
from imagematch.files import checked_name, digest_bytes
from imagematch.matching.embedding_card import Digest, EmbeddingCard, ExtractorCard, StrictCard

CARD_FORMAT = 2
"""Raised whenever an older version could not use the folder any more."""
CARD_FILE = "matcher.json"
MODEL_CONFIG_FILE = "config.yaml"
HEAD_FILE = "head.safetensors"
DETECTOR_FILE = "face_detector.onnx"
"""Of a matcher that finds faces by YuNet."""

_GOLDEN = 3

_Text = Annotated[str, Field(max_length=1_000)]
_Distance = Annotated[float, Field(ge=0, le=2.001)]
_Rate = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=1 << 60)]
_ClassDigest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
_Unit = Annotated[float, Field(ge=-1.001, le=1.001)]


class CurvePointCard(StrictCard):
    """A threshold, with its rates on the calibration pairs."""

    distance: _Distance
    far: _Rate
    frr: _Rate


class CalibrationRatesCard(StrictCard):
    """What the threshold does on the pairs that it was chosen on; see `imagematch.evaluation.CalibrationRates`."""

    images: _Count
    classes: _Count
    genuine_pairs: _Count
    impostor_pairs: _Count
    far: _Rate
    frr: _Rate
    far_ci95: tuple[_Rate, _Rate] | None
    frr_ci95: tuple[_Rate, _Rate] | None
    resolvable: bool
    note: _Text


class ThresholdCard(StrictCard):
    """Where a match begins: two images match iff their distance is under `distance`."""

    distance: _Distance
    criterion: _Text | dict[_Text, float | dict[_Text, float]]
    chosen_on: Literal["calibration", "validation", "calibration and validation"]
    rates: CalibrationRatesCard | None = None
    curve: Annotated[tuple[CurvePointCard, ...], Field(max_length=100)] = ()

    @classmethod
    def of(cls, chosen: Threshold) -> ThresholdCard:
        """The card's form of a threshold that evaluation chose."""
        return cls.model_validate_json(json.dumps(asdict(chosen)))

    def threshold(self) -> Threshold:
        """The threshold for `imagematch.evaluation`."""
        rates = None if self.rates is None else CalibrationRates(**self.rates.model_dump())
        curve = tuple(CurvePoint(**point.model_dump()) for point in self.curve)
        return Threshold(self.distance, self.criterion, self.chosen_on, rates, curve)

    @model_validator(mode="after")
    def _curve_ascends(self) -> Self:
        if any(one.distance >= after.distance for one, after in itertools.pairwise(self.curve)):
            raise ValueError("the distances of the curve do not ascend")
        return self


class ProbabilityCard(StrictCard):
    """Distance -> probability; see `imagematch.evaluation.Probability`."""

    method: Literal["platt", "isotonic"]
    prior: float = Field(gt=0, lt=1)
    distances: Annotated[tuple[Annotated[float, Field(ge=0, le=2.001)], ...], Field(max_length=65_536)]
    values: Annotated[tuple[Annotated[float, Field(ge=-1e9, le=1e9)], ...], Field(max_length=65_536)]
    calibration_error: float | None = Field(ge=0, le=1)

    @classmethod
    def of(cls, fitted: Probability) -> ProbabilityCard:
        """The card's form of a probability that evaluation fitted."""
        return cls.model_validate_json(json.dumps(fitted.to_json()))

    def probability(self) -> Probability:
        """The threshold for `imagematch.evaluation`. Raises ModelError where the knots do not fit together."""
        return Probability.from_json(self.model_dump())

    @model_validator(mode="after")
    def _knots_fit(self) -> Self:
        try:
            self.probability()
        except ModelError as error:
            raise ValueError(error.what) from error
        if any(one > after for one, after in zip(self.distances, self.distances[1:], strict=False)):
            raise ValueError("the distances do not ascend")
        if self.method == "isotonic" and not all(0 <= value <= 1 for value in self.values):
            raise ValueError("a probability is not within 0 and 1")
        return self


class ProvenanceCard(StrictCard):
    """What a matcher was made from; shown and compared only, never used to open or write a file.

    Attributes:
        training_classes: digests of the labels, by `class_digest`; empty where they are not known.
        refitted: whether its validation images trained it in the end.
    """

    dataset: _Text | None = None
    dataset_digest: Digest | None = None
    split_by: _Text | None = None
    seed: int | None = None
    training_seed: int | None = None
    extractor_digest: Digest | None = None
    refitted: bool = False
    training_classes: Annotated[tuple[_ClassDigest, ...], Field(max_length=1_000_000)] = ()
    versions: Annotated[dict[_Text, _Text], Field(max_length=100)] = Field(default_factory=dict)
    created: _Text | None = None


def class_digest(label: str) -> str:
    """A label as `training_classes` has it: a digest, which tells whether a class was trained on without its name."""
    return digest_bytes(unicodedata.normalize("NFC", label).encode())[:16]


class MatcherCard(StrictCard):
    """A matcher's description.

    Attributes:
        format: version of this description.
        imagematch: version of the program that wrote it.
        name: the experiment.
        files: digest of every file that belongs to the model; converted networks are named by theirs.
        embedding: how images become embeddings.
        threshold: where a match begins.
        probability: distance -> probability, as evaluation fitted it; None where it could not be fitted.
        provenance: data set, seeds, versions, time.
        golden: embeddings of the golden images, recomputed at every load.
        digest: of all the rest, by which an edit is noticed. It is no signature.
    """

    format: Literal[2]
    imagematch: _Text
    name: str
    files: dict[str, Digest]
    embedding: EmbeddingCard
    threshold: ThresholdCard
    probability: ProbabilityCard | None
    provenance: ProvenanceCard
    golden: tuple[tuple[_Unit, ...], ...]
    digest: Digest

    @property
    def summary(self) -> str:
        """The matcher in one line."""
        network = " + ".join(one.name for one in self.embedding.extractors)
        chosen = f"a match under {self.threshold.distance:.4f}, chosen on {self.threshold.chosen_on}"
        return f"{self.name}: {network}, embeddings of {self.embedding.dim} values, {chosen}"

    @field_validator("name")
    @classmethod
    def _name_is_one(cls, name: str) -> str:
        try:
            return checked_name(name, where=CARD_FILE)  # folders are named by it
        except ConfigError as error:
            raise ValueError(error.what) from error

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        expected = {MODEL_CONFIG_FILE, HEAD_FILE, *embedding_files(self.embedding)}
        if set(self.files) != expected:
            raise ValueError(f"its files are not {', '.join(sorted(expected))}")
        if len(self.golden) != _GOLDEN or any(len(row) != self.embedding.dim for row in self.golden):
            raise ValueError("golden embeddings of another size")
        if any(math.hypot(*row) > 1.01 for row in self.golden):
            raise ValueError("golden embeddings longer than 1")
        return self


def embedding_files(embedding: EmbeddingCard) -> list[str]:
    """Names of the files of a matcher that its embeddings need, less the head and the converted networks."""
    own_detector = embedding.face_crop is not None and embedding.face_crop.network is not None
    return [*filter(None, weights_files(embedding.extractors)), *([DETECTOR_FILE] if own_detector else [])]


def weights_files(extractors: Sequence[ExtractorCard]) -> list[str | None]:
    """Names of the files that hold the extractors' weights, in their order; None of one that has no such file."""
    names = ["extractor.safetensors"]
    if len(extractors) > 1:
        names = [f"extractor_{number}.safetensors" for number in range(1, len(extractors) + 1)]
    return [name if one.weights else None for name, one in zip(names, extractors, strict=True)]
