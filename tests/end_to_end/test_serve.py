"""`imagematch serve` as a process, and its page in Chromium where there is one."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.config import load_train
from imagematch.data import open_dataset, read_corrections
from imagematch.events import RunLog
from imagematch.pipeline import open_data_gallery
from imagematch.retrieval import Gallery

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = shutil.which("chromium")


def _served() -> Any:
    """The matcher of tests/unit/serving."""
    spec = importlib.util.spec_from_file_location("served", ROOT / "tests" / "unit" / "serving" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a matcher and images."""
    root = tmp_path_factory.mktemp("serve")
    _served().write_matcher(root / "matcher")
    for name, colour in (("red", (250, 20, 20)), ("blue", (10, 10, 250))):
        Image.fromarray(np.full((40, 40, 3), colour, np.uint8)).save(root / f"{name}.png")
    return root


@contextlib.contextmanager
def running(place: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port: the process and its address."""
    command = [sys.executable, "-m", "imagematch", "serve", "--model", str(place / "matcher"), "--port", "0", *options]
    with (place / "log.jsonl").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}, cwd=place
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "--json" in options:
                start = json.loads(line)
                assert (start["matcher"], start["images"], start["token"], start["workers"]) == ("small", 0, False, 1)
                line = start["address"]
            assert line.startswith("http://127.0.0.1:"), (place / "log.jsonl").read_text()
            yield process, line.split()[0]
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()
                process.stdout.close()


def post(url: str, data: bytes, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, data, {"Content-Type": "image/png", **headers})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_serves_and_finishes_what_was_begun(place: Path, tmp_path: Path) -> None:
    red = (place / "red.png").read_bytes()
    Gallery.create(tmp_path / "gallery", place / "matcher").close()
    with running(place, "--gallery", str(tmp_path / "gallery")) as (process, url):
        assert post(f"{url}/gallery?label=red", red) == (200, {"id": 1, "ids": [1]})
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=120) as begun:
            head = (f"Host: {host}", "Content-Type: image/png", f"Content-Length: {len(red)}")
            begun.sendall("\r\n".join(("POST /search?k=1 HTTP/1.1", *head, "", "")).encode() + red[:10])
            assert post(f"{url}/embed", red)[0] == 200  # by now the other one has arrived
            process.send_signal(signal.SIGTERM)
            begun.sendall(red[10:])
            answer = b""
            while part := begun.recv(65_536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        found = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert [hit["label"] for hit in found["hits"]] == ["red"]
        assert process.wait(60) == 0
    lines = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines if line["event"] == "request"] == ["/gallery", "/embed", "/search"]
    assert lines[-1]["event"] == "stopped"


def test_a_gallery_of_the_data_set_is_served_and_its_answers_are_found_by_a_training(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made once; embedded again for a retrained matcher of the same name."""
    monkeypatch.chdir(tmp_path)
    settings = "experiment_name: small\ndataset: digits\nfeature_extractor: pixels\nimage_size: 8\n"
    for name, seed in (("first", 1), ("second", 2)):
        _served().write_matcher(tmp_path / name, seed=seed, config=settings)
    said = io.StringIO()
    gallery = tmp_path / "galleries" / "small"
    with open_data_gallery(tmp_path / "first", gallery, log=RunLog(stream=said)) as made:
        assert (len(made), made.labels()["7"]) == (1797, 179)
        one = made.page(limit=1)[0]
        made.remove([two.id for two in made.page(after=one.id, limit=1)])
    (tmp_path / "corrections.csv").write_text(f"digest,answer,new_label\n{one.digest},wrong label,9\n")
    (tmp_path / "train.yaml").write_text(settings + "corrections: corrections.csv\n")
    dataset = open_dataset(load_train(tmp_path / "train.yaml"), manifest_dir=tmp_path)
    assert dataset.class_names[dataset.labels[0]] == "9"
    with open_data_gallery(tmp_path / "second", gallery, log=RunLog(stream=said)) as again:
        assert len(again) == 1796
        assert again.search(again.image_file(one.id), k=1)[0].distance < 1e-3
    lines = said.getvalue().splitlines()
    assert "1,797 images of the matcher's data set" in lines[-2]
    assert "1,796 images embedded again" in lines[-1]


def test_it_says_where_it_serves_as_json(place: Path, tmp_path: Path) -> None:
    Gallery.create(tmp_path / "gallery", place / "matcher").close()
    options = ("--gallery", str(tmp_path / "gallery"), "--corrections", str(tmp_path / "answers.csv"), "--json")
    with running(place, *options) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == ""  # one line, which `running` has read


def test_two_workers_share_a_gallery(place: Path, tmp_path: Path) -> None:
    red = (place / "red.png").read_bytes()
    Gallery.create(tmp_path / "gallery", place / "matcher").close()
    with running(place, "--gallery", str(tmp_path / "gallery"), "--workers", "2") as (process, url):
        assert post(f"{url}/gallery?label=red", red)[0] == 200
        answers = [post(f"{url}/search?k=1", red)[1] for _ in range(6)]
        assert [answer["hits"][0]["label"] for answer in answers] == ["red"] * 6
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (place / "log.jsonl").read_text().count('"path": "/search"') == 6


def test_a_server_needs_neither_tensorflow_nor_what_trains(place: Path) -> None:
    absent = ("tensorflow", "keras", "h5py", "optuna", "pandas", "plotly", "sklearn", "tensorboard")
    program = f"""
import sys
from importlib import metadata
from pathlib import Path
for name in {absent!r}:
    sys.modules[name] = None
found = metadata.version
def version(name):
    if name in {absent!r}:
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from starlette.testclient import TestClient
from imagematch.serving import ServerSettings, create_app
import imagematch.cli.main
with TestClient(create_app(ServerSettings(model=Path("matcher"))), base_url="http://127.0.0.1") as client:
    print(client.post("/embed", files={{"image": Path("red.png").read_bytes()}}).status_code)
"""
    command = [sys.executable, "-c", program]
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=place, env=environment
    )
    assert ended.stdout == "200\n", ended.stderr


def test_a_bad_start_is_one_line(place: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            ("--port", port): (4, "cannot listen there"),
            ("--host", "::"): (2, "without a token"),
            ("--gallery", str(tmp_path / "nowhere")): (3, "no gallery is there"),
            ("--token-file", str(tmp_path / "nothing")): (2, "the token cannot be read"),
        }
        for options, (code, part) in cases.items():
            command = [sys.executable, "-m", "imagematch", "serve", "--model", str(place / "matcher"), *options]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=place)
            assert ended.returncode == code, ended.stderr
            assert part in ended.stderr
            assert ended.stderr.count("\n") == 1


@contextlib.contextmanager
def browser(url: str, **options: Any) -> Iterator[Any]:
    """A page of Chromium; what it reports on its console or asks of elsewhere is an error."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = opened.new_page(**options)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith((url, "blob:")) else wrong.append(one.url))
        page.goto(url)
        yield page
        opened.close()
        assert wrong == []


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_without_a_gallery_the_page_compares(place: Path) -> None:
    with running(place) as (_, url), browser(url) as page:
        page.wait_for_selector("#compare:not([hidden])")
        assert page.locator("header nav a").all_inner_texts() == ["Compare", "Model", "API"]
        page.set_input_files("#first-drop input", place / "red.png")
        page.set_input_files("#second-drop input", place / "blue.png")
        page.wait_for_selector("#compared .verdict")
        page.click("nav a[href='#model-card']")
        page.wait_for_selector("text=Measured thresholds")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_pairs_are_reviewed_by_keyboard_and_answers_undone(place: Path, tmp_path: Path) -> None:
    gallery, table = tmp_path / "gallery", tmp_path / "corrections.csv"
    Image.open(place / "red.png").save(tmp_path / "red.bmp")
    with Gallery.create(gallery, place / "matcher") as made:
        made.add([place / "red.png", tmp_path / "red.bmp"], ["red", "crimson"])
    with (
        running(place, "--gallery", str(gallery), "--corrections", str(table)) as (_, url),
        browser(url, viewport={"width": 420, "height": 900}) as page,
    ):
        page.click("nav a[href='#review']")
        page.wait_for_selector("text=They match, and their labels differ.")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#pair .tile:nth-child(2).chosen")
        page.keyboard.press("w")
        assert page.input_value("#right-label") == "red"  # the other image's
        page.keyboard.press("Escape")
        assert page.locator("#naming").is_hidden()
        page.keyboard.press("w")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Nothing is left to review.")
        (said,) = read_corrections(table)
        assert (said.label, said.answer, said.new_label) == ("crimson", "wrong label", "red")
        page.keyboard.press("u")
        page.wait_for_selector("text=They match, and their labels differ.")
        assert len(table.read_text().splitlines()) == 1
        page.focus("#answers button:first-child")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Recorded: same.")
        assert table.read_text().splitlines()[1].split(",")[5] == "same"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_an_unknown_that_comes_back_is_named_and_copies_are_deleted(place: Path, tmp_path: Path) -> None:
    gallery, table = tmp_path / "gallery", tmp_path / "corrections.csv"
    for name in ("red", "blue"):
        Image.open(place / f"{name}.png").save(tmp_path / f"{name}.bmp")
    with Gallery.create(gallery, place / "matcher") as made:
        made.add([place / "red.png", tmp_path / "red.bmp"], "red")
    with (
        running(place, "--gallery", str(gallery), "--corrections", str(table)) as (_, url),
        browser(url, color_scheme="dark") as page,
    ):
        for suffix in ("png", "bmp"):
            folder = place if suffix == "png" else tmp_path
            assert post(f"{url}/search?threshold=0.001", (folder / f"blue.{suffix}").read_bytes())[1]["unknown"]
        page.click("nav a[href='#review']")
        page.wait_for_selector("text=2 searches were for this")
        assert page.locator("#answers button[data-answer='same']").is_hidden()
        page.keyboard.press("x")
        page.wait_for_selector("#pair :text('likely copies')")
        page.keyboard.press("u")
        page.wait_for_selector("text=2 searches were for this")
        page.keyboard.press("w")
        page.keyboard.type("blue")
        page.keyboard.press("Enter")
        page.wait_for_selector("#pair :text('likely copies')")
        with Gallery.open(gallery) as changed:
            assert changed.labels() == {"blue": 1, "red": 2}
        page.keyboard.press("x")
        page.wait_for_selector("text=Recorded: delete.")
        assert [one.answer for one in read_corrections(table)] == ["delete"]
        page.keyboard.press("u")
        page.wait_for_selector("text=Taken back: delete.")
        page.keyboard.press("x")
        page.wait_for_selector("text=Recorded: delete.")
        page.click("nav a[href='#gallery']")
        page.click("#label-list button:has-text('blue')")
        page.wait_for_selector("#tiles .tile:only-child:has-text('blue')")
        page.fill("#label-filter", "re")
        page.wait_for_selector("#label-list li:only-child:has-text('red')")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_searches_decides_adds_names_and_removes(place: Path, tmp_path: Path, scheme: str) -> None:
    Gallery.create(tmp_path / "gallery", place / "matcher").close()
    token = "a-token-of-the-tests"
    options = {"viewport": {"width": 420, "height": 900}, "color_scheme": scheme}
    with (
        running(place, "--gallery", str(tmp_path / "gallery"), IMAGEMATCH_TOKEN=token) as (_, url),
        browser(url, **options) as page,
    ):
        page.fill("#token", "a-wrong-token-first")
        page.keyboard.press("Enter")
        page.wait_for_function("sessionStorage['imagematch-token'] && !document.querySelector('#token-form').hidden")
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.set_input_files("#search-drop input", place / "red.png")
        page.wait_for_selector("text=The gallery is empty")
        hostile = "<img src=x onerror=alert(1)>\u202eevil"
        page.fill("#enrol-label", hostile)
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-found .tile.match")
        assert page.inner_text("#search-found .name") == hostile.replace("\u202e", "\\u202e")
        page.set_input_files("#search-drop input", place / "matcher" / "config.yaml")
        page.wait_for_selector("#problem:not([hidden])")
        page.set_input_files("#search-drop input", place / "blue.png")
        page.wait_for_selector("#search-found .tile")
        distance = float(page.inner_text("#search-found .soft").split()[1].rstrip(","))
        for value, verdict in ((distance - 0.02, "no match"), (distance + 0.02, "match")):
            page.evaluate(
                "value => { const s = document.querySelector('#threshold'); s.value = value;"
                " s.dispatchEvent(new Event('input')); }",
                round(value, 2),
            )
            assert page.inner_text("#search-found .tile div:nth-of-type(2)") == verdict
            assert "at most" in page.inner_text("#rates div:has-text('FNIR')")
        page.click("nav a[href='#compare']")
        page.set_input_files("#first-drop input", place / "red.png")
        page.set_input_files("#second-drop input", place / "red.png")
        page.wait_for_selector("#compared .verdict.right")
        page.click("nav a[href='#gallery']")
        page.set_input_files("#add-files", [place / "blue.png", place / "matcher" / "config.yaml"])
        page.fill("#add-label", "blue")
        page.click("#add-form button")
        page.wait_for_selector("text=1 of 2 images are in the gallery")
        assert "config.yaml" in page.inner_text("#problem")
        page.click("[aria-label='Other name for image 1']")
        page.fill("[aria-label='Name of image 1']", "red")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Image 1 is red now.")
        page.click("[aria-label='Remove image 1']")
        page.click("text=Really remove")
        page.wait_for_selector("text=Image 1 was removed.")
        assert page.locator("#tiles .tile").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.goto(f"{url}/docs")
        page.wait_for_selector("text=POST /search")
