"""A network that did not come from this machine runs once in a process of its own before it runs in ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.forging import SIZE, Forged, small_network
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.errors import ModelError
from imagematch.extractors import SavedExtractor, choose_engine
from imagematch.extractors.engines import trial_run
from imagematch.extractors.engines.network_file import read_network

pytest.importorskip("openvino")
IMAGE = np.full((SIZE, SIZE, 3), 90, np.uint8)
CRASHING = """
import os, signal, sys
if "imagematch.limited_process" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imagematch" / "networks"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started."""
    commands, run = [], subprocess.run

    def counted(command: Any, **options: Any) -> Any:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr("imagematch.limited_process.subprocess.run", counted)
    return commands


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "small_cnn"
    return write_matcher(folder, extractor="small_cnn", image_size=SIZE, engine="openvino")


def saved(folder: Path, digest: str) -> SavedExtractor:
    return SavedExtractor("small_cnn", SIZE, 3, folder, "none", "0" * 32, digest)


def stranger(sound: Path, tmp_path: Path) -> SavedExtractor:
    forged = Forged(tmp_path / "mailed", sound)
    forged.put_network(*small_network(lambda values: values, tmp_path))
    return saved(forged.folder, forged.network.stem.removeprefix("network-"))


def test_a_stranger_s_network_is_tried_once(sound: Path, tmp_path: Path, cache: Path, started: list[Any]) -> None:
    network = stranger(sound, tmp_path)
    for _ in range(2):
        assert choose_engine(network, "openvino", "float32").open().run([IMAGE]).shape == (1, 3)
        assert len(started) == 1
    (mark,) = cache.iterdir()
    assert mark.stat().st_size == 0


def test_where_nothing_is_remembered_it_is_tried_each_time(
    sound: Path, tmp_path: Path, cache: Path, started: list[Any]
) -> None:
    network = stranger(sound, tmp_path)
    cache.parent.parent.write_text("no folder")
    for count in (1, 2):
        choose_engine(network, "openvino", "float32")
        assert len(started) == count


def test_what_this_machine_converted_is_not_tried(tmp_path: Path, cache: Path, started: list[Any]) -> None:
    folder = write_matcher(tmp_path / "own", extractor="small_cnn", image_size=SIZE, engine="openvino")
    ImageMatcher.load(folder)
    assert not started
    for mark in cache.iterdir():
        mark.unlink()
    ImageMatcher.load(folder)
    assert len(started) == 1


def test_a_crash_ends_another_process_and_is_one_line(
    sound: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stranger(sound, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with pytest.raises(ModelError, match="crashes the program that opens it") as caught:
        choose_engine(network, "openvino", "float32")
    assert len(str(caught.value).splitlines()) == 1
    assert not cache.exists(), "it is not remembered as one that runs"


def test_what_plainly_is_no_network_takes_no_process(
    sound: Path, tmp_path: Path, cache: Path, started: list[Any]
) -> None:
    forged = Forged(tmp_path / "mailed", sound)
    forged.put_network("<?xml version='1.0'?><net/>", b"")
    with pytest.raises(ModelError, match="is not a network that imagematch runs"):
        choose_engine(saved(forged.folder, forged.network.stem.removeprefix("network-")), "openvino", "float32")
    assert not started


def test_a_network_that_is_cut_while_it_runs_goes_on(sound: Path, tmp_path: Path, cache: Path) -> None:
    import openvino

    network = stranger(sound, tmp_path)
    core = openvino.Core()
    model = read_network(core, network.folder, str(network.network), image_size=SIZE, feature_dim=3)
    for path in network.folder.glob("network-*"):
        os.truncate(path, 0)
    found = core.compile_model(model, "CPU")(IMAGE[None])[0]
    assert found.shape == (1, 3)


def test_a_user_without_a_home_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is run under any number."""

    def no_home(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", no_home)
    trial_run.remember_network("0" * 32, image_size=8, feature_dim=8)
    assert not trial_run._mark("0" * 32, 8, 8).is_file()
