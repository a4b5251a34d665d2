"""A matcher measured on a folder of new images: all count, and the card says which classes it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke

from imagematch.matching import read_card

CONFIG = """\
experiment_name: shop
dataset: folder
data_dir: photos
feature_extractor: pixels
image_size: 8
embedding_dim: 4
epochs: 1
split_by: class
split: [0.6, 0.4]
"""


def photos(folder: Path, classes: list[str], images: int) -> None:
    for name in classes:
        colour = np.random.default_rng(sum(map(ord, name))).integers(0, 256, 3)
        (folder / name).mkdir(parents=True)
        for number in range(images):
            noise = np.random.default_rng([sum(map(ord, name)), number]).integers(-20, 20, (8, 8, 3))
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Path:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", [f"sku{number}" for number in range(10)], 6)
    (tmp_path / "shop.yaml").write_text(CONFIG)
    done = invoke("train", "--config", "shop.yaml")
    assert done.returncode == 0, done.stderr
    return tmp_path / "exp" / "saved_models" / "shop"


def test_all_images_of_another_folder_are_measured(shop: Path, invoke: Invoke) -> None:
    card = read_card(shop)
    assert len(card.provenance.training_classes) == 6
    assert not any("sku" in digest for digest in card.provenance.training_classes)
    photos(Path("new"), [f"sku{number}" for number in range(10)], 2)
    photos(Path("new"), ["hat"], 1)
    done = invoke("evaluate", "--model", shop, "--data-dir", "new", "--json")
    assert done.returncode == 0, done.stderr
    test = json.loads(done.stdout)["test"]
    assert (test["images"], test["classes"], test["genuine_pairs"]) == (21, 11, 10)
    assert test["seen_in_training"] == {"classes": 6, "images": 12}
    assert test["remarks"][0].startswith("All 21 labelled images of new are measured: 11 classes, 210 pairs.")
    text = invoke("evaluate", "--model", shop, "--data-dir", "new").stdout
    assert "6 of 11 test classes (57 % of the images) were seen in training" in text


def test_a_split_of_another_folder_can_be_chosen(shop: Path, invoke: Invoke) -> None:
    photos(Path("new"), [f"sku{number}" for number in range(10)], 6)
    done = invoke("evaluate", "--model", shop, "--data-dir", "new", "--split", "validation", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["validation"]["classes"] < 10


def test_one_class_of_new_images_is_refused(shop: Path, invoke: Invoke) -> None:
    photos(Path("new"), ["sku0"], 3)
    done = invoke("evaluate", "--model", shop, "--data-dir", "new")
    assert done.returncode == 3
    assert "only one class" in done.stderr
