"""A zoo of image files, good, odd, broken and hostile, each made by a few lines, with what is to be said of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

COLOUR = (200, 40, 90)
WIDTH, HEIGHT = 60, 40


class Animal(NamedTuple):
    """A file of the zoo.

    Attributes:
        name: of the file.
        data: its content.
        size: width and height of the upright image; None where the file is refused.
        centre: the colour in its middle.
        reason: a regular expression for the whole of what is said of a file that is refused.
        slack: how far the colour may be off; lossy formats are not exact.
    """

    name: str
    data: bytes
    size: tuple[int, int] | None = None
    centre: tuple[int, int, int] = COLOUR
    reason: str = ""
    slack: int = 0


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


def good() -> Iterator[Animal]:
    """Files that are read."""
    size, red = (WIDTH, HEIGHT), COLOUR
    grey = (77, 77, 77)
    image, alpha = plain(), plain("RGBA", colour=(*COLOUR, 255))
    half = plain("RGBA", colour=(0, 0, 0, 128))
    palette = image.quantize(4)
    jpeg = encoded(image, "JPEG", quality=95)
    words = np.full((HEIGHT, WIDTH), 77 * 257, np.uint16)
    frames = [plain(colour=COLOUR), plain(colour=(0, 0, 0)), plain(colour=(9, 99, 199))]
    movie: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    yield Animal("baseline.jpg", jpeg, size, slack=3)
    yield Animal("no_extension", jpeg, size, slack=3)
    yield Animal("a_jpeg.png", jpeg, size, slack=3)
    yield Animal("grey.jpg", encoded(plain("L", colour=77), "JPEG"), size, grey, slack=3)
    yield Animal("progressive.jpg", encoded(image, "JPEG", quality=95, progressive=True), size, slack=3)
    yield Animal("444.jpg", encoded(image, "JPEG", quality=95, subsampling=0), size, slack=3)
    yield Animal("cmyk.jpg", encoded(plain("CMYK", colour=(0, 255, 255, 0)), "JPEG"), size, (255, 0, 0), slack=3)
    yield Animal("restarts.jpg", encoded(image, "JPEG", quality=95, restart_marker_blocks=1), size, slack=3)
    yield Animal("on_its_side.jpg", encoded(image, "JPEG", quality=95, exif=turned(6)), (HEIGHT, WIDTH), slack=3)
    yield Animal("broken_exif.jpg", encoded(image, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff"), size, slack=3)
    yield Animal("odd_orientation.jpg", encoded(image, "JPEG", quality=95, exif=turned(99)), size, slack=3)
    yield Animal("trailing.jpg", jpeg + b"more" * 99, size, slack=3)
    yield Animal(
        "two_in_one.mpo", encoded(image, "MPO", quality=95, save_all=True, append_images=[image]), size, slack=3
    )
    yield Animal(
        "12_megapixels.jpg", encoded(plain(width=4000, height=3000), "JPEG", quality=95), (4000, 3000), slack=3
    )
    yield Animal("one_pixel.jpg", encoded(plain(width=1, height=1), "JPEG", quality=95), (1, 1), slack=3)
    yield Animal("ribbon.jpg", encoded(plain(width=9000, height=3), "JPEG", quality=95), (9000, 3), slack=3)
    yield Animal("rgb.png", encoded(image, "PNG"), size)
    yield Animal("grey.png", encoded(plain("L", colour=77), "PNG"), size, grey)
    yield Animal("1_bit.png", encoded(plain("1", colour=1), "PNG"), size, (255, 255, 255))
    yield Animal("2_bit.png", png(4, 1, b"\0\xaa", bits=2), (4, 1), (170, 170, 170))
    yield Animal("palette.png", encoded(palette, "PNG"), size)
    yield Animal("clear_palette.png", encoded(palette, "PNG", transparency=palette.getpixel((0, 0))), size, (255,) * 3)
    yield Animal("grey_alpha.png", encoded(plain("LA", colour=(0, 128)), "PNG"), size, (127,) * 3, slack=1)
    yield Animal("rgba.png", encoded(alpha, "PNG"), size)
    yield Animal("half_clear.png", encoded(half, "PNG"), size, (127,) * 3, slack=1)
    yield Animal("clear_colour.png", encoded(image, "PNG", transparency=red), size, (255,) * 3)
    yield Animal("16_bit_grey.png", encoded(Image.fromarray(words), "PNG"), size, grey)
    yield Animal(
        "16_bit_rgb.png", png(1, 1, b"\0" + struct.pack(">HHH", *(c * 257 for c in red)), bits=16, colour=2), (1, 1)
    )
    yield Animal("interlaced.png", interlaced_png(), size, grey)
    yield Animal("animated.png", encoded(frames[0], "PNG", **movie), size)
    yield Animal("on_its_side.png", encoded(image, "PNG", exif=turned(8)), (HEIGHT, WIDTH))
    yield Animal("still.gif", encoded(palette, "GIF"), size)
    yield Animal("animated.gif", encoded(frames[0], "GIF", **movie), size)
    yield Animal("clear.gif", encoded(palette, "GIF", transparency=palette.getpixel((0, 0))), size, (255,) * 3)
    yield Animal("24_bit.bmp", encoded(image, "BMP"), size)
    yield Animal("palette.bmp", encoded(palette, "BMP"), size)
    yield Animal("1_bit.bmp", encoded(plain("1", colour=1), "BMP"), size, (255,) * 3)
    yield Animal("rle.bmp", bmp_rle(), (8, 4))
    yield Animal("top_down.bmp", bmp(4, -2, bytes(reversed(red)) * 8), (4, 2))
    yield Animal("lossy.webp", encoded(image, "WEBP", quality=95), size, slack=4)
    yield Animal("lossless.webp", encoded(image, "WEBP", lossless=True), size)
    yield Animal("half_clear.webp", encoded(half, "WEBP", lossless=True), size, (127,) * 3, slack=1)
    yield Animal("animated.webp", encoded(frames[0], "WEBP", lossless=True, **movie), size)
    yield Animal("raw.tiff", encoded(image, "TIFF"), size)
    yield Animal("lzw.tiff", encoded(image, "TIFF", compression="tiff_lzw"), size)
    yield Animal("jpeg.tiff", encoded(image, "TIFF", compression="jpeg"), size, slack=6)
    yield Animal("fax.tiff", encoded(plain("1", colour=1), "TIFF", compression="group4"), size, (255,) * 3)
    yield Animal("cmyk.tiff", encoded(plain("CMYK", colour=(0, 255, 255, 0)), "TIFF"), size, (255, 0, 0), slack=2)
    yield Animal("16_bit.tiff", encoded(Image.fromarray(words), "TIFF"), size, grey)
    yield Animal("32_bit.tiff", encoded(Image.fromarray(words.astype(np.int32)), "TIFF"), size, grey)
    yield Animal("50_pages.tiff", encoded(image, "TIFF", save_all=True, append_images=[noise()] * 49), size)
    yield Animal("tiled.tiff", tiled_tiff(), size, grey)
    yield Animal("big.tiff", encoded(image, "TIFF", big_tiff=True), size)
    yield Animal("on_its_side.tiff", encoded(image, "TIFF", exif=turned(6)), (HEIGHT, WIDTH))
    yield Animal("ascii.pbm", b"P1 2 1 0 0", (2, 1), (255,) * 3)
    yield Animal("ascii.ppm", b"P3 1 1 255 200 40 90", (1, 1))
    yield Animal("grey.pgm", b"P5 2 1 255 \x4d\x4d", (2, 1), grey)
    yield Animal("16_bit.pgm", b"P5 2 1 65535 " + struct.pack(">HH", 77 * 257, 77 * 257), (2, 1), grey)
    yield Animal("colour.ppm", encoded(image, "PPM"), size)


def refused() -> Iterator[Animal]:
    """Files that are refused in one line."""
    foreign = r"is not an image in a known format; readable are JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, PGM(, AVIF)?"
    broken = "cannot be decoded: .+"
    many = r"has {} pixels, over the limit of 500,000,000; save it smaller"
    much = r"has {} pixels: decoding it takes {} MB, over the limit of 200 MB; save it smaller, or as a baseline JPEG"

    def bad(name: str, data: bytes, reason: str) -> Animal:
        return Animal(name, data, reason=reason)

    yield bad("empty.jpg", b"", "the file is empty")
    yield bad("text.jpg", b"hello", foreign)
    yield bad("page.jpg", b"<!DOCTYPE html><p>404", foreign)
    yield bad("archive.png", b"PK\x03\x04" + bytes(99), foreign)
    yield bad("paper.jpg", b"%PDF-1.7\n" + bytes(99), foreign)
    yield bad("photo.heic", b"\0\0\0\x18ftypheic" + bytes(99), foreign)
    yield bad("photo.jxl", b"\xff\x0a" + bytes(99), foreign)
    yield bad("icon.ico", b"\0\0\x01\0\x01\0" + bytes(99), foreign)
    yield bad("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", foreign)
    yield bad("layers.psd", b"8BPS\0\x01" + bytes(99), foreign)
    yield bad("postscript.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", foreign)
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        data = encoded(noise(), form)
        yield bad(f"half.{form.lower()}", data[: len(data) // 2], broken)
    for name, data in (
        ("jpg", b"\xff\xd8\xff"),
        ("png", b"\x89PNG\r\n\x1a\n"),
        ("gif", b"GIF89a"),
        ("bmp", b"BM"),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 "),
        ("tiff", b"II*\0"),
        ("ppm", b"P6"),
    ):
        yield bad(f"signature.{name}", data, broken)
    rows = b"\0" * 1000
    yield bad("625_megapixels.png", png(25_000, 25_000, rows), many.format("25000 x 25000"))
    yield bad("largest.png", png(2**31 - 1, 2**31 - 1, rows), many.format("2147483647 x 2147483647"))
    yield bad("rgba_bomb.png", png(9990, 9990, rows, colour=6), much.format("9990 x 9990", 399))
    yield bad("palette_bomb.png", png(20_000, 20_000, rows, colour=3), much.format("20000 x 20000", 400))
    yield bad("wide_bomb.png", png(400_000_000, 1, rows), much.format("400000000 x 1", 400))
    frame = chunk(b"acTL", struct.pack(">II", 1, 0))
    frame += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 9990, 9990, 0, 0, 1, 1, 1, 0))
    yield bad("animated_bomb.png", png(9990, 9990, rows, colour=6, more=frame), much.format("9990 x 9990", 399))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    yield bad("text_bomb.png", png(1, 1, b"\0\0", more=text), broken)
    yield bad("wrong_sum.png", png(9, 9, rows)[:29] + bytes(4) + png(9, 9, rows)[33:], broken)
    yield bad("no_pixels.png", png(0, 9, rows), "has no pixels")
    yield bad("canvas.webp", webp_canvas(16_384, 16_384), much.format("16384 x 16384", "4,295"))
    yield bad("largest_canvas.webp", webp_canvas(2**24, 2**24), many.format("16777216 x 16777216"))
    yield bad("canvas.gif", gif_canvas(20_000, 20_000), much.format("20000 x 20000", 800))
    yield bad("largest_canvas.gif", gif_canvas(65_535, 65_535), many.format("65535 x 65535"))
    yield bad("no_pixels.gif", gif_canvas(0, 0), "has no pixels")
    yield bad("bomb.bmp", bmp(10_000, 10_000), much.format("10000 x 10000", 400))
    yield bad("largest.bmp", bmp(2**30, 2**30), many.format("1073741824 x 1073741824"))
    yield bad("bomb.tiff", grey_tiff(20_000, 20_000), much.format("20000 x 20000", 400))
    yield bad("largest.tiff", grey_tiff(2**31 - 1, 2**31 - 1), many.format("2147483647 x 2147483647"))
    yield bad("tile_bomb.tiff", tile_bomb(), much.format("10 x 10", "17,180"))
    yield bad("bomb.ppm", b"P6 10000 10000 255 ", much.format("10000 x 10000", 400))
    yield bad("ascii_bomb.ppm", b"P3 9000 9000 255 1 2 3", much.format("9000 x 9000", 972))
    yield bad("huge.ppm", b"P6 99999999 99999999 255 ", many.format("99999999 x 99999999"))
    baseline, progressive = encoded(plain(), "JPEG"), encoded(plain(), "JPEG", progressive=True)
    yield bad("claims_more.jpg", resized_jpeg(baseline, 12_000, 9_000)[:-2], broken)
    yield bad("largest.jpg", resized_jpeg(baseline, 65_500, 65_500), many.format("65500 x 65500"))
    yield bad("no_pixels.jpg", resized_jpeg(baseline, 0, 9), broken)
    yield bad(
        "progressive_bomb.jpg", resized_jpeg(progressive, 20_000, 20_000), much.format("20000 x 20000", r"1,2\d\d")
    )
    yield bad("many_scans.jpg", many_scans(300), "is a JPEG of more than 200 scans; save it again")
    yield bad("float.tiff", encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), range_of("F"))
    lab = ImageCms.profileToProfile(
        plain(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    yield bad("lab.tiff", encoded(lab, "TIFF"), range_of("LAB"))
    below = Image.fromarray(np.full((4, 4), -1, np.int32))
    yield bad("negative.tiff", encoded(below, "TIFF"), "grey values are beyond 16 bits; convert it to 8-bit grey")


def range_of(mode: str) -> str:
    """What is said of values without a fixed range."""
    return f"pixels of Pillow's mode {mode} have no fixed range; convert it to 8-bit RGB"
