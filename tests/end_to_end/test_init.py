"""`imagematch init`: a study file that fits the folder, validates, and runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke

from imagematch.config import StudySettings, load_study

PIXELS = ("--feature-extractor", "pixels")


def photos(folder: Path, classes: int, images: int, size: int = 24, below: str = "") -> Path:
    """A folder with a folder for each class; images of a class resemble each other."""
    draw = np.random.default_rng(0)
    for label in range(classes):
        place = folder / below / f"class {label}"
        place.mkdir(parents=True)
        base = draw.integers(0, 256, 3)
        for image in range(images):
            pixels = np.clip(base + draw.integers(-30, 30, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{image}.png")
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(invoke: Invoke, *arguments: str | Path, file: str = "photos.yaml") -> StudySettings:
    done = invoke("init", "--data-dir", "photos", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"wrote    {file}" in done.stdout
    return load_study(Path(file))


def test_it_runs_as_it_is(invoke: Invoke, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 6, 8)
    study = written(invoke, *PIXELS)
    assert study.fixed["batch_images"] == 5
    first = Path("photos.yaml").read_text().splitlines()[0]
    schema = Path(first.partition("$schema=")[2])
    assert json.loads(schema.read_text())["title"] == "An imagematch study file"
    few = ("--set", "n_trials=1", "--set", "epochs=1", "--set", "rerun_top_k=0", "--set", "folds=1")
    done = invoke("hpt", "--hpt-config-filepath", "photos.yaml", *few)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exp/saved_models/photos/matcher.json").exists()


@pytest.mark.parametrize(
    ("classes", "images", "split_by", "batch"),
    [(4, 6, "image", (4, 4)), (4, 40, "image", (4, 16)), (40, 2, "class", (16, 2)), (40, 10, "class", (16, 7))],
)
def test_it_follows_from_the_images(
    invoke: Invoke, tmp_path: Path, classes: int, images: int, split_by: str, batch: tuple[int, int]
) -> None:
    photos(tmp_path / "photos", classes, images, size=8)
    study = written(invoke, *PIXELS)
    assert study.fixed["split_by"] == split_by
    assert (study.fixed["batch_classes"], study.fixed["batch_images"]) == batch
    assert ("join" in study.fixed) == (split_by == "class")
    done = invoke("hpt", "--hpt-config-filepath", "photos.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_own_splits_and_small_images(invoke: Invoke, tmp_path: Path) -> None:
    for below in ("train", "test"):
        photos(tmp_path / "photos", 3, 4, size=130, below=below)
    study = written(invoke, "-o", "study.yaml", file="study.yaml")
    assert (study.fixed["split_by"], study.fixed["image_size"]) == ("predefined", 160)
    assert study.fixed["feature_extractor"] == "mobilenet_v2"


def test_mistakes_are_one_line_and_write_nothing(invoke: Invoke, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 3, 1)
    (tmp_path / "there.yaml").write_text("mine")
    cases = [
        (3, "no such folder", ("--data-dir", "nowhere")),
        (3, "two such classes are needed", ("--data-dir", "photos")),
        (2, "no data set is called 'fodler'", ("--data-dir", "photos", "--dataset", "fodler")),
        (2, "already exists", ("--data-dir", "photos", "-o", "there.yaml")),
    ]
    for code, part, arguments in cases:
        done = invoke("init", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert part in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "there.yaml"]
    assert (tmp_path / "there.yaml").read_text() == "mine"


@pytest.mark.parametrize("command", [("train", "--config"), ("hpt", "--hpt-config-filepath")])
def test_a_dry_run_names_weights_that_are_not_there_and_shows_the_splits(
    invoke: Invoke, command: tuple[str, str]
) -> None:
    name = "experiment_name" if command[0] == "train" else "study_name"
    network = "feature_extractor: mobilenet_v2\nimage_size: 32\nweights: nowhere.h5\n"
    Path("file.yaml").write_text(f"{name}: a\ndataset: digits\n{network}")
    done = invoke(*command, "file.yaml", "--dry-run")
    assert (done.returncode, done.stderr) == (5, "error: weights: nowhere.h5: there is no such file; check the path\n")
    done = invoke(*command, "file.yaml", "--dry-run", "--set", "weights=random")
    assert done.returncode == 0, done.stderr
    for line in ("images: 1,797", "train: 1,257", "validation: 270", "calibration: 90", "test: 180"):
        assert line in done.stdout.splitlines()
