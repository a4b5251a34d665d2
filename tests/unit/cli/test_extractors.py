"""`imagematch extractors list | check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.network_makers import DIM, SIDE, write_convolution
from typer.testing import CliRunner

from imagematch.cli.main import app
from imagematch.config import EXTRACTORS
from imagematch.errors import ConfigError


def run(*arguments: Any) -> str:
    done = CliRunner().invoke(app, ["extractors", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_every_network_is_listed() -> None:
    rows = json.loads(run("list", "--json"))
    assert tuple(row["name"] for row in rows) == EXTRACTORS
    (mobilenet,) = (row for row in rows if row["name"] == "mobilenet_v2")
    assert mobilenet == {
        "name": "mobilenet_v2",
        "image_size": 224,
        "feature_dim": 1280,
        "parameters": 2_257_984,
        "published_weights": True,
    }
    lines = run("list").splitlines()
    assert len(lines) == len(EXTRACTORS) + 1
    assert "small_cnn             32 px  256 features  0.4 M parameters  no published weights" in lines


def test_a_network_file_is_explained_in_one_page(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    path, _ = write_convolution(tmp_path / "net.onnx")
    found = json.loads(run("check", path, "--input", "{mean: 0.5, std: 0.25}", "--json"))
    assert found["file"] == str(path)
    assert found["input"] == [f"image [?,3,{SIDE},{SIDE}] f32"]
    assert found["features"] == f"{DIM} numbers: features, pooling none"
    assert found["preprocessing"] == "(pixel * 0.00392157 - [0.5, 0.5, 0.5]) / [0.25, 0.25, 0.25], from input"
    assert found["unclear"] == ["nothing"]
    assert "images/s in float32" in found["speed"][0]
    assert found["one_image"].endswith(" ms in float32")
    lines = run("check", path, "--input", "{mean: 0.5, std: 0.25}").splitlines()
    assert "image size        16 px, nchw, rgb, crop squash, bilinear" in lines


def test_what_was_chosen_among_several_is_unclear(tmp_path: Path) -> None:
    from imagematch.extractors.engines.network_check import _of_outputs
    from imagematch.extractors.network_files import NetworkFile

    facts = {"pooling": "cls", "output": "tokens", "outputs": ["tokens [?,5,8] f32", "logits [?,10] f32"]}
    path = tmp_path / "net.onnx"
    assert _of_outputs(NetworkFile(path, "", {}, "input", facts, (path,))) == [
        "tokens is pooled by cls: give input: {pooling: ...} for another",
        "of 2 outputs tokens is taken: give input: {output: NAME} for another",
    ]
    plain = {"pooling": "none", "output": "features", "outputs": ["features [?,8] f32"]}
    assert _of_outputs(NetworkFile(path, "", {}, "input", plain, (path,))) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [("{mean: 1", "is not a mapping"), ("7", "input must be a mapping"), ("{meen: 1}", "did you mean mean")],
)
def test_a_wrong_input_is_one_line(tmp_path: Path, given: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(app, ["extractors", "check", "net.onnx", "--input", given], catch_exceptions=False)
