"""`match` with a matcher of faces says where it found none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tests.conftest import Invoke
from tests.unit.matching.conftest import write_matcher
from tests.unit.matching.test_face_crop import photo

from imagematch.matching import FaceCropCard


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
