"""Data sets of faces: searched once, cut, keyed by the cut, and what becomes of pictures without a face."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.data import NO_FACE, Dataset, FaceCropper, build
from imagematch.data.faces import cache
from imagematch.errors import DataError

from .conftest import break_unseen
from .drawings import find_face, photo

Open = Callable[..., Dataset]
IMAGES = 12


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two people with 12 photos each; the first photo of each shows no face."""
    root = tmp_path / "people"
    for person in range(2):
        for number in range(IMAGES):
            place = (10 + 9 * number, 5 + 6 * number, 70 + 30 * person)
            pixels = photo(*([place] if number else []), height=220 + person, width=260)
            (root / f"p{person}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / f"p{person}" / f"{number:02d}.png")
    return root


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each picture that is searched."""
    seen: list[int] = []
    find = FaceCropper.find

    def note(cropper: FaceCropper, pixels: Any, **how: Any) -> Any:
        seen.append(1)
        return find(cropper, pixels, **how)

    monkeypatch.setattr(FaceCropper, "find", note)
    return seen


def test_faces_are_cut_out(faces: Path, opened: Open) -> None:
    whole, cut = opened(data_dir=faces), opened(data_dir=faces, face_crop="haar")
    assert whole.face_cropper is None
    assert cut.face_cropper == FaceCropper(0.2, False, "whole")
    assert cut.paths.tolist() == whole.paths.tolist()
    for row in range(len(cut)):
        faceless = str(cut.paths[row]).endswith("00.png")
        assert (cut.digests[row] == whole.digests[row]) == faceless
        picture = cut.pixels(row)
        assert picture.shape == (cut.heights[row], cut.widths[row], 3)
        assert np.array_equal(cut.pixels(row, 48), cut.face_cropper.decode(whole.read(row), 48))
        assert (picture.shape == whole.pixels(row).shape) == faceless
    assert cut.digest != whole.digest


def test_each_picture_is_searched_once(faces: Path, opened: Open, searched: list[int], tmp_path: Path) -> None:
    keys: dict[str, Any] = {"data_dir": faces, "face_crop": "haar"}
    first = opened(**keys)
    assert len(searched) == len({*first.digests.tolist()}) == 2 * IMAGES
    searched.clear()
    again = opened(**keys)
    assert again.digest == first.digest
    wider = opened(**keys, face_margin=0.5)  # the faces are the same, the pixels are not
    assert not set(wider.digests[1:IMAGES].tolist()) & set(first.digests.tolist())
    opened(**keys, face_missing="skip")
    assert searched == []
    Image.fromarray(photo((50, 50, 90))).save(faces / "p0" / "00.png")
    changed = opened(**keys)
    assert len(searched) == 1
    assert changed.digests[0] != first.digests[0]
    assert changed.digests[1:].tolist() == first.digests[1:].tolist()
    searched.clear()
    opened(**keys, face_align=True)  # searched for eyes too, and kept apart
    assert len(searched) == 2 * IMAGES
    searched.clear()
    opened(**keys)
    assert searched == []
    assert len(list((tmp_path / "manifests").glob("*.faces.jsonl"))) == 1


def test_damaged_faces_are_searched_again(faces: Path, opened: Open, searched: list[int], tmp_path: Path) -> None:
    first = opened(data_dir=faces, face_crop="haar")
    (kept,) = (tmp_path / "manifests").glob("*.faces.jsonl")
    for data in (kept.read_bytes()[:-20], b"", b"null\nnull", kept.read_bytes().replace(b"null", b"1234")):
        kept.write_bytes(data)
        searched.clear()
        assert opened(data_dir=faces, face_crop="haar").digest == first.digest
        assert len(searched) == 2 * IMAGES


def test_an_interrupted_search_keeps_what_it_found(
    faces: Path, opened: Open, searched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_CHUNK", 5)
    count, find = 0, FaceCropper.find

    def advance(cropper: FaceCropper, pixels: Any, **how: Any) -> Any:
        nonlocal count
        count += 1
        if count > 12:
            raise KeyboardInterrupt
        return find(cropper, pixels, **how)

    monkeypatch.setattr(FaceCropper, "find", advance)
    with pytest.raises(KeyboardInterrupt):
        opened(data_dir=faces, face_crop="haar")
    monkeypatch.setattr(FaceCropper, "find", find)
    searched.clear()
    opened(data_dir=faces, face_crop="haar")
    assert len(searched) == 2 * IMAGES - 10


def test_a_photo_that_breaks_before_it_is_searched_is_named_and_left_out_by_the_next_run(
    faces: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: Any, **named: Any) -> Any:
        break_unseen(faces / "p0" / "03.png")
        return cache.read_faces(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(build, "read_faces", late)
        with pytest.raises(DataError, match=r"p0/03\.png: has changed since it was listed; run again"):
            opened(data_dir=faces, face_crop="haar")
    dataset = opened(data_dir=faces, face_crop="haar")
    assert [image.path for image in dataset.quarantined] == ["p0/03.png"]


def test_a_photo_that_changes_after_its_face_was_cut_is_refused(faces: Path, opened: Open) -> None:
    dataset = opened(data_dir=faces, face_crop="haar", face_align=True)
    row = dataset.paths.tolist().index("p0/03.png")
    dataset.pixels(row)
    Image.fromarray(photo((50, 50, 90))).save(faces / "p0" / "03.png")
    with pytest.raises(DataError, match=r"p0/03\.png: has changed since it was listed; run again"):
        dataset.pixels(row)


def test_pictures_without_a_face(faces: Path, opened: Open, events: Any) -> None:
    skipped = opened(data_dir=faces, face_crop="haar", face_missing="skip")
    assert len(skipped) == 2 * IMAGES - 2
    assert [(image.path, image.reason) for image in skipped.quarantined] == [
        ("p0/00.png", NO_FACE),
        ("p1/00.png", NO_FACE),
    ]
    assert events("faces")[0]["message"] == "no face found in 2 of 24 images: left out (face_missing)"
    with pytest.raises(DataError, match=r"no face found in 2 of 24 images, the first is p0/00.png; remove them, or"):
        opened(data_dir=faces, face_crop="haar", face_missing="error")


def test_a_box_of_the_tables_own_is_kept(faces: Path, opened: Open, tmp_path: Path) -> None:
    lines = ["path,label,x,y,w,h"]
    for person in range(2):
        for number in range(IMAGES):
            box = "1,2,30,40" if number < 6 else ",,,"
            lines.append(f"people/p{person}/{number:02d}.png,{person},{box}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    dataset = opened(dataset="csv", data_dir=table, face_crop="haar", face_missing="error")
    assert dataset.boxes is not None
    own = [row for row in range(len(dataset)) if dataset.boxes[row] == (1.0, 2.0, 31.0, 42.0)]
    assert len(own) == 12
    assert all(box is not None and box[2] - box[0] == box[3] - box[1] > 60 for box in dataset.boxes if box[0] != 1)


def test_embedded_images_are_searched_without_keeping(opened: Open, tmp_path: Path) -> None:
    dataset = opened(dataset="digits", face_crop="haar", max_classes=2)
    assert dataset.boxes is None
    assert not list(tmp_path.glob("manifests/*"))


def test_aligned_faces_stand_upright(tmp_path: Path, opened: Open) -> None:
    root = tmp_path / "leaning"
    for person in range(2):
        (root / str(person)).mkdir(parents=True)
        for number in range(10):
            pixels = photo((100 - 4 * number, 60 + person, 160), leaning=-12)
            Image.fromarray(pixels).save(root / str(person) / f"{number}.png")
    dataset = opened(data_dir=root, face_crop="haar", face_align=True)
    plain = opened(data_dir=root, face_crop="haar")
    assert dataset.angles is not None
    leaning = [row for row in range(20) if dataset.angles[row]]
    assert len(leaning) >= 10
    assert plain.angles is None
    for row in leaning[:3]:
        upright = find_face(dataset.pixels(row), eyes=True)
        assert upright is not None
        assert abs(upright.angle) < 5
        assert dataset.digests[row] != plain.digests[row]


def test_kept_faces_say_what_they_are(faces: Path, opened: Open, tmp_path: Path) -> None:
    dataset = opened(data_dir=faces, face_crop="haar")
    (kept,) = (tmp_path / "manifests").glob("*.faces.jsonl")
    header, columns = map(json.loads, kept.read_text().splitlines())
    assert (header["detector"], header["eyes"], header["rows"]) == ("1", False, len(dataset))
    assert columns["face"].count(None) == 2
