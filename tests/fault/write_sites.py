"""Every kind of file that is written, each as a function that prepares a folder and returns the writing itself."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
from PIL import Image

Write = Callable[[], object]
WRITES: dict[str, Callable[[Path], Write]] = {}
"""What is written -> the preparation."""


def site(name: str) -> Callable[[Callable[[Path], Write]], Callable[[Path], Write]]:
    def register(prepare: Callable[[Path], Write]) -> Callable[[Path], Write]:
        WRITES[name] = prepare
        return prepare

    return register


@site("any file of ours")
def _json(folder: Path) -> Write:
    from imagematch.files import write_json

    write_json(folder / "values.json", {"old": True})
    return lambda: write_json(folder / "values.json", list(range(1000)))


@site("run log")
def _log(folder: Path) -> Write:
    from imagematch.events import RunLog

    return lambda: RunLog(folder / "run.jsonl").event("told", "a message", numbers=list(range(1000)))


@site("features")
def _features(folder: Path) -> Write:
    from imagematch.features.entry import FeatureEntry

    entry = FeatureEntry(folder, {"extractor": "pixels", "feature_dim": 64, "dtype": "float32", "created": ""})
    entry.prepare()
    return lambda: entry.add(bytes(16 * 100), np.ones((100, 64), np.float32))


@site("features, their index")
def _features_index(folder: Path) -> Write:
    from imagematch.features.entry_index import RowBlock, append_block, write_blocks

    block = RowBlock(0, 1000, 0, bytes(16 * 1000))
    write_blocks(folder / "index.bin", [])
    return lambda: append_block(folder / "index.bin", block)


@site("features, copied")
def _features_copied(folder: Path) -> Write:
    from imagematch.features import arrays

    rows = arrays.ReorderedRows(np.ones((100, 64), np.float32), np.arange(100)[::-1], folder)

    def copied() -> None:
        with patch.object(arrays, "_IN_MEMORY_BYTES", 1000), patch.object(arrays, "_MOST_IN_MEMORY_BYTES", 1000):
            np.asarray(rows)

    return copied


@site("table of images")
def _manifest(folder: Path) -> Write:
    from imagematch.data.table_cache import save_table

    return lambda: save_table(folder / "digits.json", {"version": 1}, {"path": ["a"] * 1000})


@site("checkpoint")
def _checkpoint(folder: Path) -> Write:
    from imagematch.training.checkpoint import Checkpoint, write_checkpoint

    checkpoint = Checkpoint("identity", [np.ones((100, 64), np.float32)], [], [])
    return lambda: write_checkpoint(folder / "state.npz", checkpoint)


@site("weights")
def _weights(folder: Path) -> Write:
    from imagematch.files import replacing_dir
    from imagematch.tensors import write_tensors

    def write() -> None:
        with replacing_dir(folder / "matcher") as fresh:
            write_tensors(fresh / "head.safetensors", {"kernel": np.ones((100, 64), np.float32)})

    return write


@site("index")
def _index(folder: Path) -> Write:
    from imagematch.retrieval.saved_index import IndexedImage, SavedIndex

    index = SavedIndex.create("flat", "euclidean", model="model", space="embedding", dim=64)
    index.add([IndexedImage(str(row), f"{row:032x}") for row in range(100)], np.ones((100, 64), np.float32))
    return lambda: index.save(folder / "index")


@site("gallery")
def _gallery(folder: Path) -> Write:
    from imagematch.retrieval.gallery_store import GalleryFacts
    from imagematch.retrieval.sqlite_store import SqliteStore

    return lambda: SqliteStore.create(str(folder / "gallery"), GalleryFacts("model", "name", 64, 0)).close()


@site("table of neighbours")
def _csv(folder: Path) -> Write:
    import pandas as pd

    from imagematch.reporting import write_csv

    return lambda: write_csv(folder / "neighbours.csv", pd.DataFrame({"path": ["a"] * 1000}))


@site("page")
def _page(folder: Path) -> Write:
    from imagematch.reporting.html import Page

    return lambda: Page("title", "report").write(folder / "report.html")


@site("embedding projector")
def _projector(folder: Path) -> Write:
    from imagematch.reporting.projector import write_projector

    return lambda: write_projector(folder, np.ones((100, 64)), np.zeros(100, int), ["a"])


@site("contact sheet")
def _sheet(folder: Path) -> Write:
    from imagematch.files import replacing

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))

    def write() -> None:
        with replacing(folder / "sheet.png") as temporary:
            noise.save(temporary, "PNG")

    return write


@site("unpacking")
def _unpacking(folder: Path) -> Write:
    from imagematch.data.unpacking import unpack

    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        archive.writestr("set/image", bytes(10_000))
    return lambda: unpack(folder / "set.zip", folder / "set", limit=20_000, members=10)


@site("download")
def _download(folder: Path) -> Write:
    """What came of it stays, to go on from there."""
    from imagematch.data import fetching
    from imagematch.events import SILENT

    archive: Any = SimpleNamespace(name="set", size=10_000, url="https://example.org/set.zip", folder="set")
    answer = MagicMock(status=200)
    answer.read.side_effect = [bytes(10_000), b""]

    def write() -> None:
        with patch.object(fetching, "_opened", lambda *_: answer), patch.object(fetching, "_check_length"):
            fetching._fetch_one(archive, folder, SILENT, 0)

    return write


@site("dashboard")
def _dashboard(folder: Path) -> Write:
    import optuna

    from imagematch.config import parse_train
    from imagematch.tuning.dashboard import store_artifacts

    settings = parse_train({"experiment_name": "a" * 90, "dataset": "digits", "feature_extractor": "pixels"})
    trial = optuna.create_study().ask()
    return lambda: store_artifacts(trial, settings, folder / "history.json", folder / "artifacts")


@site("upgrade")
def _upgrade(folder: Path) -> Write:
    from imagematch.matching import upgrade

    old = folder / "old"
    old.mkdir()
    (old / "metrics.json").write_text(json.dumps(list(range(1000))))

    def write_anew(_function: str, _old: str, new: str, **_limits: Any) -> None:
        Path(new).mkdir()

    def write() -> None:
        with patch.object(upgrade, "run_limited", write_anew), patch.object(upgrade, "ImageMatcher"):
            upgrade.upgrade_matcher(old)

    return write
