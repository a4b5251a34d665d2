"""Every kind of image that a caller may have, alike in `ImageMatcher` and `Gallery`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.matching.conftest import write_matcher

from imagematch.errors import DataError
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery

OPENED: list[Any] = []
KINDS: dict[str, Callable[[Path], Any]] = {
    "text path": str,
    "Path": lambda path: path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: _opened(path.open("rb")),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "PIL image": lambda path: _opened(Image.open(path)),
    "uint8 array": lambda path: _pixels(path),
    "float array": lambda path: _pixels(path).astype(np.float32),
}
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "web address": (lambda _: "https://example.com/a.png", "is an address: images are not fetched"),
    "file address": (lambda path: path.as_uri(), "is an address: images are not fetched"),
    "text file": (lambda path: _opened((path.parent / "card").open(encoding="latin-1")), "gives text"),
    "closed file": (lambda _: _closed(), "the open file cannot be read"),
    "read file": (lambda _: io.BytesIO(), "the file is empty"),
    "folder": (lambda path: path.parent, "is not a file"),
    "number": (lambda _: 7, "int is not an image"),
    "nothing": (lambda _: None, "NoneType is not an image"),
    "dictionary": (lambda _: {"image": 1}, "dict is not an image"),
}


def _opened(file: Any) -> Any:
    OPENED.append(file)
    return file


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


@pytest.fixture(autouse=True)
def closed_files() -> Iterator[None]:
    yield
    for file in OPENED:
        file.close()
    OPENED.clear()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matcher and an image of 8 x 8 pixels, which nothing shrinks."""
    folder = tmp_path_factory.mktemp("inputs")
    write_matcher(folder / "matcher")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(folder / "one.png")
    (folder / "card").write_text("text")
    return folder


@pytest.fixture(scope="module")
def matcher(place: Path) -> ImageMatcher:
    return ImageMatcher.load(place / "matcher")


@pytest.fixture
def gallery(place: Path, matcher: ImageMatcher, tmp_path: Path) -> Any:
    with Gallery.create(tmp_path / "gallery", matcher) as made:
        made.add(place / "one.png", "one")
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_one_and_many_are_taken_everywhere(kind: str, place: Path, matcher: ImageMatcher, gallery: Gallery) -> None:
    path = place / "one.png"

    def image() -> Any:
        return KINDS[kind](path)

    expected = matcher.embed([path])
    for one in (image(), [image()], (image(),)):
        np.testing.assert_array_equal(matcher.embed(one), expected)
    assert matcher.match(image(), path).distance == 0  # type: ignore[union-attr]
    assert [one.distance for one in matcher.match([image(), path], path)] == [0, 0]
    assert matcher.predict(image(), image()).tolist() == [0]
    assert gallery.search(image())[0].distance == 0
    ids = gallery.add(image(), "again") + gallery.add([image()], "again")
    has_pixels_only = kind in ("PIL image", "uint8 array", "float array")
    assert ids == ([2, 2] if has_pixels_only else [1, 1])  # a file, however it is given, is one image
    assert gallery.labels() == ({"again": 1, "one": 1} if has_pixels_only else {"again": 1})


@pytest.mark.parametrize("kind", REFUSED)
def test_others_are_refused_in_one_line_everywhere(
    kind: str, place: Path, matcher: ImageMatcher, gallery: Gallery
) -> None:
    made, told = REFUSED[kind]
    path = place / "one.png"
    for use in (
        matcher.embed,
        gallery.search,
        gallery.add,
        lambda image: matcher.embed([image]),
        lambda image: matcher.match(image, path),
        lambda image: matcher.predict(path, image),
        lambda image: gallery.add([path, image]),
    ):
        with pytest.raises(DataError) as error:
            use(made(path))
        assert told in str(error.value)
        assert "\n" not in str(error.value)
    assert len(gallery) == 1
