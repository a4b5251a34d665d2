"""`matcher.json`: what a matcher's folder says about itself, checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from imagematch.data import FaceCropper, to_picture
from imagematch.errors import ConfigError, ModelError
from imagematch.files import checked_name, digest_json, os_reason, recovered_dir

FORMAT = 1
"""Raised whenever an older version could not use the folder any more."""
FILE = "matcher.json"
_MAX_IMAGE_SIZE = 4096


class FaceCropCard(BaseModel):
    """How faces are cut out of images before they are embedded; see `imagematch.data.FaceCropper`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(ge=0)
    align: bool
    missing: Literal["whole", "skip", "error"]


class MemberCard(BaseModel):
    """One of several extractors side by side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    extractor: str
    network_digest: str
    feature_dim: int = Field(gt=0)


class EmbeddingCard(BaseModel):
    """How images become embeddings.

    Attributes:
        extractor: the extractor's name; of several side by side, their names joined by a plus.
        network_digest: identifies its weights, image size and preprocessing.
        feature_dim: length of its features.
        image_size: side of the square it sees, pixels.
        decoder: version of the decoder.
        engine: what ran the frozen extractor when the threshold was chosen; "tensorflow" for a trained one.
        precision: what it computed in.
        whole_model: the extractor was trained too, so that the Keras model runs as one.
        dim: length of an embedding.
        members: the extractors side by side, in the order of their features; empty where there is one.
        test_time_flip: the embedding is the mean of the image's and its mirror image's, L2-normalised.
        face_crop: how faces are cut out; None where the whole image counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    extractor: str
    network_digest: str
    feature_dim: int = Field(gt=0)
    image_size: int = Field(gt=0, le=_MAX_IMAGE_SIZE)
    decoder: str
    engine: str = Field(pattern="^(openvino|tensorflow|numpy)$")
    precision: str = Field(pattern="^(float32|bfloat16)$")
    whole_model: bool
    dim: int = Field(gt=0)
    members: tuple[MemberCard, ...] = ()
    test_time_flip: bool = False
    face_crop: FaceCropCard | None = None

    @property
    def cropper(self) -> FaceCropper | None:
        """Cuts faces out as in training; None where the whole image counts."""
        return None if self.face_crop is None else FaceCropper(**self.face_crop.model_dump())

    def to_picture(self, image: Any) -> np.ndarray:
        """The pixels that the network is to see of an image in any form; see `imagematch.data.to_picture`.

        Raises:
            DataError: the image cannot be read, or shows no face where one is needed.
        """
        cropper = self.cropper
        if cropper is None:
            return to_picture(image, self.image_size)
        return cropper.to_picture(image, self.image_size)


class ThresholdCard(BaseModel):
    """Where a match begins: two images match iff their distance is under `distance`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    distance: float
    criterion: str | dict[str, Any]
    chosen_on: str


class MatcherCard(BaseModel):
    """A matcher's description.

    Attributes:
        format: version of this description.
        imagematch: version of the program that wrote it.
        name: the experiment.
        files: digest of every file that belongs to the model.
        embedding: how images become embeddings.
        threshold: where a match begins.
        probability: distance -> probability, as evaluation fitted it; None where it could not be fitted.
        provenance: data set, seeds, versions, time.
        golden: embeddings of the golden pictures, recomputed at every load.
        digest: of all the rest, by which an edit is noticed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: int
    imagematch: str
    name: str
    files: dict[str, str]
    embedding: EmbeddingCard
    threshold: ThresholdCard
    probability: dict[str, Any] | None
    provenance: dict[str, Any]
    golden: list[list[float]]
    digest: str

    @field_validator("name")
    @classmethod
    def _name_is_one(cls, name: str) -> str:
        try:
            return checked_name(name, where=FILE)  # folders are named by it
        except ConfigError as error:
            raise ValueError(error.what) from error

    @model_validator(mode="after")
    def _golden_fits(self) -> Self:
        if not self.golden or any(len(row) != self.embedding.dim for row in self.golden):
            raise ValueError("golden embeddings of another size")
        return self


def read_card(folder: Path) -> MatcherCard:
    """Reads and checks `matcher.json`; a folder that a kill left under another name is put back first.

    Raises:
        ModelError: the folder or the file is missing, damaged, edited, or of a newer version.
    """
    path = recovered_dir(folder) / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        _check_format(values, path)
        card, digest = MatcherCard.model_validate(values), sealed(values)["digest"]
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_dir():
            raise ModelError(f"{FILE} is missing", where=str(folder), do="train the model again") from error
        do = "train one: python train.py --config FILE"
        raise ModelError("no such model folder", where=str(folder), do=do) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"is damaged ({f'{key}: ' if key else ''}{first['msg']})", where=str(path), do="train the model again"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="check the path") from error
    except (ValueError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do="train the model again") from error
    if card.digest != digest:
        raise ModelError(
            "was changed since it was saved",
            where=str(path),
            do="restore it, or train again (another threshold needs no edit: matcher.match(a, b, threshold=0.9))",
        )
    return card


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A card's values as JSON, with the digest of all of them but itself."""
    rest = {key: value for key, value in values.items() if key != "digest"}
    return {**rest, "digest": digest_json(rest)}


def _check_format(values: Any, path: Path) -> None:
    if not isinstance(values, Mapping) or not isinstance(values.get("format"), int):
        raise ValueError("no format")
    if values["format"] > FORMAT:
        raise ModelError(
            f"was written by a newer imagematch ({values.get('imagematch', 'unknown version')})",
            where=str(path),
            do="update imagematch",
        )
