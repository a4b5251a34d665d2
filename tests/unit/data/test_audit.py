"""The check of a data set: what it counts, what it says matters, and the contact sheet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.data import Audit, audit_data, draw_contact_sheet
from imagematch.errors import DataError

from .conftest import settings, write_image
from .drawings import photo, scene


@pytest.fixture
def checked(tmp_path: Path) -> Any:
    def check(**keys: Any) -> Audit:
        return audit_data(settings(**keys), manifest_dir=tmp_path / "manifests")

    return check


def test_a_sound_data_set(make_folder: Any, checked: Any) -> None:
    result = checked(data_dir=make_folder({"a": 20, "b": 30}))
    report = result.report
    assert result.problem is None
    assert (report["images"], report["classes"]) == (50, 2)
    assert report["used"]["images"] == 50
    assert report["images_per_class"] == {"min": 20, "median": 25, "max": 30}
    assert report["widths"] == {"min": 8, "median": 8, "max": 8}
    assert report["modes"] == {"RGB": 50}
    assert report["corrupt"] == []
    assert report["faces"] is None
    assert report["exact_duplicates"]["groups"] == report["near_duplicates"]["pairs"] == 0
    assert report["summary"] == "50 images of 2 classes can be used; nothing stands out"
    assert json.loads(json.dumps(report)) == report


def test_what_matters_is_in_the_summary(make_folder: Any, checked: Any) -> None:
    root = make_folder({"a": 60, "b": 60, "few": 3})
    (root / "a" / "bad.png").write_bytes(b"no image")
    shutil.copy(root / "a" / "1.png", root / "b" / "of a.png")
    shutil.copy(root / "b" / "5.png", root / "b" / "copy.png")
    write_image(root / "b" / "grey.png", seed=5, channels=1)
    report = checked(data_dir=root).report
    assert report["corrupt"] == [{"path": "a/bad.png", "reason": report["corrupt"][0]["reason"]}]
    assert report["exact_duplicates"] == {
        "groups": 2,
        "images": 4,
        "under_different_labels": 1,
        "across_splits": 0,
        "examples": [["a/1.png", "b/of a.png"], ["b/5.png", "b/copy.png"]],
    }
    assert report["modes"] == {"RGB": 125, "L": 1}
    assert report["summary"] == (
        "126 images of 3 classes can be used; look at: 1 groups of exact copies under different labels; "
        "1 corrupt images left out; classes of 3 to 63 images"
    )


def test_files_of_several_images_are_named(make_folder: Any, checked: Any, opened: Any, events: Any) -> None:
    """Pages of a TIFF and frames of animations: each file is the first of them."""
    root = make_folder({"a": 20, "b": 30})
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 60, 110)]
    for row, name in enumerate(("scan.tiff", "moves.gif", "moves.webp", "moves.png")):
        first = Image.fromarray(np.full((8, 8, 3), 20 * row, np.uint8))
        first.save(root / "a" / name, save_all=True, append_images=pages)
        first.transpose(Image.Transpose.ROTATE_90).save(root / "b" / f"single {name}")
    opened(data_dir=root)
    assert [event["count"] for event in events("more_frames")] == [4]
    report = checked(data_dir=root).report
    (found,) = [finding for finding in report["findings"] if "more pages" in finding["what"]]
    assert (found["count"], found["example"]) == (4, "a/moves.gif")
    assert "4 images with more pages or frames" in report["summary"]


def test_copies_across_splits_are_counted(make_folder: Any, checked: Any, opened: Any) -> None:
    root = make_folder({"train/a": 20, "train/b": 20, "test/a": 6, "test/b": 6})
    shutil.copy(root / "train" / "a" / "1.png", root / "test" / "a" / "seen.png")
    shutil.copy(root / "test" / "a" / "0.png", root / "test" / "a" / "0 copy.png")  # the first, but in one split
    report = checked(data_dir=root, split_by="predefined").report
    assert report["exact_duplicates"]["across_splits"] == 1
    assert report["exact_duplicates"]["examples"][0] == ["test/a/seen.png", "train/a/1.png"]
    assert len(opened(data_dir=root, split_by="predefined")) == report["used"]["images"] == 53
    assert "1 exact copies left out, since they are in another split too" in report["summary"]


def test_near_duplicates_of_test_images_in_training(tmp_path: Path, checked: Any) -> None:
    root = tmp_path / "scenes"
    for number, folder in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (root / folder).mkdir(parents=True)
        for index in range(20):
            scene(100 * number + index).save(root / folder / f"{index}.png")
    scene(1).resize((64, 70)).save(root / "test" / "a" / "seen.png")
    scene(1).resize((50, 50)).save(root / "train" / "b" / "other.png")
    report = checked(data_dir=root, split_by="predefined", near_duplicates="as_is").report
    near = report["near_duplicates"]
    assert (near["pairs"], near["test_images_seen_in_training"], near["complete"]) == (3, 1, True)
    assert near["across_splits"] >= 2
    assert near["under_different_labels"] == 2
    assert near["examples"][0] == ["test/a/seen.png", "train/b/other.png"]
    assert "1 test images with a near duplicate in training: the metrics flatter" in report["summary"]


def test_what_makes_training_impossible_is_reported(make_folder: Any, checked: Any) -> None:
    root = make_folder({"a": 20, "b": 20})
    for number in range(8):
        (root / "a" / f"{number}.png").write_bytes(b"")
    result = checked(data_dir=root)
    assert result.dataset is None
    assert isinstance(result.problem, DataError)
    assert len(result.report["corrupt"]) == 8
    assert result.report["near_duplicates"] is None
    assert result.report["summary"].startswith("cannot be trained on: ")
    assert "8 of 40 images cannot be used" in result.report["problem"]
    draw_contact_sheet(result.scan)


def test_faces_are_counted_and_shown(tmp_path: Path, checked: Any) -> None:
    root = tmp_path / "people"
    for person in range(2):
        (root / str(person)).mkdir(parents=True)
        for number in range(10):
            places = [] if number == 0 else [(10 + 10 * number, 20 + person, 80)]
            Image.fromarray(photo(*places, height=200 + number, width=240)).save(root / str(person) / f"{number}.png")
    result = checked(data_dir=root, face_crop="haar")
    assert result.report["faces"] == {"searched": 20, "found": 18}
    assert "no face found in 10.0% of the images" in result.report["summary"]
    sheet = np.asarray(draw_contact_sheet(result.scan))
    assert sheet.shape == (4 * 154, 5 * 274, 3)
    assert (sheet == (30, 150, 60)).all(axis=2).sum() > 18 * 100  # green frames
    assert 2 * 1000 < (sheet == (200, 40, 40)).all(axis=2).sum() < 3 * 3000  # red ones
    stopped = checked(data_dir=root, face_crop="haar", face_missing="error")
    assert "no face found in 2 of 20" in str(stopped.problem)
    assert stopped.report["faces"] == {"searched": 20, "found": 18}


def test_boxes_that_stick_out_are_counted(make_folder: Any, checked: Any) -> None:
    root = make_folder({"a": 20, "b": 20})
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    with Image.open(root / paths[0]) as picture:
        width, height = picture.size
    boxes = [
        f"0,0,{width},{height}",
        f"0,0,{width + 2},{height}",
        f"-1.4,0,{width},{height}",
        f"0.4,0,{width},2.6",
        ",,,",
    ]
    lines = [f"{path},{path[0]},{boxes[row % len(boxes)]}" for row, path in enumerate(paths)]
    (root / "table.csv").write_text("\n".join(["path,label,x,y,w,h", *lines]))
    result = checked(dataset="csv", data_dir=root, face_crop="haar", face_missing="whole")
    assert result.report["boxes"] == {"given": 32, "cut_at_the_edge": 16}
    assert "16 boxes cut at the edge of their image" in result.report["summary"]
    assert result.report["faces"] == {"searched": 8, "found": 0}
    (root / "table.csv").write_text("\n".join(["path,label,x,y,w,h", *(line for line in lines if ",,," not in line)]))
    assert checked(dataset="csv", data_dir=root, face_crop="haar").report["faces"] is None


def test_a_contact_sheet_without_faces(make_folder: Any, checked: Any) -> None:
    sheet = draw_contact_sheet(checked(data_dir=make_folder({"a": 40, "b": 40})).scan)
    assert sheet.size == (5 * 274, 8 * 154)
    assert len(np.unique(np.asarray(sheet))) > 100
    assert draw_contact_sheet(checked(data_dir=make_folder({"a": 4, "b": 8}, "few")).scan).size == (5 * 274, 3 * 154)
