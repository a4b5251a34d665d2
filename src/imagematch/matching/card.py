"""`matcher.json`: what a matcher's folder says about itself: numbers, registered names and digests, never a path."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imagematch.data import MAX_MEGAPIXELS, FaceCropper, decode
from imagematch.errors import ConfigError, ModelError
from imagematch.evaluation import CalibrationRates, CurvePoint, Probability, Threshold
from imagematch.extractors import SPECS
from imagematch.files import checked_name
from imagematch.model import HeadShape

FORMAT = 2
"""Raised whenever an older version could not use the folder any more."""
CARD_FILE = "matcher.json"
CONFIG_FILE = "config.yaml"
HEAD_FILE = "head.safetensors"

_GOLDEN = 3

Digest = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Text = Annotated[str, Field(max_length=1_000)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]
Width = Annotated[int, Field(ge=1, le=65_536)]
Distance = Annotated[float, Field(ge=0, le=2.001)]
Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1 << 60)]
Unit = Annotated[float, Field(ge=-1.001, le=1.001)]


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FaceCropCard(_Card):
    """How faces are cut out of images before they are embedded; see `imagematch.data.FaceCropper`."""

    margin: float = Field(ge=0, le=2)
    align: bool
    missing: Literal["whole", "skip", "error"]


class ExtractorCard(_Card):
    """A network of the matcher; of several, their features stand side by side.

    Attributes:
        name: what the user calls it.
        feature_dim: length of its features.
        network: digest of its converted network in the folder; None where OpenVINO does not run it.
    """

    name: Name
    feature_dim: int = Field(ge=1, le=1 << 24)
    network: Digest | None


class HeadCard(_Card):
    """Features -> embedding.

    Attributes:
        units: widths of the feed-forward blocks.
        whitening: components of the whitening in front of them; None where there is none.
        embedding_dim: length of an embedding.
    """

    units: Annotated[tuple[Width, ...], Field(max_length=64)]
    whitening: Width | None
    embedding_dim: Width


class EmbeddingCard(_Card):
    """How images become embeddings.

    Attributes:
        extractors: the networks, in the order of their features.
        image_size: side of the square they see, pixels.
        decoder: version of the decoder.
        engine: what ran the extractor when the threshold was chosen.
        precision: what it computed in.
        trained: the extractor was trained with the head.
        head: features -> embedding.
        test_time_flip: the embedding is the mean of the image's and its mirror image's, L2-normalised.
        face_crop: how images are cropped to faces; None where the whole image counts.
        value_range: what grey of more than 8 bits is scaled by, as in training; None for 0 to 65,535.
        max_megapixels: larger images are refused.
    """

    extractors: Annotated[tuple[ExtractorCard, ...], Field(min_length=1, max_length=16)]
    image_size: int = Field(ge=1, le=2_048)
    decoder: Annotated[str, Field(max_length=100)]
    engine: Literal["openvino", "tensorflow", "numpy"]
    precision: Literal["float32", "bfloat16"]
    trained: bool
    head: HeadCard
    test_time_flip: bool = False
    face_crop: FaceCropCard | None = None
    value_range: tuple[float, float] | None = None
    max_megapixels: int = Field(MAX_MEGAPIXELS, ge=1, le=4_295)

    @property
    def extractor(self) -> str:
        """The extractor's name; of several side by side, their names joined by a plus."""
        return "+".join(one.name for one in self.extractors)

    @property
    def feature_dim(self) -> int:
        """Length of all features side by side."""
        return sum(one.feature_dim for one in self.extractors)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.head.embedding_dim

    @property
    def head_shape(self) -> HeadShape:
        """What the head's tensors follow from."""
        return HeadShape(self.feature_dim, self.head.units, self.head.embedding_dim, self.head.whitening)

    @property
    def cropper(self) -> FaceCropper | None:
        """Crops images to faces as in training; None where the whole image counts."""
        return None if self.face_crop is None else FaceCropper(**self.face_crop.model_dump())

    @property
    def decoding(self) -> dict[str, Any]:
        """The options of `imagematch.data.decode` that are as in training."""
        return {"value_range": self.value_range, "max_pixels": self.max_megapixels * 1_000_000}

    def decode(self, image: Any) -> np.ndarray:
        """The pixels that the network is to see of an image in any form; see `imagematch.data.decode`.

        Raises:
            DataError: the image cannot be read, or shows no face where one is needed.
        """
        cropper = self.cropper
        if cropper is None:
            return decode(image, self.image_size, **self.decoding)
        return cropper.decode(image, self.image_size, **self.decoding)

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError("the value range does not ascend")
        return self

    @model_validator(mode="after")
    def _networks_are_known(self) -> Self:
        for one in self.extractors:
            spec = SPECS.get(one.name)
            if spec is None and one.network is None:
                raise ValueError(f"there is no extractor {one.name!r}")
            dim = None if spec is None else spec.feature_dim or 3 * self.image_size**2
            if dim not in (None, one.feature_dim):
                raise ValueError(f"{one.name} gives {dim} features, not {one.feature_dim}")
            if one.name == "pixels" and one.network is not None:
                raise ValueError("pixels need no network")
            if one.name != "pixels" and one.network is None and self.engine == "openvino":
                raise ValueError("the engine openvino needs the converted network")
        if self.engine == "numpy" and any(one.name != "pixels" for one in self.extractors):
            raise ValueError("the engine numpy runs no network")
        return self


class CurvePointCard(_Card):
    """A threshold, with its rates on the calibration pairs."""

    distance: Distance
    far: Rate
    frr: Rate


class CalibrationRatesCard(_Card):
    """What the threshold does on the pairs that it was chosen on; see `imagematch.evaluation.CalibrationRates`."""

    images: Count
    classes: Count
    genuine_pairs: Count
    impostor_pairs: Count
    far: Rate
    frr: Rate
    far_ci95: tuple[Rate, Rate] | None
    frr_ci95: tuple[Rate, Rate] | None
    resolvable: bool
    note: Text


class ThresholdCard(_Card):
    """Where a match begins: two images match iff their distance is under `distance`."""

    distance: Distance
    criterion: Text | dict[Text, float | dict[Text, float]]
    chosen_on: Literal["calibration", "validation", "calibration and validation"]
    rates: CalibrationRatesCard | None = None
    curve: Annotated[tuple[CurvePointCard, ...], Field(max_length=100)] = ()

    @classmethod
    def of(cls, chosen: Threshold) -> ThresholdCard:
        """What evaluation chose, as a card has it."""
        return cls.model_validate_json(json.dumps(asdict(chosen)))

    def threshold(self) -> Threshold:
        """As evaluation wants it."""
        rates = None if self.rates is None else CalibrationRates(**self.rates.model_dump())
        curve = tuple(CurvePoint(**point.model_dump()) for point in self.curve)
        return Threshold(self.distance, self.criterion, self.chosen_on, rates, curve)

    @model_validator(mode="after")
    def _curve_ascends(self) -> Self:
        if any(one.distance >= after.distance for one, after in itertools.pairwise(self.curve)):
            raise ValueError("the distances of the curve do not ascend")
        return self


class ProbabilityCard(_Card):
    """Distance -> probability; see `imagematch.evaluation.Probability`."""

    method: Literal["platt", "isotonic"]
    prior: float = Field(gt=0, lt=1)
    distances: Annotated[tuple[Annotated[float, Field(ge=0, le=2.001)], ...], Field(max_length=65_536)]
    values: Annotated[tuple[Annotated[float, Field(ge=-1e9, le=1e9)], ...], Field(max_length=65_536)]
    calibration_error: float | None = Field(ge=0, le=1)

    @classmethod
    def of(cls, fitted: Probability) -> ProbabilityCard:
        """What evaluation fitted, as a card has it."""
        return cls.model_validate_json(json.dumps(fitted.to_json()))

    def probability(self) -> Probability:
        """As evaluation wants it. Raises ModelError where the knots do not fit together."""
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


class ProvenanceCard(_Card):
    """What a matcher was made from, for people and for comparisons; nothing is opened or written by it."""

    dataset: Text | None = None
    dataset_digest: Digest | None = None
    split_by: Text | None = None
    seed: int | None = None
    training_seed: int | None = None
    extractor_digest: Digest | None = None
    versions: Annotated[dict[Text, Text], Field(max_length=100)] = Field(default_factory=dict)
    created: Text | None = None


class MatcherCard(_Card):
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
    imagematch: Text
    name: str
    files: dict[str, Digest]
    embedding: EmbeddingCard
    threshold: ThresholdCard
    probability: ProbabilityCard | None
    provenance: ProvenanceCard
    golden: tuple[tuple[Unit, ...], ...]
    digest: Digest

    @field_validator("name")
    @classmethod
    def _name_is_one(cls, name: str) -> str:
        try:
            return checked_name(name, where=CARD_FILE)  # folders are named by it
        except ConfigError as error:
            raise ValueError(error.what) from error

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        expected = {CONFIG_FILE, HEAD_FILE, *weights_files(len(self.embedding.extractors))}
        if set(self.files) != expected:
            raise ValueError(f"its files are not {', '.join(sorted(expected))}")
        if len(self.golden) != _GOLDEN or any(len(row) != self.embedding.dim for row in self.golden):
            raise ValueError("golden embeddings of another size")
        if any(math.hypot(*row) > 1.01 for row in self.golden):
            raise ValueError("golden embeddings longer than 1")
        return self


def weights_files(extractors: int) -> list[str]:
    """Names of the files that hold the extractors' weights, in their order."""
    if extractors == 1:
        return ["extractor.safetensors"]
    return [f"extractor_{number}.safetensors" for number in range(1, extractors + 1)]
