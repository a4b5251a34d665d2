"""Faces: the largest is found where it is, its lean by its eyes, and cut out with a margin."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagematch.data import Face, FaceCropper, decode
from imagematch.data.faces import haar
from imagematch.errors import DataError

from .drawings import find_face, photo

CROPPER = FaceCropper(margin=0.2, align=False, missing="whole")


def near(face: Face | None, left: int, top: int, size: int) -> bool:
    assert face is not None
    return max(abs(face.left - left), abs(face.top - top), abs(face.width - size)) < 0.15 * size


def test_the_largest_face_is_found_where_it_is() -> None:
    assert near(find_face(photo((30, 20, 60), (150, 90, 120))), 150, 90, 120)
    assert near(find_face(photo((150, 20, 60))), 150, 20, 60)
    assert find_face(photo()) is None
    assert find_face(np.zeros((5, 300, 3), np.uint8)) is None


def test_large_photos_are_searched_small_and_told_in_their_own_pixels() -> None:
    large = np.asarray(Image.fromarray(photo((100, 80, 100))).resize((1600, 1300), Image.Resampling.BILINEAR))
    assert near(find_face(large), 500, 400, 500)


def test_eyes_tell_how_a_face_leans() -> None:
    face = find_face(photo((100, 80, 160), leaning=-12), eyes=True)
    assert face is not None
    assert face.angle == pytest.approx(-12, abs=3)
    plain = find_face(photo((100, 80, 160), leaning=-12))
    assert plain == face._replace(angle=0.0)


@pytest.mark.parametrize(
    ("eyes", "angle"),
    [
        ([], 0.0),
        ([(30.0, 40.0)], 0.0),
        ([(30.0, 40.0), (70.0, 40.0)], 0.0),
        ([(30.0, 40.0), (70.0, 50.0)], 14.0),
        ([(30.0, 50.0), (70.0, 40.0)], -14.0),
        ([(30.0, 40.0), (70.0, 50.0), (72.0, 42.0)], 2.7),  # the more level pair
        ([(30.0, 20.0), (70.0, 55.0)], 0.0),  # no pair: over 30 degrees
        ([(10.0, 40.0), (30.0, 45.0)], 0.0),  # both in one half
        ([(45.0, 40.0), (55.0, 45.0)], 0.0),  # too close together
    ],
)
def test_a_pair_of_eyes(eyes: list[tuple[float, float]], angle: float) -> None:
    assert haar._angle_of_pair(eyes, 100) == angle


def test_threads_find_the_same_as_one() -> None:
    photos = [photo((10 * n, 5 * n, 60 + 5 * n)) for n in range(12)]
    alone = [find_face(one) for one in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(find_face, photos)) == alone


def test_threads_may_be_the_first_to_ask_for_opencv() -> None:
    """It imports itself in two steps; between them it lacks its parts."""
    program = (
        "import numpy as np\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from imagematch.data import FaceCropper\n"
        "find = FaceCropper(0.2, False, 'whole').find\n"
        "with ThreadPoolExecutor(8) as pool: print(list(pool.map(find, [np.zeros((99, 99, 3), np.uint8)] * 8)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{[None] * 8}\n", "")


@pytest.mark.parametrize(
    ("face", "margin", "box"),
    [
        (Face(100, 80, 50, 50), 0.0, (100, 80, 150, 130)),
        (Face(100, 80, 50, 50), 0.2, (90, 70, 160, 140)),
        (Face(0, 0, 50, 50), 0.2, (0, 0, 70, 70)),  # moved inside, square as ever
        (Face(270, 200, 50, 50), 0.2, (250, 190, 320, 260)),
        (Face(60, 30, 200, 200), 1.0, (0, 0, 320, 260)),  # larger than the picture
    ],
)
def test_region(face: Face, margin: float, box: tuple[float, ...]) -> None:
    assert FaceCropper(margin, False, "whole").region(face, 320, 260) == (box, 0.0)


def test_a_matcher_sees_what_training_saw(tmp_path: Path) -> None:
    pixels = photo((100, 60, 160), leaning=-12)
    file = tmp_path / "photo.png"
    Image.fromarray(pixels).save(file)
    for align in (False, True):
        cropper = FaceCropper(0.2, align, "whole")
        face = find_face(pixels, eyes=align)
        assert face is not None
        box, angle = cropper.region(face, 320, 260)
        assert (angle != 0) == align
        expected = decode(file, 96, box=box, angle=angle)
        assert expected.shape == (96, 96, 3)
        for image in (file, str(file), file.read_bytes(), pixels, Image.fromarray(pixels), pixels.astype(np.float32)):
            assert np.array_equal(cropper.decode(image, 96), expected)


@pytest.mark.parametrize("missing", ["skip", "error"])
def test_an_image_without_a_face_is_named(missing: str, tmp_path: Path) -> None:
    file = tmp_path / "wall.png"
    Image.fromarray(photo()).save(file)
    assert np.array_equal(CROPPER.decode(file, 64), decode(photo(), 64))
    with pytest.raises(DataError, match=r"wall.png: no face found in it; use an image"):
        FaceCropper(0.2, False, missing).decode(file, 64)
    with pytest.raises(DataError, match=r"^no face found in it"):
        FaceCropper(0.2, False, missing).decode(photo(), 64)


def test_a_leaning_box_stands_upright() -> None:
    """Turning the whole picture about the box's centre, then cutting, gives the same."""
    picture = Image.fromarray(photo((100, 60, 160), leaning=-12))
    box = (80.0, 50.0, 230.0, 210.0)
    turned = picture.rotate(-12, Image.Resampling.BICUBIC, center=(155, 130)).crop((80, 50, 230, 210))
    cut = decode(picture, box=box, angle=-12)
    assert cut.shape == (160, 150, 3)
    assert np.abs(cut[10:-10, 10:-10].astype(int) - np.asarray(turned)[10:-10, 10:-10]).mean() < 1.5


def test_opencv_without_cascades_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(haar._own, "cascades", {}, raising=False)
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DataError, match=r"has no CascadeClassifier; pip install 'imagematch\[faces\]'"):
        find_face(photo())
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DataError, match="face_crop: haar needs OpenCV; pip install"):
        find_face(photo())
