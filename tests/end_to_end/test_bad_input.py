"""Mistakes that users make: each is told in one line, with its exit code, and loses nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke

pytestmark = pytest.mark.usefixtures("no_report")

TRAIN = """\
experiment_name: x
dataset: folder
data_dir: images
feature_extractor: pixels
image_size: 8
split: [0.5, 0.25, 0.25]
epochs: 2
"""


def make_images(folder: Path, classes: int = 3, images: int = 16) -> None:
    random = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(images):
            pixels = np.clip(random.normal(60 + 60 * label, 20, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{number:02}.jpg", quality=95)


def refused(command: Invoke, *arguments: str | Path, code: int, says: str) -> str:
    """Runs a command that must fail in one line; returns the line."""
    done = command(*arguments)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert says in done.stderr, done.stderr
    return done.stderr


def train_file(tmp_path: Path, text: str = TRAIN, **changes: object) -> str:
    lines = [line for line in text.splitlines() if line.split(":")[0] not in changes]
    lines += [f"{key}: {value}" for key, value in changes.items()]
    (tmp_path / "train.yaml").write_text("\n".join(lines) + "\n")
    return "train.yaml"


def test_a_missing_file(command: Invoke) -> None:
    refused(command, "train.py", "--config", "nowhere.yaml", code=2, says="nowhere.yaml")
    refused(command, "hpt.py", "--hpt-config-filepath", "nowhere.yaml", code=2, says="nowhere.yaml")


def test_a_missing_option_and_an_unknown_one(command: Invoke) -> None:
    refused(command, "train.py", "--epochs", "3", code=2, says="--epochs")
    refused(command, "hpt.py", "--resume", code=2, says="--hpt-config-filepath")


def test_a_typo_in_a_key_names_file_line_and_suggestion(command: Invoke, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study_name: s\ndataset: digits\nembeding_dim_grid: [8, 16]\n")
    line = refused(command, "hpt.py", "--hpt-config-filepath", "study.yaml", code=2, says="study.yaml:3:")
    assert "embedding_dim_grid" in line.split("did you mean")[1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("embedding_dim_grid: []", "embedding_dim_grid"),
        ("dropout_range: {low: 0.5, high: 0.1}", "low 0.5 is over high 0.1"),
        ("seed: 1\nseed: 2", "seed"),
        ("learning_rate_grid: [1e-3, fast]", "fast"),
        ("objective: val_luck", "val_luck"),
        ("folds: 0", "folds"),
        ("storage: postgres", "storage"),
    ],
)
def test_a_study_file_that_cannot_be(command: Invoke, tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "study.yaml").write_text(f"study_name: s\ndataset: digits\n{line}\n")
    refused(command, "hpt.py", "--hpt-config-filepath", "study.yaml", "--validate", code=2, says=says)


def test_a_grid_with_one_value_is_fine(command: Invoke, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study_name: s\ndataset: digits\ndropout: 0\nembedding_dim_grid: [8]\n")
    done = command("hpt.py", "--hpt-config-filepath", "study.yaml", "--validate")
    assert done.returncode == 0
    assert "1 grid points" in done.stdout or "1 grid point" in done.stdout


@pytest.mark.parametrize("rate", ["1e-3", "1.0e-3", "0.001"])
def test_a_learning_rate_is_a_number_however_it_is_written(command: Invoke, tmp_path: Path, rate: str) -> None:
    from imagematch.config import load_train

    assert load_train(tmp_path / train_file(tmp_path, learning_rate=rate)).learning_rate == 0.001


def test_no_images(command: Invoke, tmp_path: Path) -> None:
    refused(command, "train.py", "--config", train_file(tmp_path), code=3, says="images")
    (tmp_path / "images").mkdir()
    refused(command, "train.py", "--config", train_file(tmp_path), code=3, says="images")


def test_one_class_only(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images", classes=1)
    refused(command, "train.py", "--config", train_file(tmp_path), code=3, says="class")


def test_one_image_a_class(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images", images=1)
    refused(command, "train.py", "--config", train_file(tmp_path), code=3, says="class")


@pytest.mark.parametrize(
    ("classes", "changes", "code", "says"),
    [
        (3, {"join": "{dim: 30}"}, 2, "30 is more than the features have: 22 is the training images less one; give 22"),
        (1, {"join": "whitened"}, 3, "class"),
        (3, {"join": "whitened", "feature_extractor": "small_cnn", "weights": "random"}, 2, "needs a frozen extractor"),
        (3, {"join": "whitened", "feature_extractor": "[pixels, mobilenet_025]", "trainable": 2}, 2, "trainable"),
        (3, {"parallel_heads": "[[8]]", "feature_extractor": "small_cnn", "weights": "random"}, 2, "frozen extractor"),
    ],
    ids=["few images", "one class", "join with a trained extractor", "several extractors trained", "heads on it"],
)
def test_what_cannot_be_joined_is_refused_before_anything_is_trained(
    command: Invoke, tmp_path: Path, classes: int, changes: dict[str, object], code: int, says: str
) -> None:
    make_images(tmp_path / "images", classes=classes)
    done = command("train.py", "--config", train_file(tmp_path, **changes))
    assert done.returncode == code, done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines()), done.stderr
    assert says in done.stderr
    assert "epoch " not in done.stdout


def test_weights_that_are_not_there_do_not_fit_or_cannot_be_fetched(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    network = {"feature_extractor": "mobilenet_v2", "image_size": 32}
    file = train_file(tmp_path, **network, weights="nowhere.weights.h5")
    refused(command, "train.py", "--config", file, code=5, says="nowhere.weights.h5")
    (tmp_path / "foreign.weights.h5").write_bytes(b"no weights at all")
    file = train_file(tmp_path, **network, weights="foreign.weights.h5")
    refused(command, "train.py", "--config", file, code=5, says="foreign.weights.h5")


def test_imagenet_weights_offline_say_how_to_give_a_path(
    command: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path / "images")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there: offline, wherever this runs
    monkeypatch.setattr("urllib.request._opener", None)  # which remembers the proxies that there were
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    file = train_file(tmp_path, feature_extractor="mobilenet_v2", image_size=32)
    refused(command, "train.py", "--config", file, code=5, says="weights: PATH")


def test_exp_that_cannot_be_written(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    (tmp_path / "exp").write_text("in the way")
    refused(command, "train.py", "--config", train_file(tmp_path), code=4, says="exp")
    (tmp_path / "study.yaml").write_text("study_name: s\ndataset: digits\n")
    refused(command, "hpt.py", "--hpt-config-filepath", "study.yaml", code=4, says="exp")


def test_corrupt_images_are_named_and_survived(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images", images=24)
    empty, torn = tmp_path / "images" / "class0" / "empty.jpg", tmp_path / "images" / "class1" / "torn.jpg"
    empty.touch()
    torn.write_bytes((tmp_path / "images" / "class1" / "00.jpg").read_bytes()[:300])
    done = command("train.py", "--config", train_file(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "class0/empty.jpg" in done.stdout
    assert "class1/torn.jpg" in done.stdout
    assert "72 images of 3 classes" in done.stdout


def test_too_many_corrupt_images_stop_it(command: Invoke, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    for number in range(6):
        (tmp_path / "images" / "class0" / f"empty{number}.jpg").touch()
    refused(command, "train.py", "--config", train_file(tmp_path), code=3, says="class0/empty")


def test_a_study_goes_on_with_the_same_images_only(command: Invoke, one_process: None, tmp_path: Path) -> None:
    import shutil

    make_images(tmp_path / "images")
    study = "study_name: s\ndataset: folder\ndata_dir: images\nfeature_extractor: pixels\nimage_size: 8\n"
    study += "split: [0.5, 0.25, 0.25]\nepochs: 1\ndropout: 0\nembedding_dim_grid: [2, 4, 8]\nrerun_top_k: 0\n"
    (tmp_path / "study.yaml").write_text(study)
    run = ("hpt.py", "--hpt-config-filepath", "study.yaml", "--resume", "--n-trials")
    done = command(*run, "1")
    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "images" / "class0" / "00.jpg", tmp_path / "images" / "class0" / "01.jpg")
    line = refused(command, *run, "2", code=4, says="not the images")
    assert "--fresh" in line
    shutil.rmtree(tmp_path / "images")
    make_images(tmp_path / "images")
    done = command(*run, "2")
    assert done.returncode == 0, done.stderr


def test_a_fresh_study_on_other_images_trains_its_winner_again(
    command: Invoke, one_process: None, tmp_path: Path
) -> None:
    """The configuration is the same to the letter; the images are not. Each image size has a baseline of its own."""
    import csv
    import json
    import shutil

    import optuna

    make_images(tmp_path / "images")
    study = "study_name: s\ndataset: folder\ndata_dir: images\nfeature_extractor: pixels\nsplit: [0.5, 0.25, 0.25]\n"
    study += "image_size_grid: [8, 12]\nepochs: 1\ndropout: 0\nembedding_dim: 4\nn_trials: 2\nrerun_top_k: 0\n"
    (tmp_path / "study.yaml").write_text(study)
    run = ("hpt.py", "--hpt-config-filepath", "study.yaml")
    done = command(*run)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "exp/hpt_studies/s/trials.csv").open() as file:
        assert all(0 < float(row["baseline"]) <= 1 for row in csv.DictReader(file))
    storage = f"sqlite:///{tmp_path}/exp/hpt_studies/s.db"
    kept = optuna.load_study(study_name="s", storage=storage).user_attrs["baseline"]
    assert set(kept) == {"pixels, image_size 8", "pixels, image_size 12"}
    card = tmp_path / "exp/saved_models/s/matcher.json"
    before = json.loads(card.read_text())["provenance"]["dataset_digest"]
    config = (card.parent / "config.yaml").read_text()
    shutil.copy(tmp_path / "images" / "class0" / "00.jpg", tmp_path / "images" / "class0" / "01.jpg")
    done = command(*run, "--fresh")
    assert done.returncode == 0, done.stderr
    assert (card.parent / "config.yaml").read_text() == config
    assert json.loads(card.read_text())["provenance"]["dataset_digest"] != before


def test_a_matcher_that_was_edited_or_is_not_there(command: Invoke, small_study: Path, tmp_path: Path) -> None:
    import shutil

    Image.new("L", (9, 9), 100).save(tmp_path / "a.png")
    match = ("match", "--model")
    refused(command, *match, "nowhere", "a.png", "a.png", code=5, says="nowhere")
    shutil.copytree(small_study / "exp" / "saved_models" / "small", tmp_path / "model")
    refused(command, *match, "model", "a.png", "b.png", code=3, says="b.png")
    (tmp_path / "model" / "head.safetensors").write_bytes(b"else")
    refused(command, *match, "model", "a.png", "a.png", code=5, says="changed since it was saved")


def test_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "imagematch", "data", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "error: the output cannot be written: No space left on device\n")


def test_a_name_that_the_terminal_has_no_letters_for_is_shown_escaped() -> None:
    program = """
import typer
from imagematch.cli.running import run
app = typer.Typer()
@app.command()
def show(name: str) -> None:
    print(name)
run(app, ["日本.png"])
"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert b"\\u65e5" in done.stdout, done.stderr
