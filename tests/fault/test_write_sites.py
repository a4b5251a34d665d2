"""A full disk, wherever something is written: one line with the path and the room needed, and nothing is lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT, unreadable
from tests.fault.full_disks import contents, no_room_beyond
from tests.fault.write_sites import WRITES

from imagematch.disk_space import check_room, shown_bytes
from imagematch.errors import ImagematchError, StudyError
from imagematch.files import write_error

KEEPS_ITS_PART = {"download", "run log"}
"""Files that are appended to: what came before the disk was full stays."""


@pytest.mark.parametrize("name", sorted(WRITES))
def test_one_line_and_nothing_is_lost(name: str, tmp_path: Path) -> None:
    write = WRITES[name](tmp_path)
    before = contents(tmp_path)
    with no_room_beyond(64), pytest.raises(StudyError) as caught:
        write()
    told = str(caught.value)
    assert "\n" not in told
    assert str(tmp_path) in told
    assert "are free" in told
    assert "free some space" in told
    if name not in KEEPS_ITS_PART:
        assert {path: data for path, data in contents(tmp_path).items() if data} == {
            path: data for path, data in before.items() if data
        }


@pytest.mark.parametrize("name", sorted(set(WRITES) - {"gallery", "upgrade", "download", "dashboard"}))
def test_once_there_is_room_it_is_written(name: str, tmp_path: Path) -> None:
    write = WRITES[name](tmp_path)
    with no_room_beyond(64), pytest.raises(StudyError):
        write()
    before = contents(tmp_path)
    write()
    assert name == "features, copied" or contents(tmp_path) != before


@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_folder_that_is_read_only(name: str, tmp_path: Path) -> None:
    folder, first = tmp_path / "output", tmp_path / "first"
    folder.mkdir()
    first.mkdir()
    if name not in ("gallery", "upgrade", "download"):
        WRITES[name](first)()  # what it imports late is not to be looked for without the rights to
    write = WRITES[name](folder)
    before = contents(folder)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unreadable(folder, 0o555), pytest.raises(StudyError) as caught:
        write()
    told = str(caught.value)
    assert "\n" not in told
    assert str(folder) in told
    assert "Permission denied; check the folder and its permissions" in told
    assert contents(folder) == before


@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_folder_that_has_vanished(name: str, tmp_path: Path) -> None:
    """It is made again, or named in one line."""
    folder = tmp_path / "output"
    folder.mkdir()
    write = WRITES[name](folder)
    shutil.rmtree(folder)
    told = ""
    try:
        write()
    except ImagematchError as error:
        told = str(error)
    assert folder.exists() or (str(folder) in told and "\n" not in told)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1001, "1.1 kB"), (25_000_000, "25.0 MB"), (2 * 10**13, "20,000.0 GB")],
)
def test_sizes_are_rounded_up(count: int, text: str) -> None:
    assert shown_bytes(count) == text


def test_the_room_that_is_needed_is_told_before_the_work(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "there", 1)
    with pytest.raises(StudyError, match=r"the disk is too full \(needs at least 1,000,000\.0 GB, .* are free\)"):
        check_room(tmp_path / "not" / "there", 10**15)


def test_a_folder_that_may_not_be_written_is_no_full_disk(tmp_path: Path) -> None:
    told = str(write_error(tmp_path, OSError(errno.EROFS, os.strerror(errno.EROFS)), needed=10))
    assert told == f"{tmp_path}: cannot write: Read-only file system; check the folder and its permissions"


@pytest.mark.parametrize("command", ["train", "study"])
def test_two_gigabytes_of_address_space_end_in_one_line(command: str, tmp_path: Path) -> None:
    """With so much TensorFlow cannot be loaded, or waits for ever for threads that it could not start."""
    common = "dataset: digits\nfeature_extractor: pixels\nimage_size: 8\nepochs: 1\n"
    (tmp_path / "train.yaml").write_text(f"experiment_name: a\n{common}")
    (tmp_path / "study.yaml").write_text(f"study_name: a\nn_trials: 1\nembedding_dim_grid: [8]\n{common}")
    script = {"train": ["train.py", "--config"], "study": ["hpt.py", "--hpt-config-filepath"]}[command]
    done = subprocess.run(
        [sys.executable, str(ROOT / script[0]), script[1], f"{command}.yaml"],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "ulimit -v" in done.stderr
