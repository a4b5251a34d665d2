"""`feature_precision: auto`: what is measured before a lower precision is taken, and a matcher in 8 bits as a whole."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.network_makers import SIDE, write_convolution

from imagematch.config import TrainSettings, parse_train
from imagematch.data import open_dataset
from imagematch.errors import ConfigError, DataError
from imagematch.events import RunLog
from imagematch.extractors import can_quantize, choose_extractor, lower_precisions
from imagematch.features import FeatureStore
from imagematch.files import Layout
from imagematch.matching import ImageMatcher
from imagematch.pipeline import run_training
from imagematch.training import precision

needs_nncf = pytest.mark.skipif(not can_quantize(), reason="NNCF is not installed: pip install 'imagematch[int8]'")
CLASSES, IMAGES = 4, 12


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        base = random.integers(30, 220, 3)
        for number in range(IMAGES):
            path = tmp_path / "images" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = base + random.normal(0, 20, (SIDE, SIDE, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    network, _ = write_convolution(tmp_path / "network.onnx")
    return parse_train(
        {
            "experiment_name": "x",
            "dataset": "folder",
            "data_dir": str(tmp_path / "images"),
            "feature_extractor": f"onnx:{network}",
            "input": {"mean": 0.5, "std": 0.5},
            "feature_dir": str(tmp_path / "features"),
            "split": [0.4, 0.4, 0.2],
            "embedding_dim": 4,
            "epochs": 1,
        }
    )


class Measured:
    """The gate with speeds and metrics of its own, in place of a processor's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, speeds: dict[str, float], map_at_r: dict[str, float]) -> None:
        self.compared: list[str] = []

        def metrics(_gate: Any, name: str) -> dict[str, float]:
            self.compared.append(name)
            return {"map_at_r": map_at_r[name], "roc_auc": 0.8}

        monkeypatch.setattr(precision, "lower_precisions", lambda: ("bfloat16", "int8"))
        monkeypatch.setattr(precision, "can_quantize", lambda: True)
        monkeypatch.setattr(precision._Gate, "_speed", lambda _gate, name: speeds[name])
        monkeypatch.setattr(precision._Gate, "_metrics", metrics)


def chosen(settings: TrainSettings, tmp_path: Path) -> tuple[str, str]:
    """The precision that `auto` comes to, and what was said of it."""
    said = io.StringIO()
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    store, log = FeatureStore(Path(settings.feature_dir)), RunLog(stream=said)
    return precision.choose_precision(settings, dataset, choose_extractor(settings), store, log), said.getvalue()


@pytest.mark.parametrize(
    ("speeds", "map_at_r", "expected", "told"),
    [
        ((1, 2, 4), (0.5, 0.498, 0.4971), "int8", "int8 4 images/s (MAP@R 0.4971, AUC 0.8000)"),
        ((1, 2, 4), (0.5, 0.498, 0.496), "bfloat16", "int8 4 images/s (MAP@R 0.4960, AUC 0.8000), more than 0.003"),
        ((1, 2, 2.5), (0.5, 0.5, 0.5), "bfloat16", "int8 2 images/s, not 1.3 x as fast"),
        ((1, 2, 2.5), (0.5, 0.45, 0.5), "int8", "bfloat16 2 images/s (MAP@R 0.4500, AUC 0.8000), more than 0.003"),
        ((1, 1.2, 1.2), (0.5, 0.6, 0.6), "float32", "bfloat16 1 images/s, not 1.3 x as fast"),
    ],
)
def test_auto_takes_what_is_faster_and_ranks_as_well(
    settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    speeds: tuple[float, ...],
    map_at_r: tuple[float, ...],
    expected: str,
    told: str,
) -> None:
    names = ("float32", "bfloat16", "int8")
    measured = Measured(monkeypatch, dict(zip(names, speeds, strict=True)), dict(zip(names, map_at_r, strict=True)))
    found, said = chosen(settings, tmp_path)
    assert found == expected
    assert told in said
    assert f"feature_precision: {expected}: float32 1 images/s (MAP@R 0.5000, AUC 0.8000)" in said
    compared = list(measured.compared)
    assert chosen(settings, tmp_path)[0] == expected
    assert measured.compared == compared, "what was found is remembered"


def test_little_work_is_done_in_float32_without_a_comparison(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured(monkeypatch, {"float32": 100, "bfloat16": 1e6, "int8": 1e6}, {})
    found, said = chosen(settings, tmp_path)
    assert found == "float32"
    assert "feature_precision" not in said
    assert measured.compared == []


def test_without_pairs_among_the_validation_images_auto_is_float32(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pairs(*_: Any) -> dict[str, float]:
        raise DataError("no genuine pair")

    Measured(monkeypatch, {"float32": 1, "bfloat16": 1e6, "int8": 1e6}, {})
    monkeypatch.setattr(precision._Gate, "_metrics", no_pairs)
    assert chosen(settings, tmp_path)[0] == "float32"


def test_a_given_precision_is_taken_as_it_is(settings: TrainSettings, tmp_path: Path) -> None:
    given = settings.model_copy(update={"feature_precision": "bfloat16"})
    assert chosen(given, tmp_path) == ("bfloat16", "")


@pytest.mark.skipif(not lower_precisions(), reason="OpenVINO is not installed")
def test_the_metrics_are_those_of_the_validation_images(settings: TrainSettings, tmp_path: Path) -> None:
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    rows, store = dataset.rows("validation"), FeatureStore(tmp_path / "features")
    calibration = precision.calibration_images(dataset)
    gate = precision._Gate(
        settings, dataset, rows, choose_extractor(settings), calibration, store, RunLog(stream=io.StringIO())
    )
    found = gate._metrics("float32")
    every = store.features(dataset, choose_extractor(settings), precision="float32").array[:][rows]
    unit = every / np.linalg.norm(every, axis=1, keepdims=True)
    same = dataset.labels[rows][:, None] == dataset.labels[rows]
    upper = np.triu(np.ones_like(same), 1)
    near = (unit @ unit.T)[upper]
    genuine, impostor = near[same[upper]], near[~same[upper]]
    wins = (genuine[:, None] > impostor).mean() + 0.5 * (genuine[:, None] == impostor).mean()
    assert found["roc_auc"] == pytest.approx(wins, abs=1e-3)
    assert gate._speed("float32") > 0


def test_the_calibration_images_are_of_the_training_split_and_identified_by_content(
    settings: TrainSettings, tmp_path: Path
) -> None:
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    found = precision.calibration_images(dataset)
    train = [dataset.pixels(int(row), SIDE).tobytes() for row in dataset.rows("train")]
    assert sorted(found.image(number, SIDE).tobytes() for number in range(found.count)) == sorted(train)
    moved = Path(settings.data_dir or "").rename(tmp_path / "elsewhere")
    again = open_dataset(settings.model_copy(update={"data_dir": moved}), manifest_dir=tmp_path / "manifests")
    assert precision.calibration_images(again).digest == found.digest


def test_8_bits_and_a_trained_extractor_are_refused_by_the_file_alone() -> None:
    values = {"experiment_name": "x", "dataset": "digits", "feature_extractor": "small_cnn"}
    with pytest.raises(ConfigError, match="int8 is for a frozen extractor"):
        parse_train({**values, "feature_precision": "int8"})


@needs_nncf
def test_a_matcher_in_8_bits_matches_with_the_network_in_its_folder(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings.model_copy(update={"feature_precision": "int8"})
    run_training(given, Layout(tmp_path / "exp"), log=RunLog(stream=io.StringIO()))
    monkeypatch.setattr("imagematch.extractors.quantization.can_quantize", lambda: False)
    (tmp_path / "network.onnx").unlink()
    matcher = ImageMatcher.load(tmp_path / "exp" / "saved_models" / "x")
    assert (matcher.card.embedding.precision, matcher.engine.precision) == ("int8", "int8")
    written = next((tmp_path / "exp" / "saved_models" / "x").glob("network-*.xml")).read_text()
    assert "FakeQuantize" in written
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    cached = matcher.cached_features(dataset, FeatureStore(Path(settings.feature_dir)))
    assert cached[0].computed == 0, "training's features are the matcher's"
    paths = [Path(settings.data_dir or "") / path for path in dataset.paths]
    np.testing.assert_allclose(matcher.embed(paths), matcher.embed_cached(cached), atol=2e-3)
