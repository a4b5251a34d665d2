"""A contact sheet: images of a data set on one page, each beside what the network sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from imagematch.data.build import Scan
from imagematch.data.decoding import Thumbnail, decode, thumbnail
from imagematch.data.faces import Face, crop_to_face
from imagematch.sources import ImageRow

_CELL = 128
"""Side of an image on the sheet, pixels."""
_GAP = 6
_CAPTION = 14
"""Height of the line below, pixels."""
_LETTERS = 42
_COLUMNS = 5
_PAIRS = 40
_FACELESS_SHARE = 3
"""At most one in so many of the images shown is one without a face, where there are others."""
_GREEN, _RED, _GREY = (30, 150, 60), (200, 40, 40), (120, 120, 120)


def draw_contact_sheet(scan: Scan) -> Image.Image:
    """Up to 40 images, spread over the data set; beside each, what is used of it, stretched to a square.

    Below them stand class and path.

    A found face is framed in green, as it was found, and in grey with its margin; an image without one in red.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
    """
    shown = _chosen(scan)
    columns = min(_COLUMNS, max(1, len(shown)))
    lines = -(-len(shown) // columns)
    width, height = 2 * _CELL + 3 * _GAP, _CELL + 2 * _GAP + _CAPTION
    sheet = Image.new("RGB", (columns * width, max(1, lines) * height), "white")
    for number, row in enumerate(shown):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        photo, used = _pair(scan, row)
        sheet.paste(photo, (left, top))
        sheet.paste(used, (left + _CELL + _GAP, top))
        ImageDraw.Draw(sheet).text((left, top + _CELL + 2), _caption(row), fill=(60, 60, 60))
    return sheet


def _caption(row: ImageRow) -> str:
    """Class and end of the path, in letters that every font has."""
    text = f"{row.label}: {row.path}".encode("ascii", "replace").decode()
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _LETTERS else text[: _LETTERS // 2 - 2] + ".." + text[-_LETTERS // 2 :]


def _chosen(scan: Scan) -> list[ImageRow]:
    without = {row.path for row in scan.faceless}
    seen = [row for row in scan.usable if row.path not in without]
    unseen = [row for row in scan.usable if row.path in without]
    few = _spread_over(unseen, max(_PAIRS // _FACELESS_SHARE, _PAIRS - len(seen)))
    return _spread_over(seen, _PAIRS - len(few)) + few


def _spread_over(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    count = min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def _pair(scan: Scan, row: ImageRow) -> tuple[Image.Image, Image.Image]:
    data = scan.source.read(row.source_file)
    photo = thumbnail(data, _CELL, value_range="own", max_pixels=None)
    face = scan.faces.get(row.digest)
    used = row
    if face is not None and scan.cropper is not None:
        used = crop_to_face(row, face, scan.cropper)
    how: dict[str, Any] = {"value_range": scan.value_range, "max_pixels": None}
    cut = Image.fromarray(decode(data, _CELL, box=used.box, angle=used.angle, **how)).resize((_CELL, _CELL))
    framed = _framed(photo, used, face)
    if scan.cropper is not None and face is None and row.box is None:
        ImageDraw.Draw(cut).rectangle((0, 0, _CELL - 1, _CELL - 1), outline=_RED, width=4)
    return framed, cut


def _framed(photo: Thumbnail, used: ImageRow, face: Face | None) -> Image.Image:
    scale = _CELL / max(photo.width, photo.height)
    small = Image.fromarray(photo.pixels)
    small = small.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    page = Image.new("RGB", (_CELL, _CELL), "white")
    page.paste(small)
    draw = ImageDraw.Draw(page)
    if used.box is not None:
        draw.rectangle([value * scale for value in used.box], outline=_GREY)
    if face is not None:
        corners = (face.left, face.top, face.left + face.width, face.top + face.height)
        draw.rectangle([value * scale for value in corners], outline=_GREEN, width=2)
    return page
