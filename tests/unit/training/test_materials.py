"""What trainings share: features that are found wherever the images are, and alone, as the baseline sees them."""

import tracemalloc
from pathlib import Path

import numpy as np
from PIL import Image

from imagematch.config import parse_train
from imagematch.features import Features
from imagematch.training.materials import Materials, gather_materials, unit_rows


def test_the_baseline_is_one_array_of_unit_rows() -> None:
    array = np.random.default_rng(0).normal(size=(20_000, 300)).astype(np.float16)
    array[7] = 0
    features = Features(array, "openvino", "bfloat16", 0, 0.0)
    materials = Materials(None, None, features, ())  # type: ignore[arg-type]
    rows = np.random.default_rng(1).permutation(20_000)
    tracemalloc.start()
    found = materials.baseline(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, unit_rows(array[rows]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found.dtype == np.float32
    assert peak < 1.5 * found.nbytes


def gathered(root: Path, kept: Path) -> Materials:
    settings = {"experiment_name": "x", "dataset": "folder", "feature_extractor": "pixels", "image_size": 8}
    places = {"data_dir": str(root), "feature_dir": str(kept / "features")}
    return gather_materials(parse_train({**settings, **places}), manifest_dir=kept / "manifests")


def by_content(materials: Materials) -> dict[str, list[float]]:
    return dict(zip(materials.dataset.digests.tolist(), materials.features.array[:].tolist(), strict=True))


def test_a_folder_that_is_moved_and_files_that_are_renamed_compute_nothing(tmp_path: Path) -> None:
    random, root = np.random.default_rng(0), tmp_path / "images"
    for row in range(40):
        path = root / "ab"[row % 2] / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    first = gathered(root, tmp_path)
    assert first.features.computed == 40
    moved = root.rename(tmp_path / "elsewhere")
    assert gathered(moved, tmp_path).features.computed == 0
    (moved / "a").rename(moved / "z")
    (moved / "b" / "01.png").rename(moved / "b" / "99.png")
    again = gathered(moved, tmp_path)
    assert again.features.computed == 0
    assert again.dataset.digests.tolist() != first.dataset.digests.tolist(), "the order is another one"
    assert by_content(again) == by_content(first)
