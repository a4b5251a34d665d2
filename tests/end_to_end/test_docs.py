"""The commands of the pages in docs/ run as they are written, on small made-up data and with a small network."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import ROOT
from tests.unit.data.drawings import photo, scene

from imagematch.cli.main import app
from imagematch.cli.running import run
from imagematch.config import parse_train
from imagematch.files import Layout
from imagematch.pipeline import run_training

PAGES = {"faces.md", "flowers.md", "gallery.md", "letters.md", "own_images.md", "python.md"}
SMALL = ("feature_extractor=pixels", "image_size=8", "epochs=2", "batch_classes=3")
"""What stands in for the network, the patience and the many classes of a page."""


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of shell commands; a block ends where it began, so that nothing is passed over."""
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def snippets(page: Path) -> list[str]:
    """The blocks of Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def save(picture: Image.Image | np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)


def people() -> None:
    for person in range(8):
        for number in range(3):
            page = photo((20 + 5 * number, 10 + 6 * person, 90), width=160, height=180)
            save(page, Path(f"data/faces/person {person}/{number}.jpg"))


def flowers() -> None:
    for part, count in (("train", 56), ("val", 6)):
        for label in ("daisy", "rose", "tulip"):
            for number in range(count):
                save(
                    scene(len(label) * 1000 + (part == "val") * 500 + number, 24),
                    Path(f"data/flowers5/{part}/{label}/{number}.jpg"),
                )


def characters() -> None:
    random = np.random.default_rng(0)
    for alphabet in range(6):
        for character in range(22):
            for number in range(3):
                drawing = Image.fromarray(random.random((12, 12)) < 0.5)
                save(drawing, Path(f"data/omniglot/images_background/Old {alphabet}/character{character}/{number}.png"))


def products() -> None:
    for product in range(6):
        for number in range(8):
            save(scene(100 * product + number, 32), Path(f"products/product {product}/{number}.jpg"))
    shutil.copy("products/product 0/1.jpg", "products/product 0/copy.jpg")
    save(scene(9), Path("new/upload.jpg"))
    Path("table.csv").write_text(
        "path,label,query,gallery\nnew/upload.jpg,product 1,yes,no\n"
        + "".join(f"products/product {one}/{two}.jpg,product {one},no,yes\n" for one in range(6) for two in range(8))
    )


def photos() -> None:
    """People, and a matcher of faces as an earlier page leaves one."""
    for person in ("ANNA", "CARL", "DORA", "EVE"):
        for number in range(8):
            save(scene(100 * len(person) + number, 24), Path(f"photos/{person}/{number}.jpg"))
    for number, name in enumerate(("new.jpg", "who.jpg", "a.jpg", "b.jpg")):
        save(scene(number, 24), Path(name))
    settings = {"experiment_name": "faces", "dataset": "folder", "data_dir": "photos", "feature_extractor": "pixels"}
    run_training(parse_train({**settings, "image_size": 8, "epochs": 2, "batch_classes": 3}), Layout())


MADE_UP: dict[str, Callable[[], None]] = {
    "faces.md": people,
    "flowers.md": flowers,
    "gallery.md": photos,
    "letters.md": characters,
    "own_images.md": products,
    "python.md": lambda: None,
}


def test_every_page_is_tried() -> None:
    assert {path.name for path in (ROOT / "docs").glob("*.md")} >= PAGES == set(MADE_UP)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_commands_of_a_page_run(
    name: str, one_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    MADE_UP[name]()
    written = []
    for line in commands(ROOT / "docs" / name):
        words = shlex.split(line)
        if words[:2] == ["python", "train.py"]:
            small = [word for setting in SMALL for word in ("--set", setting)]
            arguments = ["train", *words[2:], *small]
        elif words[0] == "imagematch":
            arguments = words[1:]
        else:
            subprocess.run(["bash", "-euc", line], check=True, capture_output=True)
            continue
        with pytest.raises(SystemExit) as ended:
            run(app, arguments)
        assert not ended.value.code, line
        written += [words[place + 1] for place, word in enumerate(words) if word in ("--output", "--contact-sheet")]
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda _self: None)
    for snippet in snippets(ROOT / "docs" / name):
        exec(compile(snippet, name, "exec"), {})
    assert written or name in ("gallery.md", "letters.md", "python.md")
    assert all(Path(path).exists() for path in written)
