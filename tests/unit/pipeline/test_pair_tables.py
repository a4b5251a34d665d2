"""Lists of pairs in the forms that people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagematch.errors import DataError
from imagematch.pipeline.pair_lists import read_pairs

PAIRS = [("a/1.jpg", "a/2.jpg", True), ("a/1.jpg", "b/1.jpg", False)]


def read(path: Path, text: str) -> list[tuple[str, str, bool]]:
    path.write_bytes(text.encode("utf-8"))
    return [(pair.first, pair.second, pair.same) for pair in read_pairs(path)]


@pytest.mark.parametrize(
    "text",
    [
        "path_a,path_b,same\na/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
        "a/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
        "path_a, path_b, same\r\na/1.jpg, a/2.jpg, True\r\na/1.jpg, b/1.jpg, False\r\n",
        "\ufeffpath_a;path_b;same\na/1.jpg;a/2.jpg;yes\na/1.jpg;b/1.jpg;no\n",
        "path_a\tpath_b\tsame\na/1.jpg\ta/2.jpg\tsame\na/1.jpg\tb/1.jpg\tdifferent\n",
        'img1,img2,label\n"a/1.jpg","a/2.jpg",1\n"a/1.jpg","b/1.jpg",0\n',
        "same,path_a,path_b\n1,a/1.jpg,a/2.jpg\n0,a/1.jpg,b/1.jpg\n",
        "1,a/1.jpg,a/2.jpg\n0,a/1.jpg,b/1.jpg\n",
        ",path_a,path_b,same\n0,a/1.jpg,a/2.jpg,1\n1,a/1.jpg,b/1.jpg,0\n",
        "0,a/1.jpg,a/2.jpg,1\n1,a/1.jpg,b/1.jpg,0\n",
        "left,right,is_same\na/1.jpg,a/2.jpg,genuine\na/1.jpg,b/1.jpg,impostor\n",
    ],
)
def test_each_form_is_the_same_list(text: str, tmp_path: Path) -> None:
    for name in ("pairs.txt", "pairs.csv"):
        assert read(tmp_path / name, text) == PAIRS


def test_lfw_is_told_by_its_first_line(tmp_path: Path) -> None:
    assert read(tmp_path / "pairs.txt", "1\nAnn\t1\t2\nAnn\t1\tBob\t3\n") == [
        ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True),
        ("Ann/Ann_0001.jpg", "Bob/Bob_0003.jpg", False),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the list of pairs is empty"),
        ("path_a,path_b,same\n", "the list of pairs is empty"),
        ("a/1.jpg,a/2.jpg\n", "pairs.csv:1: expected path_a,path_b,same with same 1 or 0"),
        ("path_a,path_b,same\na/1.jpg,a/2.jpg,maybe\n", "pairs.csv:2: expected path_a,path_b,same"),
        ("a/1.jpg,a/2.jpg,1\na/1.jpg,,1\n", "pairs.csv:2: expected path_a,path_b,same"),
        ("a/1.jpg,a/2.jpg,a/3.jpg,1\n", "pairs.csv:1: expected path_a,path_b,same"),
    ],
)
def test_what_is_no_list_of_pairs(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read(tmp_path / "pairs.csv", text)
