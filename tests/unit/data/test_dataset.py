"""Opening a data set: what is left out, what is told, what the Dataset gives."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch.data import SPLITS, Dataset, decode
from imagematch.errors import DataError

from .conftest import break_unseen, pixels, write_image

Open = Callable[..., Dataset]


def test_arrays_agree(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 20, "b": 30})
    write_image(root / "a" / "wide.png", seed=3, width=13, height=5)
    dataset = opened(data_dir=root)
    assert len(dataset) == 51
    assert dataset.paths.tolist() == sorted(dataset.paths.tolist())
    assert dataset.class_names == dataset.titles == ("a", "b")
    assert dataset.labels.dtype == np.int32
    assert [dataset.class_names[label] for label in dataset.labels] == ["a"] * 21 + ["b"] * 30
    row = dataset.paths.tolist().index("a/wide.png")
    assert (dataset.widths[row], dataset.heights[row], dataset.modes[row]) == (13, 5, "RGB")
    assert np.array_equal(dataset.pixels(row, 64), pixels(3, 5, 13))
    assert dataset.read(row) == (root / "a" / "wide.png").read_bytes()
    assert np.array_equal(np.sort(np.concatenate([dataset.rows(split) for split in SPLITS])), np.arange(51))
    assert dataset.rows("train").dtype == np.int64
    with pytest.raises(ValueError, match="no split is called 'val'"):
        dataset.rows("val")


def test_summary_counts(make_folder: Any, opened: Open) -> None:
    summary = opened(data_dir=make_folder({"a": 40, "b": 40, "c": 40})).summary()
    assert summary["images"] == sum(split["images"] for split in summary["splits"].values()) == 120
    assert summary["splits"]["train"] == {"images": 84, "classes": 3}
    assert summary["classes"] == 3


def test_digest_follows_content_labels_and_splits_but_not_the_place(make_folder: Any, opened: Open) -> None:
    first = opened(data_dir=make_folder({"a": 20, "b": 20}, "one"))
    again = opened(data_dir=make_folder({"a": 20, "b": 20}, "two"))
    assert again.digest == first.digest
    assert opened(data_dir=again.root, seed=1).digest != first.digest
    assert again.root is not None
    write_image(again.root / "a" / "0.png", seed=77)
    assert opened(data_dir=again.root).digest != first.digest
    assert opened(data_dir=make_folder({"a": 20, "c": 20}, "three")).digest != first.digest


def test_survives_a_pickle_to_another_process(make_folder: Any, opened: Open) -> None:
    for dataset in (opened(data_dir=make_folder({"a": 20, "b": 20})), opened(dataset="digits")):
        copy = pickle.loads(pickle.dumps(dataset))
        assert np.array_equal(copy.pixels(5, 8), dataset.pixels(5, 8))
        assert copy.digest == dataset.digest


def test_small_classes_are_left_out_and_told(make_folder: Any, opened: Open, events: Any) -> None:
    dataset = opened(data_dir=make_folder({"a": 20, "b": 20, "one": 1, "two": 2}), min_images_per_class=3)
    assert dataset.class_names == ("a", "b")
    assert "2 of 4 classes (3 images) left out: fewer than 3" in events("classes_left_out")[0]["message"]


def test_most_frequent_classes_ties_by_name(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 20, "b": 30, "c": 20, "d": 25})
    assert opened(data_dir=root, max_classes=3).class_names == ("a", "b", "d")


def test_a_class_that_shrinks_below_the_minimum_is_left_out(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 40, "b": 40, "c": 4})
    (root / "c" / "1.png").write_bytes(b"")
    assert opened(data_dir=root, min_images_per_class=4).class_names == ("a", "b")


def test_byte_identical_images_in_two_given_splits_are_told(make_folder: Any, opened: Open, events: Any) -> None:
    root = make_folder({"train/a": 30, "train/b": 30, "test/a": 5, "test/b": 5})
    (root / "train/a/copy.png").write_bytes((root / "test/a/0.png").read_bytes())
    dataset = opened(data_dir=root, split_by="predefined")
    assert "train/a/copy.png" not in dataset.paths
    assert len(dataset.rows("test")) == 10
    assert events("copies_left_out")[0]["message"].startswith("1 images left out")


def test_notes_of_the_source_are_told(make_folder: Any, opened: Open, events: Any) -> None:
    opened(data_dir=make_folder({"train/a": 30, "train/b": 30, "val/a": 5, "val/b": 5}))
    notes = [event["message"] for event in events("data_note")]
    assert notes == [
        "train/, val/ are splits; 2 classes: a, b, e.g. train/a/0.png is a (layout: splits)",
        "the data set has its own split (train 60, validation 10): split_by: image mixes it, predefined keeps it",
    ]


@pytest.mark.parametrize(
    ("classes", "keys", "told"),
    [
        ({}, {}, "no such folder; set data_dir"),
        ({"a": 20}, {}, "only one class .a. has 2 images or more; give at least two classes"),
        ({"a": 20, "b": 1}, {}, "only one class .a. has 2 images or more"),
        ({"a": 1, "b": 1}, {}, "every class has fewer than 2 images"),
        ({"a": 9, "b": 9}, {"min_images_per_class": 10}, "every class has fewer than 10 images"),
        ({"a": 2, "b": 2}, {}, "split: the .* split"),
        ({"a": 20, "b": 20}, {"split_by": "class"}, "too few for class-disjoint splits"),
        ({"a": 20, "b": 20}, {"split_by": "predefined"}, "no split of its own"),
    ],
)
def test_unusable_data_sets_are_told_in_one_line(
    classes: dict[str, int], keys: dict[str, Any], told: str, make_folder: Any, opened: Open
) -> None:
    with pytest.raises(DataError, match=told) as caught:
        opened(data_dir=make_folder(classes), **keys)
    assert "\n" not in str(caught.value)


def test_empty_folder(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in it; put the images of each class in a folder"):
        opened(data_dir=tmp_path / "empty")


def test_a_file_that_goes_or_breaks_after_opening(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 20, "b": 20})
    dataset = opened(data_dir=root)
    (root / "a" / "0.png").unlink()
    (root / "a" / "1.png").write_bytes(b"")
    for row, reason in ((0, "No such file"), (1, "has changed since it was listed; run again")):
        with pytest.raises(DataError, match=reason) as caught:
            dataset.pixels(row, 8)
        assert str(dataset.paths[row]) in str(caught.value)


def test_another_picture_in_the_place_of_one_that_was_listed_is_refused(tmp_path: Path, opened: Open) -> None:
    lines = ["path,label,x,y,w,h"]
    for number in range(40):
        write_image(tmp_path / f"{number:02d}.png", seed=number)
        lines.append(f"{number:02d}.png,{'ab'[number % 2]},{'1,2,4,5' if number % 4 else ',,,'}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    dataset = opened(dataset="csv", data_dir=tmp_path / "t.csv")
    for row in (4, 5):
        dataset.pixels(row, 8)
        write_image(tmp_path / f"{row:02d}.png", seed=99)
        with pytest.raises(DataError, match=rf"{row:02d}\.png.*: has changed since it was listed; run again"):
            dataset.pixels(row, 8)
    again = opened(dataset="csv", data_dir=tmp_path / "t.csv")
    assert np.array_equal(again.pixels(4, 8), pixels(99))


def test_the_next_run_leaves_out_what_broke_unseen(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30})
    dataset = opened(data_dir=root)
    break_unseen(root / "a" / "1.png")
    unseen = opened(data_dir=root)
    row = unseen.paths.tolist().index("a/1.png")
    assert unseen.digest == dataset.digest
    with pytest.raises(DataError, match="run again"):
        unseen.pixels(row, 8)
    for _ in range(2):
        again = opened(data_dir=root)
        assert [image.path for image in again.quarantined] == ["a/1.png"]
        for row in range(len(again)):
            again.pixels(row, 8)


def test_every_box_of_a_file_that_broke_unseen_is_left_out(tmp_path: Path, opened: Open) -> None:
    lines = ["path,label,x,y,w,h"]
    for number in range(60):
        write_image(tmp_path / f"{number:02d}.png", seed=number)
        lines += [f"{number:02d}.png,a,0,0,4,5", f"{number:02d}.png,b,2,2,4,5"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    dataset = opened(dataset="csv", data_dir=tmp_path / "t.csv")
    break_unseen(tmp_path / "07.png")
    with pytest.raises(DataError, match=r"07\.png"):
        dataset.pixels(14, 8)
    assert len(opened(dataset="csv", data_dir=tmp_path / "t.csv").quarantined) == 2


def test_too_many_that_broke_unseen_are_refused(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 20, "b": 20})
    dataset = opened(data_dir=root)
    for row in range(3):
        break_unseen(root / str(dataset.paths[row]))
        with pytest.raises(DataError, match="run again"):
            dataset.pixels(row, 8)
    with pytest.raises(DataError, match="3 of 40 images cannot be used, over 5%"):
        opened(data_dir=root)


def test_a_doubt_about_a_class_that_is_not_used_now_stays(make_folder: Any, opened: Open) -> None:
    root = make_folder({"a": 30, "b": 30, "c": 29})
    dataset = opened(data_dir=root)
    for path in ("a/0.png", "c/0.png"):
        break_unseen(root / path)
        with pytest.raises(DataError, match="run again"):
            dataset.pixels(dataset.paths.tolist().index(path), 8)
    assert [image.path for image in opened(data_dir=root, max_classes=2).quarantined] == ["a/0.png"]
    assert [image.path for image in opened(data_dir=root).quarantined] == ["a/0.png", "c/0.png"]


def test_boxes_are_cut_and_part_of_the_content(tmp_path: Path, opened: Open) -> None:
    lines = ["path,label,x,y,w,h"]
    for number in range(40):
        write_image(tmp_path / "p" / f"{number:02d}.png", seed=number, height=10, width=10)
        lines += [f"p/{number:02d}.png,a,0,0,4,5", f"p/{number:02d}.png,b,5,5,9,9"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    dataset = opened(dataset="csv", data_dir=tmp_path / "t.csv")
    assert (dataset.widths[0], dataset.heights[0]) == (4, 5)
    assert np.array_equal(dataset.pixels(0, 64), pixels(0, 10, 10)[:5, :4])
    assert np.array_equal(dataset.pixels(1, 64), pixels(0, 10, 10)[5:, 5:])
    assert len(set(dataset.digests.tolist())) == 80
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(",0,0,4,5", ",0,0,3,3"))
    moved = opened(dataset="csv", data_dir=tmp_path / "t.csv")
    assert (moved.widths[0], moved.heights[0]) == (3, 3)


def test_a_box_outside_its_picture_is_quarantined(tmp_path: Path, opened: Open) -> None:
    lines = ["path,label,x,y,w,h"]
    for number in range(60):
        write_image(tmp_path / f"{number:02d}.png", seed=number)
        lines.append(f"{number:02d}.png,{'ab'[number % 2]},{100 if number == 7 else 0},0,4,5")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    (bad,) = opened(dataset="csv", data_dir=tmp_path / "t.csv").quarantined
    assert bad.path == "07.png"
    assert "outside the image" in bad.reason


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    from imagematch.sources import open_source

    images = load_digits().images
    source = open_source("digits", None)
    assert np.array_equal(decode(source.read("digits/0042"))[:, :, 0], np.rint(images[42] * 255 / 16))
    assert decode(source.read("digits/1796")).shape == (8, 8, 3)
    for wrong in ("digits/1797", "digits/-1", "x"):
        with pytest.raises(DataError, match="not one of the embedded digits"):
            source.read(wrong)
