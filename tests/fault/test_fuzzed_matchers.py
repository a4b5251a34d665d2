"""Matchers changed at random: `matcher.json`, the weights' header, the network. Seconds here, minutes in a soak."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import ROOT
from tests.fault.fuzzing import JSON
from tests.fault.test_hostile_matchers import opened
from tests.forging import small_network
from tests.unit.extractors.test_network_file import PLAIN
from tests.unit.matching.conftest import write_matcher

from imagematch.errors import ModelError
from imagematch.matching.card_file import sealed
from imagematch.tensors import TensorSpec, read_tensors, write_tensors

IMAGE = np.full((8, 8, 3), 9, np.uint8)
SOAK_S = 240
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = settings(QUICK, max_examples=20_000)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container in a JSON value, with each of its keys."""
    if not isinstance(node, dict | list):
        return []
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    return [*((node, key) for key in keys), *(place for key in keys for place in places(node[key]))]


def check_card(folder: Path, data: st.DataObject) -> None:
    path = folder / "matcher.json"
    sound = path.read_text()
    try:
        card = json.loads(sound)
        for _ in range(data.draw(st.integers(1, 3))):
            node, key = data.draw(st.sampled_from(places(card)))
            what = data.draw(st.sampled_from(["put", "put", "put", "remove", "add"]))
            if what == "remove":
                del node[key]
            elif what == "add" and isinstance(node, dict):
                node[data.draw(st.text(max_size=8))] = data.draw(JSON)
            else:
                node[key] = data.draw(JSON)
        try:
            path.write_text(json.dumps(sealed(card)))
        except ValueError:  # a NaN cannot be sealed
            path.write_text(json.dumps(card))
        match, line = opened(folder, IMAGE)
        assert line.isprintable()
        if match is not None:
            assert 0 <= match.distance <= 2
            json.dumps([match.distance, match.threshold, match.probability], allow_nan=False)
    finally:
        path.write_text(sound)


def check_header(folder: Path, data: st.DataObject) -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.int32)}
    specs = {name: TensorSpec(array.shape, str(array.dtype)) for name, array in tensors.items()}
    path = folder / "fuzzed.safetensors"
    write_tensors(path, tensors)
    sound = path.read_bytes()
    length = int.from_bytes(sound[:8], "little")
    place = data.draw(st.integers(0, 8 + length - 1) | st.just(0))
    end = data.draw(st.integers(place, len(sound)))
    content = sound[:place] + data.draw(st.binary(max_size=12)) + sound[end:]
    path.write_bytes(content)
    if content[: 8 + length] == sound[: 8 + length] and len(content) == len(sound):
        assert set(read_tensors(path, specs)) == {"a", "b"}
    else:
        with pytest.raises(ModelError, match="does not hold the weights"):
            read_tensors(path, specs)


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_matcher(tmp_path_factory.mktemp("fuzzed") / "small")


@QUICK
@given(st.data())
def test_any_card(matcher: Path, data: st.DataObject) -> None:
    check_card(matcher, data)


@QUICK
@given(st.data())
def test_any_header(tmp_path: Path, data: st.DataObject) -> None:
    check_header(tmp_path, data)


@pytest.mark.soak
@LONG
@given(st.data())
def test_any_card_for_minutes(matcher: Path, data: st.DataObject) -> None:
    check_card(matcher, data)


@pytest.mark.soak
@LONG
@given(st.data())
def test_any_header_for_minutes(tmp_path: Path, data: st.DataObject) -> None:
    check_header(tmp_path, data)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small sound networks, of which each has another operation."""
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("networks")
    for number, operation in enumerate(PLAIN.values()):
        description, weights = small_network(operation, folder)
        (folder / f"{number}.xml").write_text(description)
        (folder / f"{number}.bin").write_bytes(weights)
    return folder


def fuzzed(networks: Path, first: int, count: int) -> str:
    """What came of so many seeds, tried in a process of their own: OpenVINO's own crashes end it."""
    command = [sys.executable, "-m", "tests.fault.network_fuzzing", networks, str(first), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    *_, last = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"seed or figures: {last}; ended with {done.returncode}: {done.stderr[-500:]}"
    return last


def test_any_network(networks: Path) -> None:
    assert "ran" in fuzzed(networks, 0, 200)


@pytest.mark.soak
def test_any_network_for_minutes(networks: Path) -> None:
    end, seed = time.monotonic() + SOAK_S, int(time.time())
    while time.monotonic() < end:
        print(f"networks from seed {seed}: {fuzzed(networks, seed, 500)}")
        seed += 500
