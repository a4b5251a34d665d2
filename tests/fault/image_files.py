"""Image files made by hand, byte for byte where Pillow would not write them: odd forms, false sizes, bombs."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

COLOUR = (200, 40, 90)
WIDTH, HEIGHT = 60, 40


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file that Pillow writes of an image."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(mode: str = "RGB", width: int = WIDTH, height: int = HEIGHT, colour: Any = COLOUR) -> Image.Image:
    """An image of one colour."""
    return Image.new(mode, (width, height), colour)


def noise() -> Image.Image:
    """An image that does not compress, so that its file can be cut anywhere."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def turned(orientation: int) -> Image.Exif:
    """EXIF data that say how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(
    width: int, height: int, rows: bytes, *, bits: int = 8, colour: int = 0, interlaced: bool = False, more: bytes = b""
) -> bytes:
    """A PNG by hand: `rows` with the filter byte before each, `more` chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def interlaced_png() -> bytes:
    """Adam7, 8-bit grey, all 77."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for left, top, across, down in passes:
        columns, lines = len(range(left, WIDTH, across)), len(range(top, HEIGHT, down))
        rows += (b"\0" + b"\x4d" * columns) * lines
    return png(WIDTH, HEIGHT, rows, interlaced=True)


def tiff(entries: dict[int, tuple[int, int, int]], strip: bytes = b"", *, strip_tag: int = 273) -> bytes:
    """A little-endian TIFF by hand: tag -> (type, count, value); the strip (or tile) lies behind its table."""
    place = 8 + 2 + 12 * (len(entries) + 1) + 4
    table = {**entries, strip_tag: (4, 1, place)}
    lines = b"".join(struct.pack("<HHII", tag, *table[tag]) for tag in sorted(table))
    return b"II*\0" + struct.pack("<IH", 8, len(table)) + lines + struct.pack("<I", 0) + strip


def grey_tiff(width: int, height: int, **more: int) -> bytes:
    """8-bit grey in one strip that is not there."""
    return tiff(
        {
            256: (4, 1, width),
            257: (4, 1, height),
            258: (3, 1, 8),
            259: (3, 1, 1),
            262: (3, 1, 1),
            278: (4, 1, height),
            279: (4, 1, 10),
        },
        bytes(10),
    )


def tile_bomb() -> bytes:
    """10 x 10 pixels in one deflated tile of 65,536 x 65,536."""
    tile = zlib.compress(bytes(100))
    entries = {
        256: (4, 1, 10),
        257: (4, 1, 10),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        322: (4, 1, 65536),
        323: (4, 1, 65536),
        325: (4, 1, len(tile)),
    }
    return tiff(entries, tile, strip_tag=324)


def tiled_tiff() -> bytes:
    """Grey 77, in one tile that is larger than the image."""
    entries = {
        256: (4, 1, WIDTH),
        257: (4, 1, HEIGHT),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        322: (4, 1, 64),
        323: (4, 1, 64),
        325: (4, 1, 64 * 64),
    }
    return tiff(entries, b"\x4d" * 64 * 64, strip_tag=324)


def many_strips(count: int, *, big: bool) -> bytes:
    """A table of so many strips, all of them the same 4 or 8 bytes."""
    data = bytearray(encoded(plain("L", 10, 10, 77), "TIFF", big_tiff=big))
    old = struct.pack("<HHQ" if big else "<HHI", 273, 4, 1)
    place = data.find(old)
    assert place > 0
    data[place : place + len(old) + (8 if big else 4)] = struct.pack(
        "<HHQQ" if big else "<HHII", 273, 4, count, len(data)
    )
    return bytes(data) + bytes(4 * count)


def bmp_rle() -> bytes:
    """8 x 4 pixels of the palette's second colour, run-length encoded."""
    palette = b"\0\0\0\0" + bytes((COLOUR[2], COLOUR[1], COLOUR[0], 0))
    data = (b"\x08\x01\0\0" * 4) + b"\0\x01"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(data), 0, 0, 2, 2)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def bmp(width: int, height: int, pixels: bytes = b"") -> bytes:
    """24 bits; a negative height is top-down."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels


def webp_canvas(width: int, height: int) -> bytes:
    """The header of an extended WebP, and nothing in it."""
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_canvas(width: int, height: int) -> bytes:
    """A GIF of this size whose first frame is to be cleared: Pillow makes that frame when it opens the file."""
    frame = b"!\xf9\x04\x08\0\0\0\0," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size."""
    marker = next(place for place in (data.find(b"\xff" + bytes([kind])) for kind in (0xC0, 0xC2)) if place > 0)
    return data[: marker + 5] + struct.pack(">HH", height, width) + data[marker + 9 :]


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(plain(width=1200, height=1000), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"
