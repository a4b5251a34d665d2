"""A process with limits: errors come back in their words, and crashes, memory and time without end as one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imagematch.errors import ModelError
from imagematch.limited_process import run_limited
from imagematch.reading import GB

PROGRAM = """
import ctypes, os, sys, time
from imagematch.errors import DataError, ModelError

def main(what, *rest):
    print("a library prints")
    os.write(1, b"in C, too")
    if what == "refused":
        raise ModelError("is not one", where="here", do="do that")
    if what == "data":
        raise DataError("is none", where="there")
    if what == "crash":
        ctypes.string_at(0)
    if what == "memory":
        bytearray(3 << 30)
    if what == "processor":
        while True:
            pass
    if what == "write":
        with open(rest[0], "wb") as file:
            file.write(bytes(4096))
    if what == "exception":
        raise ValueError("odd")
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tried_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return tmp_path


def tried(*arguments: str, where: Path = Path("file"), **limits: int) -> None:
    given = {"memory_bytes": 2 * GB, "time_s": 1, "where": where, "do": "leave it", **limits}
    run_limited("tried_program:main", *arguments, **given)


def test_what_ends_well_says_nothing() -> None:
    tried("well")


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("refused", ModelError("is not one", where="here", do="do that")),
        ("data", ModelError("is none", where="there")),
    ],
)
def test_errors_come_back_in_their_own_words(what: str, error: ModelError) -> None:
    with pytest.raises(ModelError) as caught:
        tried(what)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize("what", ["crash", "memory", "processor", "exception", "write"])
def test_crashes_and_limits_are_one_line(tmp_path: Path, what: str) -> None:
    says = "crashes the program that opens it, or takes it more than 2 GB or 1 s"
    with pytest.raises(ModelError, match=says) as caught:
        tried(what, str(tmp_path / "written"))
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) not in str(caught.value)


def test_it_may_write_what_it_is_allowed(tmp_path: Path) -> None:
    tried("write", str(tmp_path / "written"), writes_bytes=4096)
    assert (tmp_path / "written").stat().st_size == 4096


def test_waiting_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr("imagematch.limited_process.subprocess.run", stopped)
    with pytest.raises(ModelError, match="takes it more than 2 GB or 1 s"):
        tried("well")
