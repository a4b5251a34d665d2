"""The decoder: canonical pixels, and hostile files."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.fault.image_files import png, tiff

from imagematch.data import decode
from imagematch.data.decoding import inspect, thumbnail
from imagematch.errors import DataError
from imagematch.framing import Framing
from imagematch.image_files import NotReadableHereError

DAMAGED_TIFF = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
"""As the package does; pytest puts its own filters first."""


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels_that_were_saved(form: str) -> None:
    image = noise(5, 7, 3)
    assert np.array_equal(decode(encoded(image, form)), image)


@pytest.mark.parametrize(("form", "options"), [("WEBP", {"lossless": True}), ("AVIF", {}), ("JPEG", {}), ("GIF", {})])
def test_other_formats_decode(form: str, options: dict[str, Any]) -> None:
    decoded = decode(encoded(np.full((9, 6, 3), (200, 40, 90), np.uint8), form, **options))
    assert decoded.shape == (9, 6, 3)
    assert np.allclose(decoded, (200, 40, 90), atol=6)


def test_grey_gets_three_equal_channels() -> None:
    image = noise(4, 5)
    assert np.array_equal(decode(encoded(image)), np.stack([image] * 3, axis=-1))


def test_16_bit_grey_is_scaled_to_8_bits() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    for data in (encoded(values), encoded(values, "TIFF"), b"P5 6 1 65535\n" + values.astype(">u2").tobytes()):
        assert decode(data)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    assert decode(encoded(image))[0, :, 1].tolist() == [0, 255, 255]


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.allclose(decode(encoded(image, "JPEG", quality=100))[4, 4], (255, 0, 0), atol=3)


def test_transparency_is_laid_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    decoded = decode(encoded(rgba))
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert np.allclose(decoded[0, 2], 127, atol=1)


def test_palette_with_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for form in ("PNG", "GIF"):
        assert decode(encoded(image, form, transparency=0))[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_transparent_colour_of_an_rgb_png() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert decode(encoded(image, transparency=(1, 2, 3)))[0].tolist() == [[255, 255, 255], [4, 5, 6]]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # white in the upper left corner
    # What the camera did. EXIF says how to undo it: 6 means "turn clockwise", so it was turned the other way.
    as_shot = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    image = Image.fromarray(np.ascontiguousarray(as_shot[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(image, form, exif=exif, **({"quality": 100} if form in ("JPEG", "WEBP") else {})))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 8
    assert inspect(encoded(image, form, exif=exif))[:2] == (32, 16)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


def test_longer_sides_shrink_each_on_its_own_and_nothing_is_enlarged() -> None:
    image = noise(20, 6, 3)
    expected = np.asarray(Image.fromarray(image).resize((6, 10), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(encoded(image), 10), expected)
    assert decode(encoded(image), 64).shape == (20, 6, 3)
    grey = noise(20, 30)
    shrunk = decode(encoded(grey), 8)
    assert np.array_equal(shrunk, decode(encoded(np.stack([grey] * 3, axis=-1)), 8))


def test_box_cuts_and_is_limited_to_the_picture() -> None:
    image = noise(10, 12, 3)
    assert np.array_equal(decode(encoded(image), box=(2, 3, 7, 9)), image[3:9, 2:7])
    assert np.array_equal(decode(encoded(image), box=(-5, -5, 4, 100)), image[:, :4])
    with pytest.raises(DataError, match="outside the image"):
        decode(encoded(image), box=(12, 0, 20, 5))


def smooth(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 100, width // 100, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(
    ("box", "angle"), [(None, 0.0), ((100.0, 200.0, 1300.0, 1500.0), 0.0), ((300.0, 200.0, 1500.0, 1400.0), 20.0)]
)
def test_a_large_jpeg_is_decoded_smaller_and_shows_the_same(orientation: int, box: Any, angle: float) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(1600, 2000), "JPEG", quality=95, exif=exif)
    whole = decode(data)
    assert inspect(data) == (whole.shape[1], whole.shape[0], "RGB", 0, 255, False)
    reduced, full = decode(data, 100, box=box, angle=angle), decode(whole, 100, box=box, angle=angle)
    assert reduced.shape == full.shape == (100, 100, 3)
    assert not np.array_equal(reduced, full)
    assert np.abs(reduced.astype(int) - full).mean() < 1.5


def test_a_jpeg_that_is_not_much_larger_is_decoded_in_full() -> None:
    data = encoded(smooth(800, 700), "JPEG", quality=95)
    assert np.array_equal(decode(data, 200), decode(decode(data), 200))
    assert not np.array_equal(decode(data, 170), decode(decode(data), 170))


def test_a_thumbnail_keeps_the_proportions_and_tells_the_full_size() -> None:
    seen = thumbnail(encoded(smooth(2000, 1500), "JPEG"), 200)
    assert (seen.pixels.shape, seen.width, seen.height) == ((150, 200, 3), 2000, 1500)
    seen = thumbnail(encoded(noise(20, 300, 3)), 30, box=(100, 0, 200, 20))
    assert (seen.pixels.shape, seen.width, seen.height) == ((6, 30, 3), 100, 20)
    assert thumbnail(noise(5, 7, 3), 200).pixels.shape == (5, 7, 3)


@DAMAGED_TIFF
@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (noise(4, 4, 3), "PNG", ("RGB", 0, 255)),
        (Image.new("1", (9, 9)), "PNG", ("1", 0, 255)),
        (np.array([[5, 4095]], np.uint16), "PNG", ("I;16", 5, 4095)),
        (np.array([[5, 4095]], np.uint16), "TIFF", ("I;16", 5, 4095)),
        (np.array([[-7, 70_000]], np.int32), "TIFF", ("I", -7, 70_000)),
        (np.array([[-0.5, 2.5]], np.float32), "TIFF", ("F", -0.5, 2.5)),
    ],
)
def test_the_range_of_values_is_told(image: Any, form: str, expected: tuple[str, float, float]) -> None:
    assert inspect(encoded(image, form))[2:5] == expected
    with pytest.raises(DataError):
        inspect(encoded(image, form)[:20])


def deep_colours(form: str, values: np.ndarray, bits: int = 16) -> bytes:
    """(h, w, 3) uint16 as a file with colours of 16 bits."""
    height, width, _ = values.shape
    raw = values.astype(">u2" if bits == 16 else "u1")
    if form == "PNG":
        return png(width, height, b"".join(b"\0" + row.tobytes() for row in raw), bits=bits, colour=2)
    if form == "PPM":
        return f"P6 {width} {height} {2**bits - 1}\n".encode() + raw.tobytes()
    strip = raw.astype(raw.dtype.newbyteorder("<")).tobytes()
    entries = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, bits), 259: (3, 1, 1), 262: (3, 1, 2)}
    return tiff({**entries, 277: (3, 1, 3), 278: (4, 1, height), 279: (4, 1, len(strip))}, strip)


@pytest.mark.parametrize("form", ["PNG", "PPM", "TIFF"])
def test_deep_colours_are_told_and_their_upper_bits_used(form: str) -> None:
    values = np.full((2, 3, 3), 0x1234, np.uint16)
    assert inspect(deep_colours(form, values))[2:5] == ("RGB;16", 0, 0x1212)
    assert (decode(deep_colours(form, values)) == 0x12).all()
    values = np.full((2, 3, 3), 0x12, np.uint16)
    assert inspect(deep_colours(form, values, bits=8))[2:5] == ("RGB", 0, 255)


@DAMAGED_TIFF
def test_libtiff_writes_nothing_itself(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(noise(64, 64, 3), "TIFF", compression="tiff_deflate"))
    data[60:90] = bytes(30)
    with pytest.raises(DataError):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")


JPEG = encoded(noise(64, 64, 3), "JPEG")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(form: str, share: float) -> None:
    data = encoded(noise(64, 64, 3), form)
    with pytest.raises(DataError, match=r"cannot be decoded|known format"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}])
def test_a_cut_jpeg_is_refused_at_whatever_size_it_is_decoded(options: dict[str, Any]) -> None:
    data = encoded(smooth(800, 700), "JPEG", **options)

    def refused(read: Any) -> bool:
        try:
            read()
        except DataError:
            return True
        return False

    for length in (len(data) // 3, len(data) - 200, *range(len(data) - 6, len(data) + 1)):
        part = data[:length]
        outcomes = {refused(lambda: decode(part)), refused(lambda: decode(part, 50)), refused(lambda: inspect(part))}  # noqa: B023
        assert len(outcomes) == 1
        assert outcomes == {True} or length > len(data) - 6


@DAMAGED_TIFF
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"II*\0",
        b"P6",
        b"P5 -1 9 255 ",
    ],
)
def test_only_a_signature_is_refused(data: bytes) -> None:
    for tail in (b"", b"\0" * 100, b"\xff" * 100, bytes(range(256))):
        with pytest.raises(DataError):
            decode(data + tail)


@DAMAGED_TIFF
def test_random_damage_gives_pixels_or_a_data_error() -> None:
    random = np.random.default_rng(1)
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        good = bytearray(encoded(noise(16, 16, 3), form))
        for _ in range(60):
            bad = bytearray(good)
            for place in random.integers(0, len(bad), 4):
                bad[place] = random.integers(256)
            with contextlib.suppress(DataError):
                assert decode(bytes(bad), 32).dtype == np.uint8


def test_empty_and_foreign_files_name_themselves(tmp_path: Path) -> None:
    for name, data, reason in (("a.jpg", b"", "is empty"), ("b.jpg", b"hello", "not an image in a known format")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=reason) as caught:
            decode(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
    with pytest.raises(DataError, match="No such file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="is not a file"):
        decode(tmp_path)
    with pytest.raises(DataError, match="not a path"):
        decode(Path("a\0b.jpg"))


def png_claiming(width: int, height: int, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    for side in (25_000, 2**31 - 1):
        with pytest.raises(DataError, match=f"^has {side} x {side} pixels, over the limit of 500,000,000"):
            decode(png_claiming(side, side))
    with pytest.raises(DataError, match="9990 x 9990 pixels: decoding it takes 399 MB, over the limit of 200 MB"):
        decode(png_claiming(9990, 9990, colour=6))


@DAMAGED_TIFF
@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[0, 16, 2048, 4095, 9000]], np.uint16), (0, 4095), [0, 1, 128, 255, 255]),
        (np.array([[-1024, 0, 3071]], np.int32), (-1024, 3071), [0, 64, 255]),
        (np.array([[-1.0, 0.0, 0.5, 1.0]], np.float32), (0.0, 1.0), [0, 0, 128, 255]),
    ],
)
def test_deep_grey_is_scaled_by_the_range_that_is_given(values: Any, value_range: Any, expected: list[int]) -> None:
    assert decode(encoded(values, "TIFF"), value_range=value_range)[0, :, 0].tolist() == expected
    assert np.array_equal(thumbnail(encoded(values, "TIFF"), 99, value_range=value_range).pixels[0, :, 0], expected)


@DAMAGED_TIFF
@pytest.mark.parametrize("values", [np.zeros((4, 4), np.float32), np.full((4, 4), -1, np.int32)])
def test_floating_and_signed_values_without_a_range_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match="no fixed range; set value_range to auto"):
        decode(encoded(values, "TIFF"))
    assert not thumbnail(encoded(values, "TIFF"), 9, value_range="own").pixels.any()


@DAMAGED_TIFF
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    data = encoded(np.array([[1.0, bad]], np.float32), "TIFF")
    for read in (inspect, lambda data: decode(data, value_range=(0, 1))):
        with pytest.raises(DataError, match="values that are not numbers"):
            read(data)


def test_white_is_zero_is_turned_over_where_pillow_does_not() -> None:
    image = Image.fromarray(np.array([[0, 65_535 // 5, 65_535]], np.uint16))
    data = encoded(image, "TIFF", tiffinfo={262: 0})
    stored = decode(encoded(image, "TIFF"))[0, :, 0]
    assert stored.tolist() == [0, 51, 255]
    assert decode(data)[0, :, 0].tolist() == [255, 204, 0]


def test_no_warning_of_a_large_image_is_seen(recwarn: pytest.WarningsRecorder) -> None:
    """Pillow warns from 89 megapixels on."""
    large = encoded(Image.new("L", (9800, 9800)), "PNG")
    assert decode(large, 8, box=(0, 0, 9700, 9700)).shape == (8, 8, 3)
    assert decode(Image.new("1", (9800, 9800)), 8).shape == (8, 8, 3)
    assert decode(large, 8, box=(1800, 1800, 8000, 8000), angle=45).shape == (8, 8, 3)
    assert not recwarn.list


def test_the_most_pixels_are_the_callers_to_say() -> None:
    data = encoded(noise(30, 40, 3))
    assert decode(data, max_pixels=1200).shape == decode(data, max_pixels=None).shape == (30, 40, 3)
    for read in (lambda: decode(data, max_pixels=1199), lambda: inspect(data, max_pixels=1199)):
        with pytest.raises(NotReadableHereError, match="has 40 x 30 pixels, over the limit of 1,199; save it smaller"):
            read()


@pytest.mark.parametrize("name", ["ünïcödé 图像.png", "x" * 196 + ".png", "<script>=1+1[x].png", "new\nline.png"])
def test_unusual_names_decode(tmp_path: Path, name: str) -> None:
    image = noise(3, 3, 3)
    (tmp_path / name).write_bytes(encoded(image))
    assert np.array_equal(decode(tmp_path / name), image)
    assert np.array_equal(decode(str(tmp_path / name)), image)


class TestToPicture:
    def test_every_form_of_one_image_gives_the_same_picture(self, tmp_path: Path) -> None:
        image = noise(12, 9, 3)
        (tmp_path / "a.png").write_bytes(encoded(image))
        expected = decode(encoded(image), 6)
        forms = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), Image.open(tmp_path / "a.png")]
        for form in [*forms, image, image.astype(np.float64), image.astype(np.int32), Tensor(image)]:
            assert np.array_equal(decode(form, 6), expected)

    def test_axes(self) -> None:
        grey = noise(4, 5)
        assert np.array_equal(decode(grey), decode(grey[:, :, None]))
        assert decode(grey).shape == (4, 5, 3)
        assert decode(np.zeros((4, 5, 4), np.uint8)).tolist() == np.full((4, 5, 3), 255).tolist()

    def test_floats_are_rounded(self) -> None:
        assert decode(np.array([[0.4, 0.6, 254.7]]))[0, :, 0].tolist() == [0, 1, 255]

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.zeros((3, 4, 5)), "shape"),
            (np.zeros(4), "shape"),
            (np.zeros((0, 4, 3)), "shape"),
            (np.full((2, 2), 256.0), "0 to 255"),
            (np.full((2, 2), -1), "0 to 255"),
            (np.full((2, 2), np.nan), "0 to 255"),
            (np.full((2, 2), 0.5), "multiply it by 255"),
            (np.full((2, 2), "a"), "type"),
        ],
    )
    def test_arrays_that_are_no_image(self, array: np.ndarray, reason: str) -> None:
        with pytest.raises(DataError, match=reason):
            decode(array)

    def test_truncated_pil_image(self) -> None:
        with pytest.raises(DataError, match="cannot be decoded"):
            decode(Image.open(io.BytesIO(JPEG[: len(JPEG) // 2])))


class Tensor:
    """Like a TensorFlow or PyTorch tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def numpy(self) -> np.ndarray:
        return self._array


def test_a_pipe_with_an_images_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(DataError, match="is not a file"):
        decode(tmp_path / "p.png")


@pytest.mark.parametrize("shape", [(60, 100), (101, 40), (50, 50), (9, 31)])
@pytest.mark.parametrize("share", [1.0, 0.875])
def test_a_centre_crop_is_that_of_the_image_cut_before(shape: tuple[int, int], share: float) -> None:
    height, width = shape
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    side = round(share * min(shape))
    top, left = (height - side) // 2, (width - side) // 2
    cut = np.ascontiguousarray(image[top : top + side, left : left + side])
    for size in (None, 16, 200):
        given = decode(image, size, framing=Framing("center", share))
        np.testing.assert_array_equal(given, decode(cut, size))


def test_padding_keeps_the_proportions() -> None:
    image = np.full((40, 80, 3), 200, np.uint8)
    given = decode(image, 20, framing=Framing("pad"))
    assert given.shape == (20, 20, 3)
    assert (given[5:15] == 200).all()
    assert not given[:5].any()
    assert not given[15:].any()
    assert decode(image, 200, framing=Framing("pad")).shape == (80, 80, 3)


def test_bicubic_is_pillow_s(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    rows = Image.fromarray(image).resize((16, 48), Image.Resampling.BICUBIC)
    wanted = np.asarray(rows.resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode(image, 16, framing=Framing(interpolation="bicubic")), wanted)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 16, framing=Framing(interpolation="bicubic")), wanted)


def test_the_middle_of_a_box_and_of_a_large_jpeg(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((800, 400)).convert("RGB")
    image.save(tmp_path / "a.jpg", quality=95)
    middle = np.asarray(image.crop((200, 0, 600, 400)).resize((40, 40), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(tmp_path / "a.jpg", 40, framing=Framing("center")).astype(int) - middle).max() <= 6
    box = (100.0, 100.0, 300.0, 200.0)
    np.testing.assert_array_equal(
        decode(image, 40, box=box, framing=Framing("center")), decode(image, 40, box=(150.0, 100.0, 250.0, 200.0))
    )
