"""What trainings share: features, found again wherever the images are; the baseline."""

from pathlib import Path

import numpy as np
from PIL import Image

from imagematch.config import parse_train
from imagematch.features import Features, normalize_rows
from imagematch.training import TrainingData, load_training_data


def test_the_baseline_is_the_normalized_features() -> None:
    array = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float16)
    data = TrainingData(None, None, Features(array, "openvino", "bfloat16", 0, 0.0), ())  # type: ignore[arg-type]
    np.testing.assert_array_equal(data.baseline(np.array([3, 1])), normalize_rows(array[[3, 1]]))


def loaded(root: Path, cache: Path) -> TrainingData:
    settings = {"experiment_name": "x", "dataset": "folder", "feature_extractor": "pixels", "image_size": 8}
    places = {"data_dir": str(root), "feature_dir": str(cache / "features")}
    return load_training_data(parse_train({**settings, **places}), manifest_dir=cache / "manifests")


def by_content(data: TrainingData) -> dict[str, list[float]]:
    return dict(zip(data.dataset.digests.tolist(), data.features.array[:].tolist(), strict=True))


def test_a_folder_that_is_moved_and_files_that_are_renamed_compute_nothing(tmp_path: Path) -> None:
    random, root = np.random.default_rng(0), tmp_path / "images"
    for row in range(40):
        path = root / "ab"[row % 2] / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    first = loaded(root, tmp_path)
    assert first.features.computed == 40
    moved = root.rename(tmp_path / "elsewhere")
    assert loaded(moved, tmp_path).features.computed == 0
    (moved / "a").rename(moved / "z")
    (moved / "b" / "01.png").rename(moved / "b" / "99.png")
    again = loaded(moved, tmp_path)
    assert again.features.computed == 0
    assert again.dataset.digests.tolist() != first.dataset.digests.tolist(), "the order is another one"
    assert by_content(again) == by_content(first)
