"""A matcher trained on cut-out faces cuts them out of the images it is asked about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from pydantic import ValidationError

from imagematch.data import decode
from imagematch.errors import DataError
from imagematch.matching import ImageMatcher
from imagematch.matching.card import MatcherCard, ProvenanceCard, ThresholdCard
from imagematch.matching.embedding_card import EmbeddingCard, ExtractorCard, FaceCropCard, HeadCard

SIZE = 64


def card(face_crop: FaceCropCard | None) -> MatcherCard:
    embedding = EmbeddingCard(
        extractors=(ExtractorCard(name="pixels", feature_dim=3 * SIZE**2, network=None),),
        image_size=SIZE,
        decoder="1",
        engine="numpy",
        precision="float32",
        trained=False,
        head=HeadCard(units=(), whitening=None, embedding_dim=2),
        face_crop=face_crop,
    )
    return MatcherCard(
        format=2,
        imagematch="0",
        name="x",
        files=dict.fromkeys(("config.yaml", "head.safetensors", "extractor.safetensors"), "0" * 32),
        embedding=embedding,
        threshold=ThresholdCard(distance=1.0, criterion="eer", chosen_on="calibration"),
        probability=None,
        provenance=ProvenanceCard(),
        golden=((1.0, 0.0),) * 3,
        digest="0" * 32,
    )


class Seen:
    """An embedder that remembers its pictures."""

    golden_distance = 0.0
    head = None

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        self.pictures = list(pictures)
        return np.tile(np.array([1, 0], np.float32), (len(pictures), 1))


def photo() -> np.ndarray:
    """A drawn face on a plain page."""
    face = Image.new("L", (100, 100), 70)
    draw = ImageDraw.Draw(face)
    draw.ellipse((14, 6, 86, 98), fill=200)
    draw.ellipse((16, -2, 84, 30), fill=60)
    for x in (34, 66):
        draw.ellipse((x - 11, 33, x + 11, 47), fill=120)
        draw.ellipse((x - 6, 38, x + 6, 46), fill=40)
        draw.rectangle((x - 10, 30, x + 10, 33), fill=80)
    draw.ellipse((45, 44, 55, 68), fill=215)
    draw.ellipse((42, 65, 58, 71), fill=140)
    draw.ellipse((35, 76, 65, 84), fill=90)
    page = Image.new("RGB", (300, 200), (90, 110, 120))
    page.paste(face.filter(ImageFilter.GaussianBlur(1.2)).convert("RGB"), (150, 60))
    return np.asarray(page)


def matcher(face_crop: FaceCropCard | None) -> tuple[ImageMatcher, Seen]:
    seen = Seen()
    return ImageMatcher(card(face_crop), Path("nowhere"), seen), seen  # type: ignore[arg-type]


def test_without_faces_the_whole_picture_counts() -> None:
    one, seen = matcher(None)
    one.embed(photo())
    assert np.array_equal(seen.pictures[0], decode(photo(), SIZE))


def test_faces_are_cut_out_once(tmp_path: Path) -> None:
    face_crop = FaceCropCard(margin=0.2, align=False, missing="whole")
    one, seen = matcher(face_crop)
    Image.fromarray(photo()).save(tmp_path / "photo.png")
    one.embed([photo(), tmp_path / "photo.png"])
    cropper = one.card.embedding.cropper
    assert cropper is not None
    expected = cropper.decode(photo(), SIZE)
    assert not np.array_equal(expected, decode(photo(), SIZE))
    assert all(np.array_equal(picture, expected) for picture in seen.pictures)
    one.embed(expected, cropped=True)
    assert np.array_equal(seen.pictures[0], expected)


def test_without_a_face() -> None:
    wall = np.full((80, 90, 3), 100, np.uint8)
    one, seen = matcher(FaceCropCard(margin=0.2, align=False, missing="whole"))
    one.embed(wall)
    assert np.array_equal(seen.pictures[0], decode(wall, SIZE))
    assert one.card.embedding.without_face(wall)
    assert not one.card.embedding.without_face(photo())
    assert not card(None).embedding.without_face(wall), "none is looked for"
    one, _ = matcher(FaceCropCard(margin=0.2, align=False, missing="skip"))
    with pytest.raises(DataError, match="no face found"):
        one.match(wall, photo())


def test_a_matcher_is_shown_in_a_line() -> None:
    shown = "<ImageMatcher x: pixels, embeddings of 2 values, a match under 1.0000, chosen on calibration>"
    assert repr(matcher(None)[0]) == shown


def test_the_card_survives_json() -> None:
    kept = card(FaceCropCard(margin=0.5, align=True, missing="skip"))
    assert MatcherCard.model_validate_json(kept.model_dump_json()) == kept
    old = kept.model_dump(mode="json")
    del old["embedding"]["face_crop"]  # as written before there was one
    assert MatcherCard.model_validate_json(json.dumps(old)).embedding.face_crop is None


def test_a_set_with_a_range_of_values_is_matched_with_it(tmp_path: Path) -> None:
    one, seen = matcher(None)
    embedding = one.card.embedding.model_copy(update={"value_range": (0.0, 4095.0), "max_megapixels": 1})
    one = ImageMatcher(one.card.model_copy(update={"embedding": embedding}), Path("nowhere"), seen)  # type: ignore[arg-type]
    values = np.full((9, 9), 2048, np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    one.embed(tmp_path / "deep.png")
    assert set(seen.pictures[0].ravel().tolist()) == {128}
    with pytest.raises(DataError, match=r"over the limit of 1,000,000; save it smaller, or set max_megapixels"):
        one.embed(Image.new("L", (1000, 1001)))
    json_card = one.card.model_dump(mode="json")
    assert MatcherCard.model_validate_json(json.dumps(json_card)) == one.card
    json_card["embedding"]["value_range"] = [5.0, 5.0]
    with pytest.raises(ValidationError, match="does not ascend"):
        MatcherCard.model_validate_json(json.dumps(json_card))


@pytest.mark.parametrize(
    "change",
    [
        {"missing": "cut"},
        {"margin": -1},
        {"margin": float("nan")},
        {"more": 1},
        {"detector": "yunet"},
        {"detector": "dlib"},
        {"network": "0" * 32},
    ],
)
def test_a_card_that_was_edited_is_refused(change: dict[str, Any]) -> None:
    values = card(FaceCropCard(margin=0.5, align=True, missing="skip")).model_dump(mode="json")
    values["embedding"]["face_crop"].update(change)
    with pytest.raises(ValidationError):
        MatcherCard.model_validate_json(json.dumps(values))
