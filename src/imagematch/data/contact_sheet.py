"""A contact sheet: pictures of a data set on one page, each beside what the network sees of it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from imagematch.data.decoding import Thumbnail, decode, thumbnail
from imagematch.data.faces import Face, crop_to_face
from imagematch.data.manifest import Fact
from imagematch.data.opening import Survey
from imagematch.data.sources import Entry

_CELL = 128
"""Side of a picture on the sheet, pixels."""
_GAP = 6
_COLUMNS = 5
_PAIRS = 40
_FACELESS_SHARE = 3
"""At most one in so many of the pictures shown is one without a face, where there are others."""
_GREEN, _RED, _GREY = (30, 150, 60), (200, 40, 40), (120, 120, 120)


def contact_sheet(surveyed: Survey) -> Image.Image:
    """Up to 40 pictures, spread over the data set; beside each, what is used of it, stretched to a square.

    A found face is framed in green, as it was found, and in grey with its margin; a picture without one in red.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
    """
    shown = _chosen(surveyed)
    columns = min(_COLUMNS, max(1, len(shown)))
    lines = -(-len(shown) // columns)
    width, height = 2 * _CELL + 3 * _GAP, _CELL + 2 * _GAP
    sheet = Image.new("RGB", (columns * width, max(1, lines) * height), "white")
    for number, (entry, fact) in enumerate(shown):
        left, top = number % columns * width + _GAP, number // columns * height + _GAP
        photo, used = _pair(surveyed, entry, fact)
        sheet.paste(photo, (left, top))
        sheet.paste(used, (left + _CELL + _GAP, top))
    return sheet


def _chosen(surveyed: Survey) -> list[tuple[Entry, Fact]]:
    readable = [(entry, fact) for entry, fact in surveyed.rows if not fact.reason]
    without = {entry.path for entry, _ in surveyed.faceless}
    seen = [row for row in readable if row[0].path not in without]
    unseen = [row for row in readable if row[0].path in without]
    few = _spread_over(unseen, max(_PAIRS // _FACELESS_SHARE, _PAIRS - len(seen)))
    return _spread_over(seen, _PAIRS - len(few)) + few


def _spread_over(rows: Sequence[tuple[Entry, Fact]], count: int) -> list[tuple[Entry, Fact]]:
    count = min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def _pair(surveyed: Survey, entry: Entry, fact: Fact) -> tuple[Image.Image, Image.Image]:
    data = surveyed.source.read(entry.file or entry.path)
    photo = thumbnail(data, _CELL, value_range="own", max_pixels=None)
    face = surveyed.faces.get(fact.digest)
    used = entry
    if face is not None and surveyed.cropper is not None:
        used, _ = crop_to_face(entry, fact, face, surveyed.cropper)
    how = {"value_range": surveyed.value_range, "max_pixels": None}
    cut = Image.fromarray(decode(data, _CELL, box=used.box, angle=used.angle, **how)).resize((_CELL, _CELL))
    framed = _framed(photo, used, face)
    if surveyed.cropper is not None and face is None and entry.box is None:
        ImageDraw.Draw(cut).rectangle((0, 0, _CELL - 1, _CELL - 1), outline=_RED, width=4)
    return framed, cut


def _framed(photo: Thumbnail, used: Entry, face: Face | None) -> Image.Image:
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
