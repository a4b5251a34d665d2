"""Where inputs come from: in the order of the rows, as they are or mirrored."""

from pathlib import Path

import numpy as np

from imagematch.config import parse_train
from imagematch.data import open_dataset
from imagematch.training import FeatureSource, ImageSource, embed_rows, plan_batches

SETTINGS = parse_train({"experiment_name": "x", "dataset": "digits", "batch_classes": 3, "batch_images": 2})


def test_mirrored_images_are_the_images_with_left_and_right_exchanged(tmp_path: Path) -> None:
    dataset = open_dataset(SETTINGS, manifest_dir=tmp_path)
    rows = dataset.rows("train")
    plan = plan_batches(SETTINGS, dataset.labels[rows], 0)
    source = ImageSource(dataset, rows, dataset.labels, plan, image_size=8, augment_seed=3)
    chosen = np.arange(100, 30, -1)
    plain, mirrored = (embed_rows(source, chosen, np.asarray, mirrored=flag) for flag in (False, True))
    assert plain.shape == (70, 8, 8, 3)
    np.testing.assert_array_equal(plain, np.stack([dataset.pixels(int(row), 8) for row in chosen]))
    for column in range(8):
        np.testing.assert_array_equal(mirrored[:, :, column], plain[:, :, 7 - column])


def test_cached_features_of_mirror_images_are_for_validation_alone() -> None:
    random = np.random.default_rng(0)
    array, mirror = random.random((2, 40, 5), np.float32)
    labels = np.repeat(np.arange(4), 10)
    source = FeatureSource([array], np.arange(40), labels, plan_batches(SETTINGS, labels, 0), 0, mirror)
    rows = random.permutation(40)[:17]
    np.testing.assert_array_equal(embed_rows(source, rows, np.asarray), array[rows])
    np.testing.assert_array_equal(embed_rows(source, rows, np.asarray, mirrored=True), mirror[rows])
    for inputs, _labels in source.chunks(0):
        assert np.isin(inputs, array).all()
