"""Archives that come over the network: sound ones are unpacked, hostile ones leave nothing behind."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagematch.data.unpacking import unpack
from imagematch.errors import DataError, StudyError

TarMember = tuple[str, bytes | None, bytes]
"""Name, content (None: no plain file), and the tar type."""


def make_tar(path: Path, *members: TarMember, links_to: str = "/etc/passwd", mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o4777
            info.linkname = links_to if content is None else ""
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return path


def make_zip(path: Path, *members: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Unpacks what must not be unpacked: nothing is left; returns what is told."""

    def unpack_it(archive: Path, limit: int = 10_000, members: int = 100) -> str:
        before = files_below(tmp_path)
        with pytest.raises(DataError) as caught:
            unpack(archive, tmp_path / "inner" / "target", limit=limit, members=members)
        assert [path for path in files_below(tmp_path) if path not in before] == ["inner"]
        (tmp_path / "inner").rmdir()
        assert str(archive) in str(caught.value)
        return str(caught.value)

    return unpack_it


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_sound_tar(tmp_path: Path, mode: str) -> None:
    members = (
        ("./set", None, tarfile.DIRTYPE),
        ("set/a.txt", b"one", tarfile.REGTYPE),
        ("set/ü/b", b"", tarfile.REGTYPE),
    )
    archive = make_tar(tmp_path / "a.tar", *members, mode=mode)
    assert unpack(archive, tmp_path / "out", limit=3, members=3) == 2
    assert files_below(tmp_path / "out") == ["set", "set/a.txt", "set/ü", "set/ü/b"]
    assert (tmp_path / "out" / "set" / "a.txt").read_bytes() == b"one"
    assert not (tmp_path / "out" / "set" / "a.txt").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def test_a_sound_zip(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", ("set/", b""), ("set/a.txt", b"one"), ("set/deep/er/b", b"x" * 5000))
    assert unpack(archive, tmp_path / "out", limit=5003, members=3) == 2
    assert files_below(tmp_path / "out") == ["set", "set/a.txt", "set/deep", "set/deep/er", "set/deep/er/b"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "a//b", "..", "c:/evil", "a\\..\\evil", "x" * 300, "a/\0b"]
)
def test_names_that_lead_outside(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    sound = ("a/fine", b"fine", tarfile.REGTYPE)
    if "\0" not in name:  # a tar name ends there
        told = refused(make_tar(tmp_path / "a.tgz", sound, (name, b"evil", tarfile.REGTYPE)))
        assert "is refused: the name" in told
    archive = make_zip(tmp_path / "a.zip", ("a/fine", b"fine"), ("PLACE", b"evil"))
    if len(name) == len("PLACE"):
        archive.write_bytes(archive.read_bytes().replace(b"PLACE", name.encode()))
    else:
        make_zip(archive, ("a/fine", b"fine"), (name, b"evil"))
    if "\0" not in name and "\\" not in name:  # zipfile cuts and turns those itself
        assert "is refused: the name" in refused(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path, refused: Callable[..., str]) -> None:
    for target in ("/etc", "../..", "fine"):
        archive = make_tar(
            tmp_path / "a.tgz",
            ("fine", b"fine", tarfile.REGTYPE),
            ("door", None, kind),
            ("door/evil", b"evil", tarfile.REGTYPE),
            links_to=target,
        )
        assert "'door' is a link or no plain file" in refused(archive)


def test_links_in_a_zip(tmp_path: Path, refused: Callable[..., str]) -> None:
    archive = make_zip(tmp_path / "a.zip", ("door", b"/etc"), mode=stat.S_IFLNK | 0o777)
    assert "'door' is a link" in refused(archive)


def test_bombs(tmp_path: Path, refused: Callable[..., str]) -> None:
    zeros = make_zip(tmp_path / "a.zip", ("zeros", bytes(5_000_000)))
    assert zeros.stat().st_size < 10_000
    assert "more than 10,000 bytes" in refused(zeros)
    assert "more than 10,000 bytes" in refused(make_zip(tmp_path / "b.zip", *((f"{n}", bytes(4000)) for n in range(9))))
    assert "more than 3 files" in refused(make_zip(tmp_path / "c.zip", *((f"{n}", b"") for n in range(9))), members=3)
    tar = make_tar(tmp_path / "d.tgz", ("zeros", bytes(5_000_000), tarfile.REGTYPE))
    assert "more than 10,000 bytes" in refused(tar)


def test_a_zip_that_lies_about_its_size(tmp_path: Path, refused: Callable[..., str]) -> None:
    archive = make_zip(tmp_path / "a.zip", ("zeros", bytes(5_000_000)))
    said = (5_000_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(said, (100).to_bytes(4, "little")))
    refused(archive)


def test_repeated_and_damaged(tmp_path: Path, refused: Callable[..., str]) -> None:
    twice = make_tar(tmp_path / "a.tgz", ("a", b"1", tarfile.REGTYPE), ("a", b"2", tarfile.REGTYPE))
    assert "'a' is in it twice" in refused(twice)
    whole = make_tar(tmp_path / "b.tgz", *((f"{n}", bytes(range(256)) * 9, tarfile.REGTYPE) for n in range(4)))
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole.read_bytes()[:-60])
    assert "cannot be unpacked" in refused(cut)
    text = tmp_path / "page.tgz"
    text.write_text("<html>not found</html>")
    assert "cannot be unpacked" in refused(text)
    sound = make_zip(tmp_path / "c.zip", ("a", bytes(range(256)) * 20)).read_bytes()
    (tmp_path / "c.zip").write_bytes(sound[:50] + bytes([sound[50] ^ 255]) + sound[51:])
    assert "cannot be unpacked" in refused(tmp_path / "c.zip")


def test_a_target_that_cannot_be_made(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", ("a", b""))
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="file/target: cannot write"):
        unpack(archive, tmp_path / "file" / "target", limit=1, members=1)
