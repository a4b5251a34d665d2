"""Layouts: every tree that the maker makes is read as it is meant, or refused with both readings. Never a third."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trees import JUNK, MAKERS, Tree, kaggle, plain, reid, sessions, splits, splits_and_more

from imagematch.errors import DataError
from imagematch.sources import Listing, SourceOptions, open_source
from imagematch.sources.layouts import AmbiguousLayoutError


def listed(tree: Tree, root: Path, layout: str = "auto") -> Listing:
    return open_source("folder", tree.write(root), SourceOptions(layout=layout)).listing()


def read(listing: Listing, prefix: str = "") -> dict[str, tuple[str, str, str, str]]:
    return {row.path: (row.label, row.split, row.role, row.group.removeprefix(prefix)) for row in listing.rows}


@pytest.mark.parametrize("name", MAKERS)
def test_each_is_read_as_it_is_meant_or_refused_with_both_readings(name: str, tmp_path: Path) -> None:
    tree = MAKERS[name]()
    if tree.ambiguous:
        with pytest.raises(AmbiguousLayoutError) as caught:
            listed(tree, tmp_path)
        assert str(caught.value).count("(layout: ") == 2
        assert f"(layout: {tree.layout})" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert read(listed(tree, tmp_path, tree.layout)) == tree.meant


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(MAKERS)),
    st.lists(st.sampled_from(["data", "set", "images"]), max_size=2, unique=True),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(JUNK)), max_size=4),
    st.booleans(),
)
def test_junk_loose_files_and_wrapping_folders_change_nothing(
    name: str, wrappers: list[str], junk: list[tuple[int, str]], loose: bool
) -> None:
    tree = MAKERS[name]()
    folders = sorted({"", *(path.rpartition("/")[0] for path in tree.files)})
    files = [f"{folder}/{file}".strip("/") for place, file in junk for folder in [folders[place % len(folders)]]]
    tree.files += files
    if loose:
        tree.files.append("logo.png")
    for wrapper in wrappers:
        tree = tree.wrapped(wrapper)
    prefix = "".join(f"{wrapper}/" for wrapper in reversed(wrappers))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        if tree.ambiguous:
            with pytest.raises(AmbiguousLayoutError, match="two ways"):
                listed(tree, root)
            return
        listing = listed(tree, root)
    assert read(listing, prefix) == tree.meant
    counted = Counter({kind: len(paths) for kind, paths in listing.left_out.items()})
    junk_files = {file for file in files if Path(file).name in (".DS_Store", "Thumbs.db", "desktop.ini")}
    hidden = {file.rpartition("/")[0] for file in files if "__MACOSX" in file or ".cache" in file}
    assert counted["hidden and system files"] == len(junk_files) + len(hidden)
    assert counted[".txt"] == len({file for file in files if file.endswith(".txt")})
    libraries = {file.rpartition("/")[0] for file in files if ".lrdata" in file}
    assert counted["photo libraries"] == len(libraries)
    assert counted["images in no class folder"] == int(loose)
    assert counted["images without a label"] == len(tree.unlabelled)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (plain(), "4 classes: ann, bob, cleo, ..., e.g. ann/0.png is ann (layout: classes)"),
        (
            splits(("train", "val")),
            "train/, val/ are splits; 4 classes: ann, bob, cleo, ..., e.g. train/ann/0.png is ann (layout: splits)",
        ),
        (
            sessions(),
            "4 classes: ann, bob, cleo, ..., 12 folders inside them are groups, e.g. ann/2024-03-05/0.png is ann "
            "(layout: groups)",
        ),
        (
            reid(),
            "gallery/, query/, train/ are splits, query and gallery; 4 classes: ann, bob, cleo, ..., e.g. "
            "gallery/cleo/0.png is cleo (layout: reid)",
        ),
        (
            splits(("train",)),
            "train/ is a split; 4 classes: ann, bob, cleo, ..., e.g. train/ann/0.png is ann (layout: splits)",
        ),
    ],
)
def test_the_reading_is_said_in_a_line(tree: Tree, says: str, tmp_path: Path) -> None:
    assert listed(tree, tmp_path).notes == (says,)


def test_both_readings_and_the_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        listed(splits_and_more(), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: its folders can be read in two ways: train/, val/ are splits and extra/ is left out "
        "(layout: splits); or every folder is a class, as extra/, train/ann/, train/bob/, ... (layout: classes); give "
        "layout: splits or layout: classes, or move the folders"
    )
    assert listed(splits_and_more(), tmp_path, "splits").left_out == {
        "images beside the split folders": ["extra/0.png", "extra/1.png", "extra/2.png"]
    }
    assert len({row.label for row in listed(splits_and_more(), tmp_path, "classes").rows}) == 9


def test_images_without_labels_are_counted(tmp_path: Path) -> None:
    assert listed(kaggle(), tmp_path).left_out == {"images without a label": [f"test/{n}.png" for n in range(5)]}


@pytest.mark.parametrize("layout", ["splits", "splits_groups", "reid"])
def test_a_layout_that_is_not_there(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train, .* folders with class folders; leave out layout"):
        listed(plain(), tmp_path, layout)


def test_a_gallery_to_search_in_is_never_refused(tmp_path: Path) -> None:
    tree = MAKERS["nested"]()
    listing = open_source("folder", tree.write(tmp_path), SourceOptions(labelled=False)).listing()
    assert read(listing) == tree.meant
