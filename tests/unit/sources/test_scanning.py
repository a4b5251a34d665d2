"""Finding image files: order, links, hidden and unreadable folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagematch.errors import DataError
from imagematch.sources import MISSING, ImageRow, image_files


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def paths(root: Path) -> list[str]:
    return [file.path for file in image_files(root)]


def test_images_only_sorted_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in (
        "b/1.jpg",
        "a/2.PNG",
        "a/1.JPEG",
        "a/b/1.webp",
        "a/notes.txt",
        "a/.x.jpg",
        ".git/1.jpg",
        "a/Thumbs.db",
    ):
        touch(tmp_path / name)
    touch(tmp_path / "__MACOSX" / "1.jpg")
    assert paths(tmp_path) == ["a/1.JPEG", "a/2.PNG", "a/b/1.webp", "b/1.jpg"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    status = (tmp_path / "a.png").stat()
    assert image_files(tmp_path) == [ImageRow("a.png", size=status.st_size, mtime_ns=status.st_mtime_ns)]


def test_link_loops_end_and_folders_are_found_once_under_their_real_name(tmp_path: Path) -> None:
    touch(tmp_path / "root" / "b" / "1.png")
    touch(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "root" / "b" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "root" / "b")
    (tmp_path / "root" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    assert paths(tmp_path / "root") == ["b/1.png", "c/2.png"]


def test_many_mutual_links_take_no_time(tmp_path: Path) -> None:
    folders = [tmp_path / f"f{number}" for number in range(12)]
    for folder in folders:
        touch(folder / "1.png")
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    assert len(paths(tmp_path)) == 12


def test_broken_and_self_links_are_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    assert [(file.path, file.size) for file in image_files(tmp_path)] == [("a.png", MISSING), ("b.png", MISSING)]


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    touch(tmp_path / name)
    assert paths(tmp_path) == [name]


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "secret" / "1.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:  # permissions do not stop root, whom tests may run as
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied; check the folder") as caught:
        image_files(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "a" / "secret"))
