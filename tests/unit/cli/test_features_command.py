"""`imagematch features`: what it prints and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.conftest import Invoke

from imagematch.cli.main import app
from imagematch.cli.running import run
from imagematch.extractors import make_extractor
from imagematch.features import FeatureStore

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """The store of the test's folder: three pictures, and a converted network of 1.5 MB."""
    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(feature_extractor="pixels", weights="random", image_size=8, trainable=False, seed=0)
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    dataset = SimpleNamespace(digests=np.array(list("abc")), pixels=lambda row, _size, _framing=None: pictures[row])
    store = FeatureStore(Path("exp/features"))
    store.features(dataset, make_extractor(settings))
    (store.networks / "digest").mkdir(parents=True)
    (store.networks / "digest" / "network.bin").write_bytes(bytes(1_500_000))
    return store


@pytest.fixture
def command(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command without a terminal; returns exit code, output and errors."""
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            run(app, ["features", *arguments])
        printed = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, printed.out, printed.err

    return run_it


def test_list_counts_the_converted_networks(command: Command) -> None:
    code, out, _ = command("list")
    assert code == 0
    entry, networks, total = out.splitlines()
    assert "pixels 8 px float32  3 images" in entry
    assert networks == "networks  converted for OpenVINO  1.5 MB"
    assert total == "1 entries, 1.5 MB in exp/features"


def test_verify_tells_of_damage(command: Command, store: FeatureStore) -> None:
    assert command("verify")[:1] == (0,)
    (rows,) = store.root.glob("*/rows.bin")
    rows.write_bytes(bytes(rows.stat().st_size)[:-1] + b"x")
    code, out, err = command("verify")
    assert (code, "3 damaged" in out) == (4, True)
    assert "3 images have damaged features; what is damaged will be computed again" in err


def test_verify_tells_of_a_damaged_index_and_of_a_block_that_was_cut_off(command: Command, store: FeatureStore) -> None:
    (index,) = store.root.glob("*/index.bin")
    whole = index.read_bytes()
    index.write_bytes(whole[:30])
    code, out, _ = command("verify")
    assert (code, "sound (3 rows at the end belong to a block that was cut off" in out) == (0, True)
    index.write_bytes(whole[:30] + b"x" + whole[31:])
    code, out, err = command("verify")
    assert (code, "bytes of its index are damaged" in out) == (4, True)
    assert "1 of 1 entries have a damaged index or description; what is damaged will be computed again" in err


def test_clear_without_a_terminal_wants_to_be_told(command: Command, store: FeatureStore) -> None:
    code, _, err = command("clear")
    assert (code, err) == (2, "error: will not remove everything from exp/features without being told to; give --yes\n")
    assert list(store.root.glob("*/rows.bin"))
    assert command("clear", "--yes")[0] == 0
    assert not list(store.root.glob("*/rows.bin"))
    assert not store.networks.exists()


@pytest.mark.usefixtures("store")
def test_both_looks_as_json(invoke: Invoke) -> None:
    listed, verified = (json.loads(invoke("features", name, "--json").stdout) for name in ("list", "verify"))
    assert listed["networks_bytes"] == 1_500_000
    (entry,) = listed["entries"]
    assert (entry["extractor"], entry["images"], entry["damaged_images"]) == ("pixels", 3, None)
    assert verified["entries"] == [{**entry, "damaged_images": 0}]
