"""Configurations, tables and lists that somebody sent: one line at once, whatever stands in their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.fault.hostile import NO_FILES, put, refusal, sparse

from imagematch.config import read_yaml
from imagematch.errors import ConfigError, DataError, ImagematchError
from imagematch.pipeline.pair_lists import read_pairs
from imagematch.reading import MAX_LINES, TABLE_BYTES, RefusedFileError, text_lines
from imagematch.sources import open_source
from imagematch.sources.tables import Table

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "configuration": ("c.yaml", read_yaml),
    "table": ("t.csv", lambda path: open_source("csv", path).listing()),
    "table of Parquet": ("t.parquet", lambda path: open_source("csv", path).listing()),
    "pairs": ("pairs.txt", read_pairs),
    "CelebA's identities": ("identity_CelebA.txt", lambda path: open_source("celeba", path.parent).listing()),
    "Tiny ImageNet's words": ("words.txt", lambda path: open_source("tiny_imagenet", path.parent).listing()),
}


def folder_for(name: str, tmp_path: Path) -> Path:
    """Where such a file belongs, with what must be beside it."""
    if name.startswith("CelebA"):
        (tmp_path / "img_align_celeba").mkdir()
    if name.startswith("Tiny"):
        (tmp_path / "train" / "n1" / "images").mkdir(parents=True)
        (tmp_path / "train" / "n1" / "images" / "1.JPEG").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    file, read = READERS[name]
    path = put(kind, folder_for(name, tmp_path) / file)
    with pytest.raises(ImagematchError) as caught:
        read(path)
    assert isinstance(caught.value, ConfigError if name == "configuration" else DataError)
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_or_has_gone(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may read everything, the system's refusal is put in."""
    file, read = READERS[name]
    path = folder_for(name, tmp_path) / file
    path.write_text("a\n")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("imagematch.reading.os.open", refuse)
    with pytest.raises(ImagematchError, match="Permission denied"):
        read(path)


def test_a_table_that_was_never_written(tmp_path: Path) -> None:
    sparse(tmp_path / "t.csv", TABLE_BYTES)
    assert "mostly holes" in refusal(TABLE, tmp_path / "t.csv")


TABLE = 'from imagematch.sources import open_source\nuse = lambda path: open_source("csv", path).listing()'
PAIRS = "from imagematch.pipeline.pair_lists import read_pairs as use"
CONFIG = "from imagematch.config import read_yaml as use"
MB = 1 << 20


@pytest.mark.parametrize(
    ("setup", "name", "content", "says"),
    [
        (TABLE, "t.csv", b"," * (200 * MB), "line 1 has more than"),
        (TABLE, "t.csv", b"path,label\n" + b'"\n",' * (40 * MB), "a quotation mark is missing"),
        (TABLE, "t.csv", b"path,label\n" + b"x" * (100 * MB), "line 2 has more than"),
        (TABLE, "t.csv", b"\n" * (MAX_LINES + 2), "lines"),
        (PAIRS, "p.txt", b"a,b," + b"1" * (200 * MB), "line 1 has more than"),
        (PAIRS, "p.txt", b"10\t300\n" + b"\t" * (100 * MB), "line 2 has more than"),
        (PAIRS, "p.txt", b"10\t300\n" + b"\t\n" * (5 * MB), "0 pairs"),
        (PAIRS, "p.txt", b"999999999\t999999999\n" + b"a\t1\t2\n" * 1000, "1000 pairs"),
        (PAIRS, "p.txt", b"9" * 5000 + b"\n", "the first line must be"),
        (CONFIG, "c.yaml", b"a: [" + b"1," * (500 << 10) + b"]", "over 50000 values"),
        (CONFIG, "c.yaml", b"".join(b"k%d: 1\n" % n for n in range(90_000)), "over 50000 values"),
        (CONFIG, "c.yaml", b"#" * (200 * MB), "are the most"),
    ],
)
def test_a_bomb_costs_little(tmp_path: Path, setup: str, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refusal(setup, tmp_path / name)


def dictionary_of_one() -> dict[str, Any]:
    """A text of a megabyte that is in the file once, and in a million rows: 195 kB unpack to 2 TB."""
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["x" * MB])
    return {"table": pa.table({"path": rows, "label": rows}), "write_statistics": False}


def endless_text() -> dict[str, Any]:
    """One text of 400 MB, as the file says itself."""
    table = pa.table({"path": ["x" * (400 * MB)], "label": ["a"]})
    return {"table": table, "compression": "zstd", "use_dictionary": False, "write_statistics": False}


def nested() -> dict[str, Any]:
    kind = pa.int8()
    for _ in range(150):
        kind = pa.list_(kind)
    return {"table": pa.table({"path": pa.nulls(1, kind)})}


@pytest.mark.parametrize(
    ("make", "says"),
    [(dictionary_of_one, "bytes of text"), (endless_text, "malloc of size"), (nested, "too deeply nested")],
)
def test_a_bomb_of_parquet_costs_little(make: Callable[[], dict[str, Any]], says: str, tmp_path: Path) -> None:
    """The process that opens it has limits of its own; this one reads what that wrote."""
    path = tmp_path / "t.parquet"
    pq.write_table(where=path, **make())
    assert path.stat().st_size < MB
    assert says in refusal(TABLE, path)


@pytest.mark.parametrize("place", [4, 60, -60, -8])
def test_bytes_of_parquet_that_are_others(place: int, tmp_path: Path) -> None:
    """Whatever the library makes of it, a crash too: rows, or one line."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["a.png"] * 99, "label": ["a"] * 99}), path)
    content = bytearray(path.read_bytes())
    content[place : place + 4 if place != -4 else None] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(Table(path, {"path": (), "label": ()}))
    assert "\n" not in str(caught.value)


def test_lines_are_read_whatever_their_ends(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n\xe2\x80\xa8d")
    assert list(text_lines(tmp_path / "t", max_bytes=100)) == ["a\n", "b\n", "c\n", "\u2028d"]
    with pytest.raises(RefusedFileError):
        list(text_lines(tmp_path / "t", max_bytes=10))
