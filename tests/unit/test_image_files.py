"""Image files are known by their content, whatever they are called."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.fault.image_files import encoded, plain

from imagematch import image_files
from imagematch.image_files import IMAGE_SUFFIXES, format_of, image_format, unreadable_kind

BOX = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        *((encoded(plain(), form), form) for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "AVIF")),
        (encoded(plain(), "WEBP"), "WebP"),
        (encoded(plain(), "MPO"), "JPEG"),
        (b"P3 1 1", "PPM"),
        (b"P3\n# a comment", "PPM"),
        (b"P3rfect prose", ""),
        (b"BMW 320i, a car of 1990", ""),
        (BOX + b"heic\0\0\0\0mif1heic", "HEIF"),
        (BOX + b"mif1\0\0\0\0mif1heic", "HEIF"),
        (BOX + b"mif1\0\0\0\0mif1avif", "AVIF"),
        (BOX + b"isom\0\0\0\0mp42mp41", "video"),
        (BOX + b"crx \0\0\0\0", "Canon raw"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (encoded(plain(), "JPEG2000"), "JPEG 2000"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"  <?xml version='1.0'?>\n<svg>", "SVG"),
        (b"<?xml version='1.0'?><html>", ""),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"", ""),
    ],
)
def test_a_format_is_known_by_the_first_bytes(data: bytes, expected: str) -> None:
    assert format_of(data) == expected


def test_what_is_not_read_has_a_kind_to_count_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "find_spec", lambda name: None)
    jpeg, heic = encoded(plain(), "JPEG"), BOX + b"heic"
    for name, data, kind in (
        ("photo", jpeg, ""),
        ("photo.png", jpeg, ""),
        ("photo.txt", jpeg, ""),
        ("IMG_1.HEIC", heic, "HEIF"),
        ("IMG_2.jpg", heic, "HEIF"),
        ("new.jxl", b"\xff\x0a", "JPEG XL"),
        ("shot.NEF", encoded(plain(), "TIFF"), "camera raw"),
        ("labels.csv", b"a,b", ".csv"),
        ("Makefile", b"all:", "no image"),
        ("nothing", b"", "empty file"),
        ("nothing.jpg", b"", ".jpg"),
    ):
        (tmp_path / name).write_bytes(data)
        assert unreadable_kind(tmp_path / name) == kind, name
    os.mkfifo(tmp_path / "pipe.jpg")
    assert unreadable_kind(tmp_path / "pipe.jpg") == "not a file"
    assert unreadable_kind(tmp_path / "gone.jpg") == "unreadable file"
    monkeypatch.setattr(image_files, "find_spec", lambda name: object())
    assert unreadable_kind(tmp_path / "IMG_1.HEIC") == ""
    assert image_format(tmp_path / "IMG_1.HEIC") == "HEIF"


def test_the_suffixes_are_those_of_what_is_read() -> None:
    known = {suffix for suffix, form in Image.registered_extensions().items() if form in ("JPEG", "PNG", "BMP", "TIFF")}
    assert known - {".apng", ".dib", ".jps"} <= set(IMAGE_SUFFIXES)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
@pytest.mark.parametrize("size", [(60, 40), (640, 480)])
def test_a_heif_photo_is_read(size: Any, tmp_path: Path) -> None:
    import numpy as np
    import pillow_heif

    from imagematch.data import decode, inspect

    path = tmp_path / "photo"
    pillow_heif.from_pillow(plain(width=size[0], height=size[1])).save(path, quality=95)
    pixels = decode(path, 32)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels[16, 16].astype(int) - (200, 40, 90)).max() <= 4
    assert inspect(path.read_bytes()) == (*size, "RGB", 0, 255, False)
    from imagematch.errors import DataError

    with pytest.raises(DataError, match="cannot be decoded"):
        decode(path.read_bytes()[:-200])
