"""One range of values for all deep images of a set: how it is chosen, told, kept, and what it does to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.data.conftest import settings

from imagematch.data import audit_data, describe_range, set_range
from imagematch.data.value_ranges import nearly_plain


@pytest.mark.parametrize(
    ("mode", "low", "high", "expected"),
    [
        ("I;16", 0, 65_535, None),
        ("I;16", 3, 40_000, None),  # more than half of 16 bits
        ("I;16", 0, 4_080, (0, 4_095)),  # 12 bits
        ("I;16", 100, 1_023, (0, 1_023)),
        ("I;16", 0, 1_024, (0, 2_047)),
        ("I;16", 0, 200, (0, 255)),  # 8 bits in a 16-bit file
        ("I;16", 32_000, 36_000, (32_000, 36_000)),  # signed values with an offset of 2 ** 15
        ("I;16", 4_000, 4_090, (4_000, 4_090)),
        ("I;16", 0, 0, (0, 255)),
        ("I;16", 65_535, 65_535, None),
        ("I", 0, 4_000, (0, 4_095)),
        ("I", -1_024, 3_071, (-1_024, 3_071)),
        ("I", 0, 70_000, (0, 70_000)),
        ("F", 0.0, 1.0, (0, 1)),
        ("F", 0.25, 0.5, (0, 1)),
        ("F", -0.5, 1.0, (-0.5, 1.0)),
        ("F", 0.0, 4_095.0, (0, 4_095)),
        ("F", 7.0, 7.0, (7.0, 8.0)),
        ("L", 0, 255, None),
    ],
)
def test_the_range_follows_from_the_values(mode: str, low: float, high: float, expected: Any) -> None:
    assert set_range("auto", [mode], [low], [high]) == expected
    assert set_range("full", [mode], [low], [high]) is None
    assert set_range((1, 2), [mode], [low], [high]) == (None if mode == "L" else (1, 2))


def test_all_images_count_and_eight_bit_ones_do_not() -> None:
    modes, lows, highs = ["I;16", "RGB", "I;16"], [500, 0, 20], [900, 255, 3_000]
    chosen = set_range("auto", modes, lows, highs)
    assert chosen == (0, 4_095)
    assert describe_range(None, ["RGB;16"], [60_000]) == (
        "1 images have colours of 16 bits, of which the upper 8 are used"
    )
    assert describe_range(None, ["RGB;16", "RGB"], [4_080, 255]).endswith(
        "dark, as their values end near 4,080; convert them to 8 bits"
    )
    assert describe_range(chosen, modes, highs) == (
        "2 images have grey values up to 3,000: 0 to 4,095 becomes black to white in all of them (value_range)"
    )
    assert describe_range(None, modes, highs) == describe_range(chosen, ["RGB"], [255]) == ""


def test_nearly_plain_images() -> None:
    greys = np.zeros((3, 16, 16), np.uint8)
    greys[1, :8] = 3  # a deviation of 1.5
    greys[2, :8] = 9
    assert nearly_plain(greys).tolist() == [True, True, False]


def grey_folder(root: Path, top: int) -> tuple[Path, np.ndarray]:
    """Two classes of 12 images each, as 16-bit PNGs with values up to `top`; the values of the first."""
    values = np.random.default_rng(0).integers(0, top + 1, (24, 8, 8)).astype(np.uint16)
    values[0, 0, 0] = top
    for number, grey in enumerate(values):
        path = root / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)
    return root, values[0]


def test_a_set_of_12_bits_is_noticed_and_scaled(tmp_path: Path, opened: Any, events: Any) -> None:
    root, first = grey_folder(tmp_path / "images", 4_095)
    dataset = opened(data_dir=root)
    assert dataset.value_range == (0, 4_095)
    row = dataset.paths.tolist().index("class0/00.png")
    assert np.array_equal(dataset.pixels(row)[:, :, 0], np.rint(first * (255 / 4095)))
    (note,) = events("value_range")
    assert note["message"].startswith("24 images have grey values up to 4,095: 0 to 4,095 becomes black to white")
    again = opened(data_dir=root)  # from the manifest
    assert again.value_range == (0, 4_095)
    assert again.digests.tolist() == dataset.digests.tolist()
    report = audit_data(settings(data_dir=root), manifest_dir=tmp_path / "manifests").report
    assert "values up to 4,095" in report["summary"]
    full = opened(data_dir=root, value_range="full")
    assert full.value_range is None
    assert full.pixels(row).max() == 16
    assert not set(full.digests) & set(dataset.digests)
    assert full.splits.tolist() == dataset.splits.tolist()


def test_a_set_of_16_bits_is_as_it_always_was(tmp_path: Path, opened: Any, events: Any) -> None:
    root, first = grey_folder(tmp_path / "images", 65_535)
    dataset = opened(data_dir=root)
    assert dataset.value_range is None
    assert events("value_range") == []
    assert dataset.pixels(0)[0, 0, 0] == (int(first[0, 0]) * 255 + 32767) // 65535


def test_faces_and_ranges_go_together(tmp_path: Path, opened: Any) -> None:
    root, _ = grey_folder(tmp_path / "images", 4_095)
    dataset = opened(data_dir=root, face_crop="haar")
    assert dataset.value_range == (0, 4_095)
    assert dataset.pixels(0).max() > 200
