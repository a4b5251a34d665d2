"""`imagematch data`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.cli.main import app
from imagematch.cli.running import run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in the test's folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            run(app, ["data", *arguments])
        printed = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, printed.out, printed.err

    return run_it


@pytest.fixture
def config(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label in ("a", "=b[/x]"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "a" / "bad\x1b[31m.png").write_bytes(b"")
    path = tmp_path / "train.yaml"
    path.write_text("experiment_name: x\ndataset: folder\ndata_dir: photos\n")
    return path


def test_list_names_every_source(command: Any) -> None:
    from imagematch.config import DATASETS

    code, out, _ = command("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(DATASETS)
    assert "data/omniglot (is not there); imagematch data fetch omniglot" in out


def test_check(command: Any, config: Path) -> None:
    code, out, err = command("check", str(config))
    assert (code, err) == (0, "")
    assert "listed     41 images of 2 classes" in out
    assert "left out: a/bad\\x1b[31m.png: the file is empty" in out
    assert "\x1b" not in out
    assert "not compared" not in out
    lines = out.splitlines()
    first = lines.index("verdict    40 images of 2 classes can be used; look at: 1 corrupt images left out")
    assert lines[first + 1] == "        1. 1 corrupt images left out, as a/bad\\x1b[31m.png: replace or remove them"
    assert lines[first + 2].startswith("note       2 classes: ")


def test_check_says_what_was_not_compared(command: Any, config: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "photos" / "a" / f"plain\n{number}.png")
    _, out, _ = command("check", str(config))
    assert "3 images too plain, or too many of one hash, are not compared" in out
    assert not any(line.startswith("0.png") for line in out.splitlines())


def test_check_as_json_and_a_contact_sheet(command: Any, config: Path, tmp_path: Path) -> None:
    code, out, _ = command("check", str(config), "--json", "--contact-sheet", "pages/sheet.png")
    assert code == 0
    report = json.loads(out)
    assert report["used"]["images"] == 40
    with Image.open(tmp_path / "pages" / "sheet.png") as sheet:
        assert sheet.size[0] > 1000


def test_check_of_a_study_file(command: Any, config: Path) -> None:
    config.write_text(
        "study_name: x\ndataset: folder\ndata_dir: photos\nimage_size_grid: [32, 64]\nembedding_dim_grid: [8, 16]\n"
    )
    code, out, _ = command("check", str(config), "--set", "max_classes=2")
    assert code == 0
    assert "used       40 images" in out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("check", "nowhere.yaml"), 2, "nowhere.yaml: no such file"),
        (("check", "train.yaml", "--set", "data_dir=none"), 3, "none: no such folder"),
        (("check", "train.yaml", "--contact-sheet", "sheet.jpg"), 2, "is not the name of a PNG file"),
        (("fetch", "celeba"), 3, "in a browser"),
        (("fetch", "imagenet"), 2, "no data set is called 'imagenet'"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], code: int, told: str, command: Any, config: Path) -> None:
    ended, _, err = command(*arguments)
    assert ended == code
    assert told in err
    assert err.count("\n") == 1
    assert not Path("exp").exists()  # told before the images are looked at


def test_what_cannot_be_trained_on_ends_with_3_after_the_report(command: Any, config: Path, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "photos" / "a" / f"{number}.png").write_bytes(b"")
    code, out, err = command("check", str(config))
    assert code == 3
    assert "verdict    cannot be trained on: photos: 9 of 41 images cannot be used" in out
    assert err.startswith("error: photos: 9 of 41 images cannot be used")
