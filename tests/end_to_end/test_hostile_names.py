"""Names that are markup, formulas, escape codes: every page in Chromium, with a listener that must hear nothing."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke

CHROMIUM = shutil.which("chromium")
CONTROL = {"\x1b", "\x07", "\u202e", "\u2066", "\x00"}


@pytest.fixture(scope="module")
def heard() -> Iterator[tuple[str, list[str]]]:
    """The address of a server of this machine, and the paths that it was asked for."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def names(address: str) -> list[str]:
    """Of classes: folders, so without a slash; browsers take a backslash for one."""
    return [
        f"<img src=http:\\\\{address}\\a>",
        f"\"><svg onload=fetch('http:'+String.fromCharCode(47,47)+'{address}')>",
        "=HYPERLINK(1)",
        "\x1b[31mred\x07",
        "\u202eevil\u2066",
        "${{7*7}}{{7*7}}",
    ]


@pytest.fixture
def trained(heard: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> str:
    """A folder with a matcher, its report, and the pages of retrieve and duplicates; returns what was printed."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for number, name in enumerate(names(heard[0])):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        base = draw.integers(0, 256, (8, 8, 3))
        for image in range(10):
            pixels = np.clip(base + draw.integers(-40, 40, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}{image} {name}.png")
    (tmp_path / "train.yaml").write_text(
        "experiment_name: names\ndataset: folder\ndata_dir: photos\nsplit_by: image\n"
        "feature_extractor: pixels\nimage_size: 8\nepochs: 1\nembedding_dim: 4\nbatch_classes: 4\nbatch_images: 2\n"
    )
    model, printed = "exp/saved_models/names", ""
    query = str(min((tmp_path / "photos").rglob("*.png")))
    for command in (
        ("init", "--data-dir", "photos", "--output", "init.yaml"),
        ("data", "check", "train.yaml", "--contact-sheet", "sheet.png"),
        ("data", "check", "train.yaml", "--json"),
        ("train", "--config", "train.yaml"),
        ("evaluate", "--model", model),
        *(
            ("retrieve", "--model", model, "--query", "photos", "--gallery", "photos", "--output", f"found.{kind}")
            for kind in ("html", "csv", "json")
        ),
        *(
            ("duplicates", "photos", "--model", model, "--threshold", "1.5", "--output", f"alike.{kind}")
            for kind in ("html", "csv", "json")
        ),
        ("export", "--format", "projector", "--model", model, "--output", "projector"),
        ("gallery", "create", "gallery", "--model", model),
        ("gallery", "add", "gallery", "photos", "--model", model),
        ("gallery", "list", "gallery"),
        ("gallery", "list", "gallery", "--json"),
        ("gallery", "search", "gallery", query, "--model", model),
        ("gallery", "export", "gallery", "exported"),
        ("match", "--model", model, query, query, "--json"),
    ):
        done = invoke(*command)
        assert done.returncode == 0, (command, done.stderr)
        printed += done.stdout + done.stderr
    return printed


def test_names_are_inert(trained: str, heard: tuple[str, list[str]], tmp_path: Path) -> None:
    assert not CONTROL & set(trained)
    tables = sorted(tmp_path.rglob("*.csv"))
    assert len(tables) > 3
    for table in tables:
        list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    for path in tmp_path.rglob("*.json"):
        json.loads(
            path.read_text(encoding="utf-8"), parse_constant=lambda name, path=path: pytest.fail(f"{path}: {name}")
        )
    for line in (tmp_path / "projector" / "meta.tsv").read_text(encoding="utf-8").splitlines():
        assert line.count("\t") == 1
        assert not line.startswith("=")
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written <= {"photos", "train.yaml", "init.yaml", "exp", "projector", "sheet.png", "gallery", "exported"} | {
        f"{name}.{kind}" for name in ("found", "alike") for kind in ("html", "csv", "json")
    }
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) >= 3
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in pages:
            page = browser.new_page()
            requests: list[str] = []
            page.on("request", lambda request, requests=requests: requests.append(request.url))
            page.goto(path.as_uri())
            page.wait_for_load_state("networkidle")
            page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            page.wait_for_timeout(200)
            assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
            shown = page.inner_text("body")
            assert not CONTROL & set(shown), path
            assert any(part in page.content() for part in ("HYPERLINK", "onload", "7*7", "img src")), path
            if path.name == "report.html":
                assert_the_slider_moves_the_marks(page)
            page.close()
        assert heard[1] == []
        (tmp_path / "control.html").write_text("".join(names(heard[0])), encoding="utf-8")
        page = browser.new_page()
        page.goto((tmp_path / "control.html").as_uri())
        page.wait_for_timeout(500)
        browser.close()
    assert heard[1], "names that are not escaped are heard"


def assert_the_slider_moves_the_marks(page: Any) -> None:
    """Of the ROC and the DET, and the line among the distances."""
    marks = """() => Array.from(document.querySelectorAll("figure.plot .canvas")).flatMap((canvas) => [
        ...(canvas.data || []).filter((one) => one.meta === "threshold").map((one) => one.name),
        ...((canvas.layout || {}).annotations || []).filter((one) => one.name === "threshold").map((one) => one.text),
    ])"""
    for figure in page.locator("figure.plot").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    before = page.evaluate(marks)
    assert len(before) >= 2
    assert len(set(before)) == 1
    page.locator("#threshold-slider").fill("3")
    after = page.evaluate(marks)
    assert len(after) == len(before)
    assert len(set(after)) == 1
    assert after[0] != before[0]
