"""A zoo of image files, good, odd, broken and hostile, each made by a few lines, with what is to be said of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from tests.fault.image_files import (
    COLOUR,
    HEIGHT,
    WIDTH,
    bmp,
    bmp_rle,
    chunk,
    encoded,
    gif_canvas,
    grey_tiff,
    interlaced_png,
    many_scans,
    many_strips,
    noise,
    plain,
    png,
    resized_jpeg,
    tile_bomb,
    tiled_tiff,
    turned,
    webp_canvas,
)


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
    foreign = r"is not an image in a known format; readable are JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIF"
    broken = "cannot be decoded: .+"
    heif = r"is a HEIF photo: pip install 'imagematch\[heif\]' \(pillow-heif\) to read it|cannot be decoded: .+"
    many = r"has {} pixels, over the limit of 500,000,000; save it smaller, or set max_megapixels"
    much = r"has {} pixels: decoding it takes {} MB, over the limit of 200 MB; save it smaller, or as a baseline JPEG"

    def bad(name: str, data: bytes, reason: str) -> Animal:
        return Animal(name, data, reason=reason)

    yield bad("empty.jpg", b"", "the file is empty")
    yield bad("text.jpg", b"hello", foreign)
    yield bad("page.jpg", b"<!DOCTYPE html><p>404", foreign)
    yield bad("archive.png", b"PK\x03\x04" + bytes(99), known("ZIP"))
    yield bad("paper.jpg", b"%PDF-1.7\n" + bytes(99), known("PDF"))
    yield bad("photo.heic", b"\0\0\0\x18ftypheic" + bytes(99), heif)
    yield bad("photo.jxl", b"\xff\x0a" + bytes(99), known("JPEG XL"))
    yield bad("icon.ico", b"\0\0\x01\0\x01\0" + bytes(99), known("icon"))
    yield bad("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", known("SVG"))
    yield bad("layers.psd", b"8BPS\0\x01" + bytes(99), known("Photoshop"))
    yield bad("postscript.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", known("PostScript"))
    yield bad("scan.dcm", bytes(128) + b"DICM" + bytes(99), known("DICOM"))
    yield bad("clip.jpg", b"\0\0\0\x18ftypisom" + bytes(99), known("video"))
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
    yield bad("canvas.gif", gif_canvas(20_000, 20_000), much.format("20000 x 20000", "1,200"))
    yield bad("largest_canvas.gif", gif_canvas(65_535, 65_535), many.format("65535 x 65535"))
    yield bad("no_pixels.gif", gif_canvas(0, 0), "has no pixels")
    yield bad("bomb.bmp", bmp(10_000, 10_000), much.format("10000 x 10000", 400))
    yield bad("largest.bmp", bmp(2**30, 2**30), many.format("1073741824 x 1073741824"))
    yield bad("bomb.tiff", grey_tiff(20_000, 20_000), much.format("20000 x 20000", 400))
    yield bad("largest.tiff", grey_tiff(2**31 - 1, 2**31 - 1), many.format("2147483647 x 2147483647"))
    yield bad("tile_bomb.tiff", tile_bomb(), much.format("10 x 10", "17,180"))
    for name, big in (("many_strips.tiff", False), ("many_strips.big.tiff", True)):
        data = many_strips(2_000_000, big=big)
        yield bad(name, data, "is a TIFF of more than 100,000 strips or tiles; save it again")
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
    lab = ImageCms.profileToProfile(
        plain(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    yield bad("lab.tiff", encoded(lab, "TIFF"), "has colours in CIELAB, which are not read; convert it to 8-bit RGB")
    holes = Image.fromarray(np.full((4, 4), np.nan, np.float32))
    yield bad(
        "no_numbers.tiff",
        encoded(holes, "TIFF"),
        r"has values that are not numbers \(NaN or infinite\); fill them in, or convert it to 8 bits",
    )


def known(form: str) -> str:
    """What is said of a format that is known and not read."""
    return f"is {form}, which is not read; readable are JPEG, .*"
