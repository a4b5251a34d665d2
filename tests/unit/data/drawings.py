"""Drawn pictures: faces that the cascades find, so that no real person is needed, and coloured scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from imagematch.data import Face, FaceCropper


def find_face(image: Any, *, eyes: bool = False) -> Face | None:
    """What the cascades find."""
    return FaceCropper(0.2, eyes, "whole").find(image)


def drawn_face(size: int = 100) -> Image.Image:
    """A face, `size` pixels square."""
    scale = size / 100
    face = Image.new("L", (size, size), 70)
    draw = ImageDraw.Draw(face)

    def ellipse(x: float, y: float, across: float, down: float, grey: int) -> None:
        draw.ellipse([scale * value for value in (x - across, y - down, x + across, y + down)], fill=grey)

    ellipse(50, 52, 36, 46, 200)
    ellipse(50, 14, 34, 16, 60)
    for x in (34, 66):
        ellipse(x, 40, 11, 7, 120)
        ellipse(x, 42, 6, 4, 40)
        draw.rectangle([scale * value for value in (x - 10, 30, x + 10, 33)], fill=80)
    ellipse(50, 56, 5, 12, 215)
    ellipse(50, 68, 8, 3, 140)
    ellipse(50, 80, 15, 4, 90)
    return face.filter(ImageFilter.GaussianBlur(1.2 * scale)).convert("RGB")


def photo(*faces: tuple[int, int, int], width: int = 320, height: int = 260, leaning: float = 0.0) -> np.ndarray:
    """A page with faces: (left, top, size) each, all leaning clockwise by so many degrees."""
    page = Image.new("RGB", (width, height), (90, 110, 120))
    for left, top, size in faces:
        page.paste(drawn_face(size).rotate(-leaning, fillcolor=(70, 70, 70)), (left, top))
    return np.asarray(page)


def scene(seed: int, side: int = 96) -> Image.Image:
    """Soft coloured blobs, as different from seed to seed as photos are."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
