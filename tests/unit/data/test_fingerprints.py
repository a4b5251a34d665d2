"""Looks: the perceptual hash against a plain formula, and that each picture is looked at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.data import Dataset
from imagematch.data.near_duplicates import perceptual_hashes, read_fingerprints

from .conftest import write_image

Open = Callable[..., Dataset]


def test_hash_against_a_plain_cosine_transform() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    wanted = []
    for k in range(8):
        for m in range(8):
            down = np.cos(np.pi * k * (np.arange(32) + 0.5) / 32)
            across = np.cos(np.pi * m * (np.arange(32) + 0.5) / 32)
            wanted.append(float((grey[0] * np.outer(down, across)).sum()))
    middle = np.median(wanted[1:])
    bits = "0" + "".join("1" if value > middle else "0" for value in wanted[1:])
    assert f"{int(perceptual_hashes(grey)[0]):064b}" == bits


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were decoded so far."""
    rows: list[int] = []
    picture = Dataset.pixels

    def counted(self: Dataset, row: int, max_size: int | None = None) -> np.ndarray:
        rows.append(row)
        return picture(self, row, max_size)

    monkeypatch.setattr(Dataset, "pixels", counted)
    return rows


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_only_new_content_is_looked_at(make_folder: Any, opened: Open, tmp_path: Path, decoded: list[int]) -> None:
    root, kept = make_folder({"a": 20, "b": 20}), tmp_path / "kept" / "looks.npz"
    dataset = opened(data_dir=root)
    assert len(decoded) == 40
    first = read_fingerprints(dataset, kept)
    assert len(decoded) == 80
    assert same(read_fingerprints(opened(data_dir=root), kept), first)
    assert len(decoded) == 80
    write_image(root / "a" / "0 new.png", seed=99)
    (root / "b" / "3.png").rename(root / "b" / "moved.png")
    dataset = opened(data_dir=root)
    again = read_fingerprints(dataset, kept)
    assert len(decoded) == 82
    assert same(again, read_fingerprints(dataset, None))
    assert again.digests.tolist() == dataset.digests.tolist()


def columns(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign", "short", "pickle"])
def test_damaged_looks_are_made_again(make_folder: Any, opened: Open, tmp_path: Path, damage: str) -> None:
    dataset, kept = opened(data_dir=make_folder({"a": 20, "b": 20})), tmp_path / "looks.npz"
    first = read_fingerprints(dataset, kept)
    whole = columns(kept)
    if damage == "torn":
        kept.write_bytes(kept.read_bytes()[:-50])
    elif damage == "empty":
        kept.write_bytes(b"")
    elif damage == "foreign":
        np.savez(kept, other=np.zeros(3))
    elif damage == "short":
        np.savez(kept, **{**whole, "hashes": whole["hashes"][1:]})
    else:
        np.savez(kept, **{**whole, "hashes": np.array([{}], object)})
    assert same(read_fingerprints(dataset, kept), first)
    assert same(tuple(columns(kept)[name] for name in first._fields), first)


def test_another_version_is_looked_at_anew(
    make_folder: Any, opened: Open, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, kept = opened(data_dir=make_folder({"a": 20, "b": 20})), tmp_path / "looks.npz"
    read_fingerprints(dataset, kept)
    decoded.clear()
    monkeypatch.setattr("imagematch.data.near_duplicates._VERSION", "another")
    read_fingerprints(dataset, kept)
    assert len(decoded) == 40
