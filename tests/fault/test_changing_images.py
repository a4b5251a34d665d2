"""An image that changes, breaks or goes, between two runs and in one: named, and never taken for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke
from tests.unit.matching.conftest import write_matcher
from tests.unit.retrieval.test_gallery import MATCHER

from imagematch.config import TrainSettings, parse_train
from imagematch.data import Dataset, open_dataset
from imagematch.errors import DataError, ImagematchError, InterruptedRunError
from imagematch.files import Layout
from imagematch.matching import embedding_card
from imagematch.pipeline import run_training, training_run
from imagematch.retrieval import Gallery
from imagematch.training import ImageSource, plan_batches

pytestmark = pytest.mark.usefixtures("no_report")

CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda path: draw(path, 255),
    "broken": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "gone": Path.unlink,
}


def draw(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(grey).integers(0, 60, (8, 8, 3), np.uint8)
    Image.fromarray(noise + np.uint8(grey * 3 // 4)).save(path)
    return path


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    for number in range(60):
        draw(tmp_path / "images" / "abc"[number % 3] / f"{number:02d}.png", number)
    return tmp_path / "images"


def settings_for(root: Path, **more: Any) -> TrainSettings:
    values = {"dataset": "folder", "data_dir": str(root), "feature_extractor": "pixels", "image_size": 8, "epochs": 2}
    return parse_train({"experiment_name": "one", "batch_classes": 3, "batch_images": 4, **values, **more})


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_on_images(change: str, root: Path, tmp_path: Path) -> None:
    """One that decodes them in each epoch; of frozen features the extraction is in `test_feature_store.py`."""
    settings = settings_for(root)

    def source() -> tuple[Dataset, ImageSource, int]:
        """The data set, its batches, and an image of the second epoch."""
        dataset = open_dataset(settings, manifest_dir=tmp_path)
        rows = dataset.rows("train")
        plan = plan_batches(settings, dataset.labels[rows], 0)
        images = ImageSource(dataset, rows, dataset.labels, plan, image_size=8, augment_seed=3)
        return dataset, images, int(rows[plan.epoch(1)].ravel()[-1])

    dataset, images, row = source()
    path = root / str(dataset.paths[row])
    list(images.chunks(0))
    CHANGES[change](path)
    with pytest.raises(DataError, match=path.name) as caught:
        list(images.chunks(1))
    assert "\n" not in str(caught.value)
    dataset, images, _ = source()
    assert len(dataset) == (60 if change == "changed" else 59)
    assert len(list(images.chunks(1))) == images.steps


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_that_was_cut_off_is_not_resumed_on_other_images(
    change: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, layout = settings_for(root, feature_dir=str(tmp_path / "features")), Layout(tmp_path / "exp")

    def stopped(*_arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "calibrate_and_measure", stopped)
        patch.setattr("imagematch.training.loop._CHECKPOINT_IMAGES", 1)
        with pytest.raises(InterruptedRunError):
            run_training(settings, layout)
    CHANGES[change](root / "a" / "00.png")
    with pytest.raises(ImagematchError, match="belongs to another configuration or to other images") as caught:
        run_training(settings, layout)
    assert "\n" not in str(caught.value)
    assert run_training(settings, layout, fresh=True).metrics["validation"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_gallery(change: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its image changes just after it was embedded: a vector is not stored with another content's digest."""
    paths = sorted((root / "a").iterdir())[:3]
    embed = MATCHER.embed

    def and_change(*arguments: Any, **options: Any) -> Any:
        found = embed(*arguments, **options)
        CHANGES[change](paths[1])
        return found

    monkeypatch.setattr("imagematch.retrieval.gallery._loaded", lambda matcher: matcher)
    told: list[int] = []
    with Gallery.create(tmp_path / "gallery", MATCHER) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(MATCHER, "embed", and_change)
            with pytest.raises(DataError, match=paths[1].name):
                gallery.add(paths)
            assert len(gallery) == 0
            draw(paths[1], 77)
            assert len(gallery.add(paths, unusable=lambda row, _error: told.append(row))) == 2
        assert told == [1]
        draw(paths[1], 99)
        (one,) = gallery.add(paths[1])
        np.testing.assert_allclose(gallery.embeddings([one]), embed([paths[1]]), rtol=1e-6)


@pytest.mark.parametrize("change", ["broken", "gone"])
def test_a_match(change: str, root: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its second image goes once both were looked at."""
    first, second = sorted((root / "a").iterdir())[:2]
    model, seen, decode = write_matcher(tmp_path / "model"), [0], embedding_card.EmbeddingCard.decode

    def and_change(self: Any, image: Any) -> np.ndarray:
        pixels = decode(self, image)
        seen[0] += 1
        if seen[0] == 2:
            CHANGES[change](second)
        return pixels

    monkeypatch.setattr(embedding_card.EmbeddingCard, "decode", and_change)
    done = invoke("match", "--model", model, first, second)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert second.name in done.stderr
