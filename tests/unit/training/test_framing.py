"""Images cut, padded and shrunk as a network file wants them: the same pixels in training, extraction and matching."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.network_makers import SIDE, write_convolution

from imagematch.config import parse_train
from imagematch.data import decode, open_dataset
from imagematch.errors import ConfigError
from imagematch.events import RunLog
from imagematch.extractors import choose_extractor
from imagematch.features import FeatureStore
from imagematch.files import Layout
from imagematch.framing import Framing
from imagematch.matching import ImageMatcher
from imagematch.pipeline import evaluate_model, run_training

pytest.importorskip("onnx")
CENTRE = {"crop": "center", "crop_share": 0.75, "interpolation": "bicubic"}


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    for label in range(4):
        base = random.integers(60, 200, 3)
        for number in range(8):
            path = tmp_path / "images" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = base + random.normal(0, 40, (30 + 5 * number, 70 - 5 * number, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    network, _ = write_convolution(tmp_path / "network.onnx")
    return {
        "experiment_name": "x",
        "dataset": "folder",
        "data_dir": str(tmp_path / "images"),
        "feature_extractor": f"onnx:{network}",
        "feature_dir": str(tmp_path / "features"),
        "split": [0.4, 0.4, 0.2],
        "embedding_dim": 4,
        "epochs": 1,
    }


@pytest.mark.parametrize(
    ("precision", "framing"), [("float32", CENTRE), ("float32", {"crop": "pad"}), ("int8", {"crop": "center"})]
)
def test_all_see_the_same_pixels(
    values: dict[str, Any], tmp_path: Path, precision: str, framing: dict[str, Any]
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
    settings = parse_train({**values, "input": {"mean": 0.5, "std": 0.5, **framing}, "feature_precision": precision})
    run_training(settings, Layout(tmp_path / "exp"), log=RunLog(stream=io.StringIO()))
    matcher = ImageMatcher.load(tmp_path / "exp" / "saved_models" / "x")
    assert matcher.card.embedding.framed == Framing(**framing)
    dataset = open_dataset(settings, manifest_dir=tmp_path / "manifests")
    cached = matcher.cached_features(dataset, FeatureStore(Path(settings.feature_dir)))
    assert cached[0].computed == 0, "training's features are the matcher's"
    paths = [tmp_path / "images" / path for path in dataset.paths]
    np.testing.assert_allclose(matcher.embed(paths), matcher.embed_cached(cached), atol=2e-3)
    np.testing.assert_allclose(matcher.embed([path.read_bytes() for path in paths]), matcher.embed(paths), atol=1e-6)
    seen = [decode(path, SIDE, framing=Framing(**framing)) for path in paths]
    assert all(image.shape == (SIDE, SIDE, 3) for image in seen)
    np.testing.assert_allclose(matcher.embed(seen, cropped=True), matcher.embed(paths), atol=2e-3)
    squashed = matcher.embed([decode(path, SIDE) for path in paths])
    assert np.abs(squashed - matcher.embed(paths)).max() > 0.01, "they matter here"
    evaluated = evaluate_model(tmp_path / "exp" / "saved_models" / "x", layout=Layout(tmp_path / "exp"))
    assert evaluated.triplet()[0].shape[0] != evaluated.triplet()[0].shape[1], "whole images, which it cuts itself"


def test_features_of_another_crop_are_others(values: dict[str, Any], tmp_path: Path) -> None:
    digests = set()
    for framing in ({}, {"crop": "center"}, {"crop": "center", "crop_share": 0.5}, {"interpolation": "bicubic"}):
        settings = parse_train({**values, "input": {"mean": 0.5, "std": 0.5, **framing}})
        digests.add(choose_extractor(settings).digest)
    assert len(digests) == 4


HALF = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
TIMM = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, SIDE, SIDE]}


@pytest.mark.parametrize(
    ("name", "says", "framing"),
    [
        (
            "preprocessor_config.json",
            {
                **HALF,
                "do_center_crop": True,
                "crop_size": {"height": SIDE},
                "size": {"shortest_edge": 20},
                "resample": 3,
            },
            Framing("center", SIDE / 20, "bicubic"),
        ),
        ("preprocessor_config.json", {**HALF, "do_center_crop": True, "crop_size": SIDE}, Framing("center")),
        ("preprocessor_config.json", {**HALF, "size": {"height": SIDE, "width": SIDE}, "resample": 2}, Framing()),
        ("config.json", {"pretrained_cfg": {**TIMM, "crop_pct": 0.875}}, Framing("center", 0.875)),
        (
            "config.json",
            {**TIMM, "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"},
            Framing(interpolation="bicubic"),
        ),
        ("config.json", {**TIMM, "crop_pct": 1.0, "crop_mode": "border"}, Framing("pad")),
        ("config.json", TIMM, Framing()),
    ],
)
def test_the_file_beside_it_says_how(
    values: dict[str, Any], tmp_path: Path, name: str, says: dict[str, Any], framing: Framing
) -> None:
    (tmp_path / name).write_text(json.dumps(says))
    assert choose_extractor(parse_train(values)).framing == framing
    given = parse_train({**values, "input": {"crop": "squash", "interpolation": "bilinear"}})
    assert choose_extractor(given).framing == Framing(), "the configuration has the last word"


def test_contradictions_are_one_line(values: dict[str, Any]) -> None:
    share = {"mean": 0.5, "std": 0.5, "crop": "pad", "crop_share": 0.5}
    with pytest.raises(ConfigError, match=r"input: crop_share: 0\.5 is of crop: center, not of crop: pad"):
        choose_extractor(parse_train({**values, "input": share}))
    beside = {"feature_extractor": [values["feature_extractor"], "pixels"], "image_size": SIDE}
    with pytest.raises(ConfigError, match=r"cuts or shrinks images otherwise .* give input: \{crop: squash"):
        choose_extractor(parse_train({**values, **beside, "input": {"mean": 0.5, "std": 0.5, "crop": "center"}}))
    with pytest.raises(ConfigError, match="crop must be squash, center, pad, not 'middle'"):
        parse_train({**values, "input": {"crop": "middle"}})
    with pytest.raises(ConfigError, match=r"crop_share must be a number over 0, at most 1, not 1.5"):
        parse_train({**values, "input": {"crop_share": 1.5}})
