"""A feature store, a manifest or an archive that somebody sent: damage at most, never a hang or another's file."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fault.hostile import NO_FILES, put, refusal

from imagematch.data.manifest import _parsed as facts_of_table
from imagematch.data.manifest import distrust
from imagematch.data.near_duplicates import _cached as load_fingerprints
from imagematch.data.table_cache import load_table, save_table
from imagematch.data.unpacking import unpack
from imagematch.errors import DataError, StudyError
from imagematch.events import SILENT
from imagematch.features import verify_features
from imagematch.features.entry import FeatureEntry, entry_name, read_facts
from imagematch.features.entry_index import _HEADER, RowBlock, read_index, write_blocks

MB = 1 << 20
FACTS: dict[str, Any] = {
    "format": 1,
    "extractor": "pixels",
    "image_size": 8,
    "feature_dim": 4,
    "dtype": "float32",
    "precision": "float32",
    "created": "2026-01-01",
}


def entry_at(root: Path) -> FeatureEntry:
    entry = FeatureEntry(root / entry_name(FACTS), FACTS)
    entry.prepare()
    entry.add(b"x" * 32, np.ones((2, 4)))
    return entry


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["entry.json", "index.bin", "rows.bin"])
def test_a_part_of_an_entry_that_is_no_file(tmp_path: Path, name: str, kind: str) -> None:
    entry = entry_at(tmp_path)
    put(kind, entry.folder / name)
    if name == "index.bin":  # what it holds cannot be known
        with pytest.raises(StudyError, match="cannot read"):
            verify_features(tmp_path)
    else:
        (report,) = verify_features(tmp_path)
        assert report.damage or report.damaged_images
    if name == "rows.bin" and kind != "sparse":
        with pytest.raises(StudyError):
            entry.array(np.arange(2))


@pytest.mark.parametrize("name", ["index.bin", "rows.bin"])
def test_a_link_is_not_written_through(tmp_path: Path, name: str) -> None:
    entry = entry_at(tmp_path / "store")
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    (entry.folder / name).unlink()
    (entry.folder / name).symlink_to(victim)
    with pytest.raises(StudyError):
        entry.add(b"y" * 32, np.zeros((2, 4)))
    assert victim.read_bytes() == b""


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "O"},
        {"dtype": "float32,float32"},
        {"dtype": ["x"]},
        {"feature_dim": -1},
        {"feature_dim": 10**30},
        {"feature_dim": "4"},
        {"feature_dim": True},
        {"image_size": []},
        {"precision": {}},
        {"extractor": 3},
        {"format": "1"},
        {"created": None},
    ],
)
def test_facts_of_another_kind(tmp_path: Path, changed: dict[str, Any]) -> None:
    facts = {**FACTS, **changed}
    folder = tmp_path / entry_name(facts)
    folder.mkdir()
    (folder / "entry.json").write_text(json.dumps(facts))
    (folder / "rows.bin").write_bytes(bytes(100))
    assert read_facts(folder) is None
    (report,) = verify_features(tmp_path)
    assert report.damage


def test_deep_facts(tmp_path: Path) -> None:
    (tmp_path / "entry.json").write_text("[" * 5000)
    assert read_facts(tmp_path) is None


@pytest.mark.parametrize(
    "data",
    [
        b"IMF1" * (2 * MB),
        _HEADER.pack(b"IMF1", 0, 1 << 18, 0, 0) * (300_000),
        _HEADER.pack(b"IMF1", 0, 0, 0, 0) * (300_000),
        RowBlock(1 << 62, 1, 0, bytes(16)).record(),
    ],
)
def test_an_index_of_beginnings_takes_no_time(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "index.bin").write_bytes(data)
    index = read_index(tmp_path / "index.bin")
    assert not index.blocks
    assert index.damaged in (0, len(data)), "all of it, or what may be a record that was cut off"


def test_a_damaged_record_does_not_hide_the_next(tmp_path: Path) -> None:
    blocks = [RowBlock(row, 1, 7, struct.pack("<4I", row, 1, 2, 3)) for row in range(50)]
    write_blocks(tmp_path / "index.bin", blocks)
    data = bytearray((tmp_path / "index.bin").read_bytes())
    data[100] ^= 1
    (tmp_path / "index.bin").write_bytes(data)
    assert len(read_index(tmp_path / "index.bin").blocks) == 49


COLUMNS = {
    "path": ["a.png"],
    "digest": ["0"],
    "width": [1],
    "height": [1],
    "mode": ["L"],
    "reason": [""],
    "low": [0],
    "high": [255],
    "size": [1],
    "mtime_ns": [1],
    "box": [None],
    "more_frames": [False],
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_manifest_that_is_no_file_is_made_again(tmp_path: Path, kind: str) -> None:
    put(kind, tmp_path / "m.jsonl")
    assert load_table(tmp_path / "m.jsonl", {}, lambda columns: columns, SILENT) is None
    put(kind, tmp_path / "m.doubts")
    distrust(tmp_path / "m.jsonl", "a.png")
    assert not len(load_fingerprints(put(kind, tmp_path / "looks.npz"), SILENT).digests)


@pytest.mark.parametrize(
    "changed",
    [
        {"path": [3]},
        {"path": [["a"]]},
        {"digest": [None]},
        {"width": ["1"]},
        {"height": [1.5]},
        {"mtime_ns": [True]},
        {"box": [3]},
        {"box": [[1, 2, 3]]},
        {"box": [["a", 1, 2, 3]]},
        {"mode": []},
        {"reason": "x"},
        {"more_frames": [0]},
        {"size": None},
    ],
)
def test_a_manifest_of_another_kind_is_made_again(tmp_path: Path, changed: dict[str, Any]) -> None:
    save_table(tmp_path / "m.jsonl", {}, COLUMNS)
    assert load_table(tmp_path / "m.jsonl", {}, facts_of_table, SILENT)
    save_table(tmp_path / "m.jsonl", {}, {**COLUMNS, **changed})
    found = load_table(tmp_path / "m.jsonl", {}, facts_of_table, SILENT)
    assert found is None or (changed == {"reason": "x"} and found["a.png"].reason == "x")


@pytest.mark.parametrize("text", ["", "{}", "[]\n[]", "[" * 5000, '{"digest": 3}\n{}', "\n\n\n", "null\nnull"])
def test_a_manifest_of_no_form_is_made_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    assert load_table(tmp_path / "m.jsonl", {"version": 1}, facts_of_table, SILENT) is None


@pytest.mark.parametrize("kind", [*NO_FILES, "nothing"])
def test_an_archive_that_is_no_file(tmp_path: Path, kind: str) -> None:
    if kind != "nothing":
        put(kind, tmp_path / "a.tar")
    with pytest.raises(DataError) as caught:
        unpack(tmp_path / "a.tar", tmp_path / "target", limit=MB, members=10)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "target").exists()


def tar_of(path: Path, kind: bytes, size: int, *, times: int = 1, content: bytes = b"") -> None:
    """Headers of one kind, each followed by zeros; then a file."""
    with gzip.open(path, "wb", 1) as file:
        for _ in range(times):
            info = tarfile.TarInfo("x")
            info.type, info.size = kind, size
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.write(content.ljust(size, b"\0"))
            file.write(bytes(-size % 512))
        info = tarfile.TarInfo("file")
        info.size = 1
        file.write(info.tobuf() + b"x" + bytes(511) + bytes(1024))


UNPACK = (
    "from imagematch.data.unpacking import unpack\n"
    "use = lambda path: unpack(path, path.with_name('target'), limit=10_000_000, members=100)"
)


@pytest.mark.parametrize(
    ("kind", "size", "times"),
    [
        (tarfile.GNUTYPE_LONGNAME, 512 * MB, 1),
        (tarfile.GNUTYPE_LONGLINK, 512 * MB, 1),
        (tarfile.XHDTYPE, 512 * MB, 1),
        (tarfile.XGLTYPE, 512 * MB, 1),
        (tarfile.SOLARIS_XHDTYPE, 512 * MB, 1),
        (tarfile.XGLTYPE, 60_000, 900),
        (tarfile.GNUTYPE_LONGNAME, 60_000, 5000),
    ],
)
def test_headers_of_any_length_cost_little(tmp_path: Path, kind: bytes, size: int, times: int) -> None:
    tar_of(tmp_path / "a.tar.gz", kind, size, times=times)
    refusal(UNPACK, tmp_path / "a.tar.gz")
    assert not (tmp_path / "target").exists()


def test_files_with_holes_are_refused(tmp_path: Path) -> None:
    tar_of(tmp_path / "old.tar.gz", tarfile.GNUTYPE_SPARSE, 0)
    assert "holes" in refusal(UNPACK, tmp_path / "old.tar.gz")
    with tarfile.open(tmp_path / "new.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
        archive.addfile(info)
    assert "holes" in refusal(UNPACK, tmp_path / "new.tar")
