"""Files that may come from anywhere: what is opened and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagematch.reading import MB, RefusedFileError, check_file, open_file, read_file


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert read_file(path, max_bytes=3) == b"abc"
    with open_file(path, max_bytes=3) as file:
        assert file.read() == b"abc"


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "a", max_bytes=3)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcd")
    with pytest.raises(RefusedFileError, match="4 bytes, and 3 are the most"):
        read_file(tmp_path / "a", max_bytes=3)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(RefusedFileError, match="is not a file"):
        check_file(path, max_bytes=MB)


def test_an_endless_file_without_a_size_is_refused() -> None:
    with pytest.raises(RefusedFileError, match="more than 100 bytes"):
        read_file(Path("/proc/self/smaps"), max_bytes=100)


@pytest.mark.parametrize("name", ["a\0b", "half of a pair \ud800"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_name_that_is_no_path_is_refused(tmp_path: Path, name: str, inside: bool) -> None:
    with pytest.raises(RefusedFileError, match="is not a path"):
        check_file(tmp_path / name, max_bytes=MB, inside=tmp_path if inside else None)


def test_links_stay_inside_their_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "own").write_bytes(b"own")
    (inside / "good").symlink_to("own")
    (inside / "bad").symlink_to(outside)
    assert read_file(inside / "good", max_bytes=10, inside=inside) == b"own"
    with pytest.raises(RefusedFileError, match="leads out of its folder"):
        read_file(inside / "bad", max_bytes=10, inside=inside)
    assert read_file(inside / "bad", max_bytes=10) == b"secret"


def test_a_folder_that_is_itself_a_link_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real")
    assert read_file(tmp_path / "link" / "a", max_bytes=3, inside=tmp_path / "link") == b"abc"


def test_holes_are_refused_where_content_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(b"head")
        file.truncate(100 * MB)
    check_file(path, max_bytes=100 * MB)
    with pytest.raises(RefusedFileError, match="mostly holes"):
        check_file(path, max_bytes=100 * MB, dense=True)
