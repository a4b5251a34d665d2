"""`doctor` names what is there, what is missing and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from tests.conftest import Invoke


def test_this_machine_in_lines_and_as_json(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("doctor")
    assert done.returncode == 0, done.stdout
    topics = [line.split()[1] for line in done.stdout.splitlines()]
    assert topics[:3] == ["python", "tensorflow", "keras"]
    findings = json.loads(invoke("doctor", "--json").stdout)
    assert {finding["state"] for finding in findings} <= {"ok", "absent"}
    assert len(findings) == len(done.stdout.splitlines())


def test_what_a_configuration_lacks(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "study_name: s\ndataset: folder\ndata_dir: photos\nfeature_extractor: resnet50\n"
        "weights_grid: [imagenet, mine.weights.h5]\n"
    )
    done = invoke("doctor", "study.yaml")
    assert done.returncode == 2
    missing = [line.split(maxsplit=2)[2] for line in done.stdout.splitlines() if line.startswith("missing")]
    assert missing == [
        "photos is not there: set data_dir (see: imagematch data list)",
        "mine.weights.h5 is not there",
    ]
    (tmp_path / "photos").mkdir()
    (tmp_path / "mine.weights.h5").touch()
    assert invoke("doctor", "study.yaml").returncode == 0


def test_what_a_machine_lacks(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 10**9))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (tmp_path / "train.yaml").write_text(
        "experiment_name: e\ndataset: digits\nfeature_extractor: kerashub:dinov2_small\nimage_size: 224\n"
    )
    lines = {line.split()[1]: line for line in invoke("doctor", "train.yaml").stdout.splitlines()}
    assert lines["disk"].startswith("missing")
    assert lines["kerashub"] == lines["kerashub"].strip()
    assert "pip install 'imagematch[kerashub]'" in lines["kerashub"]
