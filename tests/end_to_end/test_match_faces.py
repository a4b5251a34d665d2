"""`match` with a matcher of faces says where it found none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Invoke
from tests.unit.matching.conftest import write_matcher
from tests.unit.matching.test_face_crop import photo
from tests.yunet import write_yunet

from imagematch.data import FaceCropper, remember_yunet
from imagematch.data.faces import yunet
from imagematch.matching import FaceCropCard, ImageMatcher


def test_no_face_is_said(invoke: Invoke, tmp_path: Path) -> None:
    crop = FaceCropCard(margin=0.2, align=False, missing="whole")
    model = write_matcher(tmp_path / "faces", face_crop=crop)
    Image.fromarray(photo()).save(tmp_path / "face.png")
    Image.fromarray(np.full((80, 90, 3), 100, np.uint8)).save(tmp_path / "wall.png")
    pair = (tmp_path / "face.png", tmp_path / "wall.png")
    done = invoke("match", "--model", model, *pair)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"note: no face found in {pair[1]}: the whole image was compared\n"
    assert json.loads(invoke("match", "--model", model, *pair, "--json").stdout)["no_face"] == [str(pair[1])]


def test_a_matcher_has_its_yunet_inside(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = remember_yunet(write_yunet(tmp_path / "yunet.onnx"))
    crop = FaceCropCard(margin=0.0, align=True, missing="whole", detector="yunet", network=network)
    model = write_matcher(tmp_path / "faces", face_crop=crop)
    page = np.zeros((256, 320, 3), np.uint8)
    page[96:128, 64:96] = 255
    Image.fromarray(page).save(tmp_path / "face.png")
    Image.fromarray(np.full((80, 90, 3), 10, np.uint8)).save(tmp_path / "wall.png")
    expected = FaceCropper(0.0, True, "whole", "yunet", network).decode(page, 8)
    (tmp_path / "yunet.onnx").unlink()
    monkeypatch.setattr(yunet, "_networks", {})  # as in another process
    monkeypatch.setattr(yunet._own, "detectors", {}, raising=False)
    matcher = ImageMatcher.load(model)
    assert np.array_equal(matcher.card.embedding.decode(page), expected)
    pair = (tmp_path / "face.png", tmp_path / "wall.png")
    done = invoke("match", "--model", model, *pair, "--json")
    assert json.loads(done.stdout)["no_face"] == [str(pair[1])]
    bundle = invoke("export", "--model", model, "--format", "bundle", "--output", tmp_path / "bundle")
    assert bundle.returncode == 0, bundle.stderr
    assert len(list((tmp_path / "bundle").rglob("face_detector.onnx"))) == 1

    own = model / "face_detector.onnx"
    own.write_bytes(own.read_bytes() + b"x")
    done = invoke("match", "--model", model, *pair)
    assert done.returncode == 5
    assert f"{own}: was changed since it was saved; restore it, or train again" in done.stderr
    own.unlink()
    done = invoke("match", "--model", model, *pair)
    assert done.returncode == 5
    assert "face_detector.onnx: cannot be read: No such file or directory; restore it, or train again" in done.stderr
