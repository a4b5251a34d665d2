"""Canonical pixels: the same, to the bit, however many bands they are made in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagematch.data import pixels
from imagematch.data.pixels import Upright, extremes, shrunk, turned, upright_size
from imagematch.errors import DataError


def photo(mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    image = Image.fromarray(noise).resize((97, 61), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.quantize(16) if mode == "P" else image.convert(mode)


@pytest.fixture
def many_bands(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(pixels, "_BAND_PIXELS", 700)
        yield


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize(("orientation", "stripe_pixels"), [*((one, 10**6) for one in range(1, 9)), (1, 300), (6, 1)])
def test_bands_and_stripes_give_what_one_piece_gives(
    mode: str, orientation: int, stripe_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Upright(photo(mode), orientation)
    width, height = image.size
    asked = [((0, 0, width, height), size) for size in ((width, height), (50, 40), (3, 5), (width, 7), (7, height))]
    asked.append(((5, 3, 44, 49), (20, 30)))
    whole = [shrunk(image, *one) for one in asked]
    monkeypatch.setattr(pixels, "_BAND_PIXELS", 300)
    monkeypatch.setattr(pixels, "_STRIPE_PIXELS", stripe_pixels)
    for one, expected in zip(asked, whole, strict=True):
        assert np.array_equal(shrunk(image, *one), expected)
        assert expected.shape == (one[1][1], one[1][0], 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_that_of_the_upright_image(orientation: int) -> None:
    stored = photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(stored)
    image = Upright(stored, orientation)
    assert image.size == upright.size == upright_size(stored.size, orientation)
    for region in ((0, 0, *upright.size), (3, 4, 20, 17), (0, 10, 31, 11)):
        assert np.array_equal(np.asarray(image.region(*region)), np.asarray(upright.crop(region)))


@pytest.mark.parametrize("box", [(20.0, 10.0, 60.0, 50.0), (-10.0, -5.0, 30.0, 40.0), (70.0, 30.0, 110.0, 80.0)])
@pytest.mark.parametrize("angle", [12.5, -30.0, 90.0])
def test_a_leaning_box_sees_what_lies_around_it(box: tuple[float, float, float, float], angle: float) -> None:
    """As though the whole image were turned: Pillow's transform of all of it gives the same."""
    image = photo()
    found = np.asarray(turned(Upright(image), box, angle)).astype(int)
    wide = Image.new("RGB", (image.width + 400, image.height + 400))
    wide.paste(image, (200, 200))
    centre = (box[0] + box[2]) / 2 + 200, (box[1] + box[3]) / 2 + 200
    whole = wide.rotate(angle, Image.Resampling.BICUBIC, center=centre)
    expected = np.asarray(whole.crop(tuple(round(value + 200) for value in box))).astype(int)
    inside = found.any(axis=2) & expected.any(axis=2)
    assert inside.mean() > 0.2
    assert np.abs(found - expected)[inside].mean() < 4  # edges differ: there the image ends, here it goes on in black


def test_a_box_beyond_the_image_is_black_and_one_beyond_reason_is_refused() -> None:
    assert not np.asarray(turned(Upright(photo()), (500.0, 500.0, 510.0, 520.0), 10.0)).any()
    with pytest.raises(DataError, match="has over 40,000,000 pixels"):
        turned(Upright(photo()), (0.0, 0.0, 1e6, 1e6), 10.0)


def test_extremes_are_found_in_any_band(many_bands: None) -> None:
    values = np.full((60, 90), 7.0, np.float32)
    values[50, 1], values[2, 80] = -3.5, 900
    assert extremes(Image.fromarray(values)) == (-3.5, 900)
    assert extremes(Image.fromarray(values.astype(np.int32))) == (-3, 900)
    assert extremes(photo()) == (0, 255)
    for bad in (np.nan, np.inf):
        values[57, 3] = bad
        with pytest.raises(DataError, match="values that are not numbers"):
            extremes(Image.fromarray(values))


def test_a_range_scales_each_pixel_by_itself_in_any_band(many_bands: None) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (60, 90)).astype(np.uint16)
    image = Upright(Image.fromarray(values), 1, (0, 4095))
    grey = shrunk(image, (0, 0, 90, 60), (90, 60))[:, :, 0]
    assert np.array_equal(grey, np.rint(values * (255 / 4095)))
    turned_over = shrunk(Upright(Image.fromarray(values), 1, (0, 4095), inverted=True), (0, 0, 90, 60), (90, 60))
    assert np.array_equal(turned_over[:, :, 0], 255 - grey)
