"""How a matcher turns images into embeddings, as its card says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imagematch.data import MAX_MEGAPIXELS, FaceCropper, decode
from imagematch.framing import SQUASHED, Framing
from imagematch.model import AnyHeadShape, HeadShape, JoinedShape
from imagematch.registry import EXTRACTOR_REGISTRY

Digest = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]
_Width = Annotated[int, Field(ge=1, le=65_536)]


class StrictCard(BaseModel):
    """No other keys, no conversion of types, finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FaceCropCard(StrictCard):
    """How faces are cut out of images before they are embedded; see `imagematch.data.FaceCropper`."""

    margin: float = Field(ge=0, le=2)
    align: bool
    missing: Literal["whole", "skip", "error"]
    detector: Literal["haar", "mtcnn", "yunet"] = "haar"
    network: Digest | None = None

    @model_validator(mode="after")
    def _has_its_network(self) -> Self:
        if (self.detector == "yunet") != (self.network is not None):
            raise ValueError("yunet, and nothing else, has a network")
        return self


class ExtractorCard(StrictCard):
    """A network of the matcher; of several, their features stand side by side.

    Attributes:
        name: what the user calls it.
        feature_dim: length of its features.
        network: digest of its converted network in the folder; None where OpenVINO does not run it.
        weights: whether its weights are in the folder too, for our own code; a network that came as a file has none.
    """

    name: _Name
    feature_dim: int = Field(ge=1, le=1 << 24)
    network: Digest | None
    weights: bool = True


class FramingCard(StrictCard):
    """What is made of images that are not square, where that is not squashing them; see `Framing`."""

    crop: Literal["squash", "center", "pad"]
    crop_share: float = Field(gt=0, le=1)
    interpolation: Literal["bilinear", "bicubic"]


class HeadCard(StrictCard):
    """Features -> embedding.

    Attributes:
        units: widths of the feed-forward blocks.
        whitening: components of the whitening in front of them; None where there is none.
        embedding_dim: length of an embedding.
    """

    units: Annotated[tuple[_Width, ...], Field(max_length=64)]
    whitening: _Width | None
    embedding_dim: _Width

    def shape(self, feature_dim: int) -> HeadShape:
        """What its tensors follow from."""
        return HeadShape(feature_dim, self.units, self.embedding_dim, self.whitening)


class JoinCard(StrictCard):
    """What stands beside the head in an embedding; see `imagematch.model.build_joined_head`.

    Attributes:
        components: of the half-whitened features; None where only heads are joined.
        heads: the further heads.
        reduced: length of an embedding, where all that is joined is reduced.
    """

    components: _Width | None
    heads: Annotated[tuple[HeadCard, ...], Field(max_length=15)] = ()
    reduced: _Width | None = None


class EmbeddingCard(StrictCard):
    """How images become embeddings.

    Attributes:
        extractors: the networks, in the order of their features.
        image_size: side of the square they see, pixels.
        decoder: version of the decoder.
        engine: what ran the extractor when the threshold was chosen.
        precision: what it computed in.
        trained: the extractor was trained with the head.
        head: features -> embedding; None where half-whitened features alone are the embedding.
        join: what stands beside the head; None for nothing.
        test_time_flip: the embedding is the mean of the image's and its mirror image's, L2-normalised.
        face_crop: how images are cropped to faces; None where the whole image counts.
        value_range: what grey of more than 8 bits is scaled by, as in training; None for 0 to 65,535.
        max_megapixels: larger images are refused.
        framing: what is made of images that are not square; None where they are squashed.
    """

    extractors: Annotated[tuple[ExtractorCard, ...], Field(min_length=1, max_length=16)]
    image_size: int = Field(ge=1, le=2_048)
    decoder: Annotated[str, Field(max_length=100)]
    engine: Literal["openvino", "tensorflow", "numpy"]
    precision: Literal["float32", "bfloat16", "int8"]
    trained: bool
    head: HeadCard | None
    join: JoinCard | None = None
    test_time_flip: bool = False
    face_crop: FaceCropCard | None = None
    value_range: tuple[float, float] | None = None
    max_megapixels: int = Field(MAX_MEGAPIXELS, ge=1, le=4_295)
    framing: FramingCard | None = None

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
        return self.head_shape.dim

    @property
    def head_shape(self) -> AnyHeadShape:
        """What the head's tensors follow from."""
        if self.join is None:
            assert self.head is not None, "the card was checked"
            return self.head.shape(self.feature_dim)
        heads = (*([] if self.head is None else [self.head]), *self.join.heads)
        shapes = tuple(head.shape(self.feature_dim) for head in heads)
        return JoinedShape(self.feature_dim, shapes, self.join.components, self.join.reduced)

    @property
    def cropper(self) -> FaceCropper | None:
        """Crops images to faces as in training; None where the whole image counts."""
        return None if self.face_crop is None else FaceCropper(**self.face_crop.model_dump())

    @property
    def framed(self) -> Framing:
        """What is made of images that are not square."""
        return SQUASHED if self.framing is None else Framing(**self.framing.model_dump())

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
            return decode(image, self.image_size, framing=self.framed, **self.decoding)
        return cropper.decode(image, self.image_size, self.framed, **self.decoding)

    def without_face(self, image: Any) -> bool:
        """Whether the whole of an image is compared since no face was found in it; see `FaceCropper`."""
        if self.face_crop is None or self.face_crop.missing != "whole":
            return False
        assert self.cropper is not None
        return self.cropper.find(image, max_pixels=None) is None

    @model_validator(mode="after")
    def _gives_embeddings(self) -> Self:
        alone = self.head is None
        if alone and (self.join is None or self.join.components is None or self.join.heads):
            raise ValueError("there is neither a head nor half-whitened features alone")
        shape = self.head_shape
        if isinstance(shape, JoinedShape) and (shape.reduced or 1) > shape.joined_dim:
            raise ValueError("it is reduced to more than it has")
        return self

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError("the value range does not ascend")
        return self

    @model_validator(mode="after")
    def _networks_are_known(self) -> Self:
        for one in self.extractors:
            spec = EXTRACTOR_REGISTRY.all().get(one.name)
            if spec is None and one.network is None:
                raise ValueError(f"there is no extractor {one.name!r}")
            dim = None if spec is None else spec.feature_dim or 3 * self.image_size**2
            if dim not in (None, one.feature_dim):
                raise ValueError(f"{one.name} gives {dim} features, not {one.feature_dim}")
            if not one.weights and (one.network is None or spec is not None):
                raise ValueError(f"{one.name} has neither weights nor a network")
            if one.name == "pixels" and one.network is not None:
                raise ValueError("pixels need no network")
            if one.name != "pixels" and one.network is None and self.engine == "openvino":
                raise ValueError("the engine openvino needs the converted network")
        if self.engine == "numpy" and any(one.name != "pixels" for one in self.extractors):
            raise ValueError("the engine numpy runs no network")
        if self.precision == "int8" and (self.engine != "openvino" or self.trained):
            raise ValueError("only a frozen network on OpenVINO computes in 8 bits")
        return self


def head_fields(shape: AnyHeadShape) -> dict[str, HeadCard | JoinCard | None]:
    """The fields of an EmbeddingCard that say what a head's shape is."""

    def card(head: HeadShape) -> HeadCard:
        return HeadCard(units=head.units, whitening=head.whitening, embedding_dim=head.embedding_dim)

    if isinstance(shape, HeadShape):
        return {"head": card(shape), "join": None}
    heads = tuple(map(card, shape.heads))
    join = JoinCard(components=shape.components, heads=heads[1:], reduced=shape.reduced)
    return {"head": heads[0] if heads else None, "join": join}
