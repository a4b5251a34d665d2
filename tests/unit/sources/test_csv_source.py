"""Tables of images: columns, separators, line ends, boxes and their errors."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from imagematch.errors import DataError
from imagematch.sources import MISSING, ImageRow, SourceOptions, open_source


def listed(root: Path, text: str | bytes, name: str = "table.csv") -> tuple[ImageRow, ...]:
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source("csv", root / name).listing().rows


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,x\nb c.png,y\n",
        "\ufeffpath,label\r\na.png,x\r\nb c.png,y\r\n",
        "Label;Path;note\nx;a.png;1,5\ny;b c.png;",
        "path\tlabel\ra.png\tx\rb c.png\ty\r",
        '"path","label"\n"a.png","x"\n\n" b c.png ",y\n',
    ],
)
def test_forms_of_one_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    entries = listed(tmp_path, text)
    assert [(entry.path, entry.label, entry.split, entry.box) for entry in entries] == [
        ("a.png", "x", "", None),
        ("b c.png", "y", "", None),
    ]
    assert [entry.size for entry in entries] == [5, MISSING]


def test_the_only_table_of_a_folder(tmp_path: Path) -> None:
    listed(tmp_path, "path,label\na.png,x\n")
    assert len(open_source("csv", tmp_path).listing().rows) == 1
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(DataError, match=r"2 tables \(other.csv, table.csv\) in it; set data_dir to the .csv file"):
        open_source("csv", tmp_path)


def test_splits_and_windows_paths(tmp_path: Path) -> None:
    entries = listed(tmp_path, "path,label,split\nd\\a.png,x,Train\nb.png,x,valid\nc.png,x,test\ne.png,x,calibration\n")
    assert [(entry.path, entry.split) for entry in entries] == [
        ("b.png", "validation"),
        ("c.png", "test"),
        ("d/a.png", "train"),
        ("e.png", "calibration"),
    ]


def test_a_backslash_is_part_of_a_name_where_such_a_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "d\\a.png").write_bytes(b"1")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.png").write_bytes(b"22")
    entries = listed(tmp_path, "path,label\nd\\a.png,x\nd\\b.png,x\n")
    assert [(entry.path, entry.size) for entry in entries] == [("d/b.png", 2), ("d\\a.png", 1)]


def test_a_table_to_search_with_needs_no_labels(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path\na.png\nb.png\n")
    entries = open_source("csv", tmp_path, SourceOptions(labelled=False)).listing().rows
    assert [(entry.path, entry.label) for entry in entries] == [("a.png", ""), ("b.png", "")]
    with pytest.raises(DataError, match=r"has no column 'label'"):
        open_source("csv", tmp_path).listing()
    (tmp_path / "table.csv").write_text("path\n")
    with pytest.raises(DataError, match=r"names no images; add lines of path"):
        open_source("csv", tmp_path, SourceOptions(labelled=False)).listing()


def test_boxes_and_several_in_one_picture(tmp_path: Path) -> None:
    entries = listed(tmp_path, "path,label,x,y,w,h\na.png,p,1,2,3,4.5\na.png,q,5,5,2,2\nb.png,q,,,,\nc.png,q,0,0,1,1\n")
    assert [(entry.path, entry.file, entry.box) for entry in entries] == [
        ("a.png#1,2,3,4.5", "a.png", (1, 2, 4, 6.5)),
        ("a.png#5,5,2,2", "a.png", (5, 5, 7, 7)),
        ("b.png", "b.png", None),
        ("c.png", "c.png", (0, 0, 1, 1)),
    ]
    close = listed(tmp_path, "path,label,x,y,w,h\na.png,p,12345.67,0.1,3,0.2\na.png,q,12345.68,0.1,3,0.2\n")
    assert [entry.path for entry in close] == ["a.png#12345.67,0.1,3,0.2", "a.png#12345.68,0.1,3,0.2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"has no column 'path', its columns are none"),
        ("paths,label\na,b\n", r"has no column 'path', its columns are 'paths', 'label'; rename 'paths' to 'path'"),
        ("file,identity\na,b\n", r"has no column 'path', its columns are 'file', 'identity'; rename 'file' to 'path'"),
        ("path,label\n", r"names no images"),
        ("path,label\na.png\n", r"table.csv:2: has 1 values for 2 columns"),
        ("path,label\na.png,x,y\n", r"table.csv:2: has 3 values for 2 columns"),
        ("path,label\na.png,x\nb.png,\n", r"table.csv:3: has no label"),
        ("path,label\n,x\n", r"table.csv:2: has no path"),
        ("path,label,split\na.png,x,late\n", r"table.csv:2: split is 'late'; use train"),
        ("path,label,x,y\na.png,x,1,2\n", r"of the box columns it has only x, y"),
        ("path,label,x,y,w,h\na.png,x,1,2,0,4\n", r"table.csv:2: the box 1, 2, 0, 4 is not x, y, w, h"),
        ("path,label,x,y,w,h\na.png,x,1,2,nan,four\n", r"table.csv:2: the box"),
        ("path,label,x,y,w,h\na.png,x,1,2,,\n", r"table.csv:2: the box"),
        ("path,label,x,y,w,h\na.png,x,0.1,0.1,0.5,0.5\n", r"table.csv:2: the box 0.1.*in shares of the image"),
        ("path,label,Path\na.png,x,b.png\n", r"has 2 columns 'path'; keep one"),
        ("path,label\na.png,x\na.png,y\n", r"names a.png more than once"),
        ('path,label\n"a.png,x\n', r"is not CSV"),
        (b"path,label\n\xff\xfe.png,x\n", r"is not UTF-8 text; save it as CSV UTF-8"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        listed(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_parquet(tmp_path: Path) -> None:
    """What is missing in a column of any type is empty, and makes no fraction of a whole number."""
    frame = pandas.DataFrame(
        {
            "Path": ["a.png", "b.png", "c.png"],
            "label": [3, 4, 4],
            "split": ["train", "test", "train"],
            **{name: [1.5, None, 2] for name in "xywh"},
            "query": pandas.array([True, None, False], "boolean"),
            "number": pandas.array([1, None, 3], "Int64"),
        }
    )
    frame.to_parquet(tmp_path / "table.parquet")
    listing = open_source("csv", tmp_path).listing()
    assert [(entry.path, entry.label, entry.split, entry.box, entry.role) for entry in listing.rows] == [
        ("a.png", "3", "train", (1.5, 1.5, 3.0, 3.0), "query"),
        ("b.png", "4", "test", None, ""),
        ("c.png", "4", "train", (2, 2, 4, 4), ""),
    ]
    frame["label"] = pandas.array([3, None, 4], "Int64")
    frame.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"table.parquet, row 2: has no label"):
        open_source("csv", tmp_path).listing()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\na,b\n"])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"cannot be read as Parquet: .*; save it as CSV"):
        listed(tmp_path, content, "table.parquet")


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas.DataFrame({"path": ["a.png"], "label": ["a"]}).to_parquet(tmp_path / "table.parquet")
    monkeypatch.setattr("imagematch.sources.parquet_rows.find_spec", lambda _name: None)
    with pytest.raises(DataError, match=r"Parquet needs pyarrow; pip install 'imagematch\[parquet\]'"):
        open_source("csv", tmp_path).listing()


def test_parquet_of_far_more_rows_than_its_file_is_long(tmp_path: Path) -> None:
    """Equal rows take next to no room in the file, and gigabytes when they are read."""
    rows = pyarrow.DictionaryArray.from_arrays(pyarrow.repeat(pyarrow.scalar(0, pyarrow.int8()), 11_000_000), ["a"])
    pyarrow.parquet.write_table(pyarrow.table({"path": rows, "label": rows}), tmp_path / "table.parquet")
    assert (tmp_path / "table.parquet").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="cannot be read as Parquet: more than 10,000,000 rows"):
        open_source("csv", tmp_path).listing()


def test_query_and_gallery_columns(tmp_path: Path) -> None:
    text = "path,label,query,gallery\na.png,x,1,\nb.png,x,no,Yes\nc.png,y,true,x\nd.png,y,,0\n"
    (tmp_path / "table.csv").write_bytes(text.replace("\n", "\r\n").encode())
    listing = open_source("csv", tmp_path).listing()
    assert [entry.path for entry in listing.of_role("query")] == ["a.png", "c.png"]
    assert [entry.path for entry in listing.of_role("gallery")] == ["b.png", "c.png"]
    with pytest.raises(DataError, match=r"other.csv:3: gallery is 'maybe'; use yes or no"):
        listed(tmp_path, "path,label,gallery\na.png,x,yes\nb.png,x,maybe\n", "other.csv")


def written(root: Path, head: str, line: str, count: int = 12) -> Path:
    """A table of images that are there; `{n}` is the number, `{c}` the class."""
    for number in range(count):
        (root / "img").mkdir(parents=True, exist_ok=True)
        (root / "img" / f"{number}.png").write_bytes(b"1")
    lines = [head, *(line.format(n=number, c=number % 4) for number in range(count))]
    (root / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("path,label", "img/{n}.png,{c}"),
        ("path;label", "img/{n}.png;{c}"),
        ("path\tlabel", "img/{n}.png\t{c}"),
        ("\ufeffpath, label", 'img/{n}.png, "{c}"'),
        ("Label,extra,Path", "{c},7,img/{n}.png"),
        ("path,label", "img\\{n}.png,{c}"),
    ],
)
def test_forms_of_a_table(tmp_path: Path, head: str, line: str) -> None:
    rows = open_source("csv", written(tmp_path, head, line)).listing().rows
    assert {row.path: row.label for row in rows} == {f"img/{n}.png": str(n % 4) for n in range(12)}
    assert all(row.size == 1 for row in rows)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("filename,label", "rename 'filename' to 'path'"),
        ("image,class", "rename 'image' to 'path'"),
        ("path,identity", "rename 'identity' to 'label'"),
        ("path,target", "rename 'target' to 'label'"),
        ("path,lable", "rename 'lable' to 'label'"),
    ],
)
def test_common_names_of_columns_are_offered(tmp_path: Path, head: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_source("csv", written(tmp_path, head, "img/{n}.png,{c}")).listing()


def test_a_table_of_oml(tmp_path: Path) -> None:
    """Open Metric Learning's: its validation images are searched by is_query, is_gallery; corners are boxes."""
    lines = ["label,path,split,is_query,is_gallery,category,x_1,y_1,x_2,y_2"]
    lines += [
        "1,a.png,train,,,7,,,,",
        "2,b.png,validation,True,False,7,1,2,5,6",
        "2,c.png,validation,False,True,7,0,0,4,4",
    ]
    (tmp_path / "df.csv").write_text("\n".join(lines))
    rows = open_source("csv", tmp_path).listing().rows
    assert [(row.path, row.label, row.split, row.role, row.box) for row in rows] == [
        ("a.png", "1", "train", "", None),
        ("b.png", "2", "validation", "query", (1, 2, 5, 6)),
        ("c.png", "2", "validation", "gallery", (0, 0, 4, 4)),
    ]


def test_groups_and_columns_that_nothing_follows(tmp_path: Path) -> None:
    root = written(tmp_path, "path,label,group,fold,is_valid,note", "img/{n}.png,{c},g{c},1,True,x")
    listing = open_source("csv", root).listing()
    assert {row.group for row in listing.rows} == {"g0", "g1", "g2", "g3"}
    assert listing.notes == (
        "4 classes: 0, 1, 2, ..., e.g. img/0.png is 0",
        "table.csv: nothing follows its column fold, is_valid",
    )


@pytest.mark.parametrize("text", ["nan", "None", "NULL", "", "N/A"])
def test_a_text_for_none_is_a_missing_label(tmp_path: Path, text: str) -> None:
    root = written(tmp_path, "path,label", "img/{n}.png,{c}")
    lines = (root / "table.csv").read_text().splitlines()
    lines[3] = f"img/2.png,{text}"
    (root / "table.csv").write_text("\n".join(lines))
    named = f" \\('{text}'\\)" if text else ""
    with pytest.raises(DataError, match=f"table.csv:4: has no label{named}; fill it in or remove the line"):
        open_source("csv", root).listing()


def test_many_missing_files_are_one_message_with_where_they_may_be(tmp_path: Path) -> None:
    root = written(tmp_path, "path,label", "photos/img/{n}.png,{c}")
    source = open_source("csv", root)
    with pytest.raises(DataError) as caught:
        source.check_files(source.listing().rows)
    assert str(caught.value) == (
        f"{root}/table.csv: 12 of the 12 images that it names are not there, as photos/img/0.png, photos/img/1.png, "
        f"photos/img/10.png: paths start from {root}; remove photos/ from the paths: {root}/img/0.png is there"
    )


def test_missing_files_are_skipped_and_counted_where_that_is_wanted(tmp_path: Path) -> None:
    root = written(tmp_path, "path,label", "img/{n}.png,{c}")
    for number in range(5):
        (root / "img" / f"{number}.png").unlink()
    listing = open_source("csv", root, SourceOptions(missing_files="skip")).listing()
    assert len(listing.rows) == 7
    assert listing.left_out == {
        "images that the table names and that are not there": [f"img/{number}.png" for number in range(5)]
    }


def test_paths_in_the_other_normal_form(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "café.png")).write_bytes(b"1")
    text = f"path,label\n{unicodedata.normalize('NFC', 'café.png')},x\n"
    (row,) = listed(tmp_path, text)
    assert (row.path, row.size) == (unicodedata.normalize("NFD", "café.png"), 1)


@pytest.mark.parametrize(
    ("header", "row", "do"),
    [
        ("path, cat, dog, owl", "1.png, 0, 1, 0", "give it a column label: the one of cat, dog, owl that is 1"),
        ("id,path,choice", "7,1.png,cat", "rename 'choice' to 'label'"),
        ("path,width", "1.png,1", "name the columns in its first line"),
    ],
)
def test_where_the_label_is_called_otherwise(header: str, row: str, do: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError) as caught:
        open_source("csv", tmp_path).listing()
    assert caught.value.do == do
