"""Atomic writes, locks and digests."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imagematch.errors import ConfigError, StudyError
from imagematch.file_locks import BusyError, locked, remove_locked_dir
from imagematch.files import (
    checked_name,
    digest_bytes,
    digest_file,
    digest_json,
    recovered_dir,
    remove_leftovers,
    replacing,
    replacing_dir,
    write_json,
    write_text,
)


def test_replacing_leaves_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError), replacing(path) as temporary:
        temporary.write_text("half" + str(int("no number")))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_keeps_the_suffix_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with replacing(path) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("{}")
    assert path.read_text() == "{}"


def killed_while_writing(path: Path, age_s: float) -> Path:
    """What a writer that was killed has left so long ago."""
    process = multiprocessing.get_context("spawn").Process(target=_die_in, args=(path,))
    process.start()
    process.join()
    (left,) = path.parent.glob(f".tmp-*{path.suffix}")
    os.utime(left, (time.time() - age_s, time.time() - age_s))
    return left


def _die_in(path: Path) -> None:
    with replacing(path):
        os._exit(9)


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = (killed_while_writing(tmp_path / name, age) for name, age in (("a.npz", 90_000), ("a.json", 3_000)))
    foreign = tmp_path / "tmp-of-mine"
    foreign.touch()
    os.utime(foreign, (0, 0))
    remove_leftovers(tmp_path)
    assert (old.exists(), new.exists(), foreign.exists()) == (False, True, True)
    remove_leftovers(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot write") as caught:
        write_json(tmp_path / "file" / "a.json", {})
    assert "file" in caught.value.where


def test_what_a_killed_save_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """A kill between the renames and the removal of the old folder leaves both."""
    for name in ("model", ".model.old", ".model.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with replacing_dir(tmp_path / "model") as fresh:
        (fresh / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "file").read_text() == "new"


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    program = f"""
import resource, signal
from pathlib import Path
from imagematch.files import write_json
from imagematch.errors import StudyError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_json(Path({str(path)!r}), list(range(1000)))
except StudyError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.count("\n") == 1
    assert str(path) in run.stdout
    assert "free some space" in run.stdout
    assert json.loads(path.read_text()) == {"old": True}


def test_replacing_dir_swaps_whole_folders(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for text in ("first", "second"):
        with replacing_dir(folder) as fresh:
            (fresh / "a").write_text(text)
        assert (folder / "a").read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_replacing_dir_keeps_the_old_folder_when_the_writer_fails(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with replacing_dir(folder) as fresh:
        (fresh / "a").write_text("first")
    with pytest.raises(ValueError), replacing_dir(folder) as fresh:
        (fresh / "a").write_text("half" + str(int("no number")))
    assert (folder / "a").read_text() == "first"


def test_a_kill_between_the_two_renames_is_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "a").write_text("first")
    assert (recovered_dir(folder) / "a").read_text() == "first"


@pytest.mark.parametrize("name", [".", "/", "x" * 300])
def test_a_name_that_no_folder_has_is_given_back(name: str) -> None:
    assert recovered_dir(Path(name)) == Path(name)


def _hold(path: Path, ready: str) -> None:
    with locked(path):
        Path(ready).touch()
        time.sleep(60)


def test_a_lock_excludes_another_process_and_dies_with_it(tmp_path: Path) -> None:
    path, ready = tmp_path / "lock", tmp_path / "ready"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, str(ready)))
    process.start()
    until = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.02)
    with pytest.raises(BusyError), locked(path, wait=False):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()
    with locked(path, wait=False):
        pass


def test_shared_locks_stand_together_but_not_beside_an_exclusive_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, shared=True), locked(path, shared=True, wait=False), pytest.raises(BusyError):
        locked(path, wait=False).__enter__()


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("fcntl.flock", refuse)
    for wait in (True, False):
        with pytest.raises(StudyError, match=r"lock: cannot be locked: .*; use a disk that has file locks"):
            locked(tmp_path / "lock", wait=wait).__enter__()


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 1_000_000)
    assert digest_file(path) == digest_bytes(b"abc" * 1_000_000)
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


@pytest.mark.parametrize("name", ["a", "hpt_study-0", "A.b-c_1"])
def test_names_that_are_safe(name: str) -> None:
    assert checked_name(name, where="x") == name


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a b", "ä", "a\n", "-a", "a" * 101])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(ConfigError):
        checked_name(name, where="x")


READER = """
import sys
from pathlib import Path
from imagematch.files import recovered_dir
folder = Path(sys.argv[1])
print("reading", flush=True)
while True:
    recovered_dir(folder)
"""


def test_readers_never_disturb_a_folder_that_is_being_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        for number in range(300):
            with replacing_dir(folder) as fresh:
                (fresh / "number").write_text(str(number))
            assert (folder / "number").read_text() == str(number)
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def test_the_umask_decides_who_may_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_lock_that_was_removed_while_it_was_held_is_taken_anew(tmp_path: Path) -> None:
    """Whoever waited for the removed file would else hold a lock that nobody else sees."""
    folder = tmp_path / "work"
    lock, taken, done = folder / ".lock", threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with locked(lock):
            taken.set()
            done.wait(timeout=10)

    with locked(lock):
        (folder / "sub").mkdir()
        (folder / "sub" / "file").touch()
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        remove_locked_dir(folder, lock)
        assert not folder.exists()
    assert taken.wait(timeout=10)
    with pytest.raises(BusyError), locked(lock, wait=False):
        pass
    done.set()
    waiting.join()


def test_a_system_without_file_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (
        pytest.raises(StudyError, match="Linux and macOS are supported; on Windows use WSL"),
        locked(tmp_path / ".lock"),
    ):
        pass
