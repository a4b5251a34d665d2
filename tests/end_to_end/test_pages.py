"""The pages of `retrieve` and `duplicates` in Chromium: filtered, paged, enlarged by keyboard, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.files import digest_file
from imagematch.reporting import write_groups_page, write_neighbours_page
from imagematch.retrieval import Group, ImageFolder, Neighbours, Retrieval, SearchMetrics

CHROMIUM = shutil.which("chromium")
METRICS = SearchMetrics({1: 0.5}, 0.5, 0.5, {1: 0.5}, {1: 0.5}, 30, 0)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """30 images of two classes."""
    root = tmp_path_factory.mktemp("images")
    names = [f"{'odd' if number % 2 else 'even'}/{number}.png" for number in range(30)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), (8 * number, 0, 0)).save(root / name)
    digests = np.array([digest_file(root / name) for name in names])
    return ImageFolder(root, tuple(names), digests, tuple(name.split("/")[0] for name in names))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_queries_are_filtered_paged_and_enlarged(images: ImageFolder, tmp_path: Path, chromium: Any) -> None:
    rows = np.array([[(number + 1 + number % 3) % 30] for number in range(30)])
    found = Retrieval(images, images, Neighbours(rows, rows / 30), "euclidean", "flat", 0, 0, METRICS)
    write_neighbours_page(tmp_path / "p.html", found, model="m")
    wrong = sum(bool((number - int(row[0])) % 2) for number, row in enumerate(rows))
    page = chromium.new_page(viewport={"width": 420, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "p.html").as_uri())
    assert page.locator(".item:visible").count() == 20
    page.click("[aria-label='next page']")
    assert page.locator(".item:visible").count() == 10
    page.select_option(".controls select", "nearest wrong")
    assert page.inner_text("[data-page]").endswith(f"({wrong})")
    page.select_option(".controls select", "")
    page.fill(".controls input", "ODD/7.png")
    assert 0 < page.locator(".item:visible").count() < 5
    page.locator(".item:visible .tile img").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] img").count() == 1
    assert ".png (60 x 40)" in page.inner_text("dialog p")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert errors == []
    page.close()


def test_groups_are_filtered_too(images: ImageFolder, tmp_path: Path, chromium: Any) -> None:
    groups = [Group(np.array([0, 2]), np.array([0, 0.1]), 0.1), Group(np.array([4, 5]), np.array([0, 0.2]), 0.2)]
    write_groups_page(tmp_path / "p.html", images, groups, model="m", threshold=0.5)
    page = chromium.new_page()
    page.goto((tmp_path / "p.html").as_uri())
    assert page.locator(".item:visible h3").all_inner_texts()[0].startswith("2: 2 images")
    page.select_option(".controls select", "several classes")
    assert page.locator(".item:visible").count() == 1
    page.close()
