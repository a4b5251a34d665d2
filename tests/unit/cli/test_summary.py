"""What a finished run prints: the next command works as it is printed, whatever is on PATH."""

import sys
from pathlib import Path

import pytest

from imagematch.cli.options import own_command


def test_the_command_on_the_search_path_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert own_command() == "imagematch"


def test_without_it_the_folder_is_named_from_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert own_command() == ".venv/bin/imagematch"
    monkeypatch.chdir("/")
    assert own_command() == str(tmp_path / ".venv" / "bin" / "imagematch").lstrip("/")


def test_another_installation_on_the_search_path_is_not_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "imagematch"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert own_command() == str(Path(sys.executable).parent / "imagematch")
