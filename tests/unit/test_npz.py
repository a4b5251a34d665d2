"""Zip and .npz files of bounded directories, and arrays that are what they say."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imagematch.npz import ShapeError, open_npz, open_zip
from imagematch.reading import RefusedFileError

MB = 1 << 20


def written(path: Path, name: str, header: dict[str, object], data: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name + ".npy", buffer.getvalue() + data)
    return path


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.zeros((0, 4), np.uint8)}
    arrays["d"] = np.asfortranarray(arrays["a"])
    np.savez(tmp_path / "a.npz", **arrays)
    with open_npz(tmp_path / "a.npz", max_bytes=MB) as file:
        assert file.names == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.read(name, "fUu"), array)
        with pytest.raises(KeyError):
            file.read("e")
        with pytest.raises(ValueError, match="holds"):
            file.read("b", "f")
        with pytest.raises(ShapeError, match=r"has the shape \(2, 3\), not \(3, 2\)"):
            file.read("a", shape=(3, 2))


def test_a_compressed_array_is_read_only_where_its_shape_is_known(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((1000, 1000)))
    with open_npz(tmp_path / "a.npz", max_bytes=MB) as file:
        assert file.read("a", shape=(1000, 1000)).shape == (1000, 1000)
        with pytest.raises(ValueError, match="compressed"):
            file.read("a")


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)},
        {"descr": "<f4", "fortran_order": False, "shape": (1 << 32, 1 << 32)},
        {"descr": "|O", "fortran_order": False, "shape": (1,)},
        {"descr": "<f4", "fortran_order": False, "shape": (3,)},
    ],
)
def test_an_array_that_is_not_there_is_not_read(tmp_path: Path, header: dict[str, object]) -> None:
    path = written(tmp_path / "a.npz", "a", header, bytes(8))
    with open_npz(path, max_bytes=MB) as file, pytest.raises(ValueError, match=r"not as long|holds object"):
        file.read("a", "fO")


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """The second version's header has a length of four bytes; numpy reads all of it before it looks."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 64 * MB) + bytes(64 * MB))
    with open_npz(tmp_path / "a.npz", max_bytes=MB) as file, pytest.raises(ValueError, match="another way"):
        file.read("a", shape=(1,))


def test_members_that_lie_over_each_other_are_counted_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(100_000))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        (info,) = archive.infolist()
        for number in range(9):
            other = zipfile.ZipInfo(f"a{number}.npy")
            for field in ("header_offset", "CRC", "compress_size", "file_size", "flag_bits"):
                setattr(other, field, getattr(info, field))
            archive.filelist.append(other)
        archive._didModify = True  # type: ignore[attr-defined]
    with open_npz(tmp_path / "a.npz", max_bytes=10 * MB) as file:
        file.read("a")
        with pytest.raises((ValueError, zipfile.BadZipFile)):
            sum(file.read(name).sum() for name in file.names[1:])


@pytest.mark.parametrize("comment", [b"", b"x" * 60_000])
def test_a_directory_of_many_members_is_not_read(tmp_path: Path, comment: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(2000):
            archive.writestr(str(number), b"")
        archive.comment = comment
    with (
        pytest.raises(RefusedFileError, match="more than 100 files"),
        open_zip(tmp_path / "a.zip", max_bytes=MB, members=100),
    ):
        pass
    with open_zip(tmp_path / "a.zip", max_bytes=MB, members=2000) as archive:
        assert len(archive.namelist()) == 2000


def test_a_directory_that_says_that_it_is_huge(tmp_path: Path) -> None:
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0, 0)
    (tmp_path / "a.zip").write_bytes(end64 + locator + end)
    with pytest.raises(RefusedFileError), open_zip(tmp_path / "a.zip", max_bytes=MB, members=10):
        pass


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"x" * 1000])
def test_what_is_no_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    try:
        with open_npz(tmp_path / "a.npz", max_bytes=MB) as file:
            assert file.names == []
    except zipfile.BadZipFile:
        pass


def packed(path: Path, header: str, kind: int = zipfile.ZIP_STORED) -> Path:
    """A file of one array `a` with this header, and four bytes of content."""
    text = header.encode() + b"\n"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(4))
    return path


@pytest.mark.parametrize(
    "header",
    [
        "",
        "(" * 9_000,
        "-" * 9_000 + "1",
        "1" + "+1j" * 3_000,
        "  {\n 'a'",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (",
        "'''",
        "\\",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999999)}",
        f"{{'descr': {'[(' * 80}'a', '<f4'{')]' * 80}, 'fortran_order': False, 'shape': (1,)}}",
    ],
)
def test_whatever_a_header_is_made_of_it_is_one_kind_of_error(tmp_path: Path, header: str) -> None:
    with open_npz(packed(tmp_path / "a.npz", header), max_bytes=MB) as file, pytest.raises((ValueError, EOFError)):
        file.read("a", "fV")


@pytest.mark.parametrize("change", ["encrypted", "patched", "strongly encrypted", "method 12", "method 99", "damaged"])
def test_a_member_that_is_packed_in_another_way_is_one_kind_of_error(tmp_path: Path, change: str) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"
    path = packed(tmp_path / "a.npz", header, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    flags = {"encrypted": 0x1, "patched": 0x20, "strongly encrypted": 0x40}
    for flag_at, method_at in ((6, 8), (directory + 8, directory + 10)):
        content[flag_at] |= flags.get(change, 0)
        if change.startswith("method"):
            content[method_at] = int(change.split()[1])
    if change == "damaged":
        content[40:50] = b"\xff" * 10
    path.write_bytes(content)
    with open_npz(path, max_bytes=MB) as file, pytest.raises((ValueError, EOFError, zipfile.BadZipFile)):
        file.read("a", "f", (1,))


def test_a_zip_of_a_later_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99
    (tmp_path / "a.npz").write_bytes(content)
    with (
        pytest.raises(RefusedFileError, match="packed in a way that is not read"),
        open_npz(tmp_path / "a.npz", max_bytes=MB),
    ):
        pass
