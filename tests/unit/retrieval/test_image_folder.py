import os
import re
import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import unreadable

from imagematch.data import Face, FaceCropper, decode
from imagematch.data.boxes import pixels_digest
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.retrieval import ImageFolder, common_labels, list_images, nearest, same_content
from imagematch.retrieval.images import why_nothing_in_common


class Told(RunLog):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def event(self, kind: str, message: str | None = None, **fields: object) -> None:
        self.messages.append(message or kind)


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return path


def test_class_folders_give_labels_and_split_folders_do_not(tmp_path: Path) -> None:
    for number, name in enumerate(("train/daisy/a.png", "train/rose/b.png", "val/rose/c.png")):
        picture(tmp_path / "data" / name, number)
    whole = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")
    assert whole.paths == ("train/daisy/a.png", "train/rose/b.png", "val/rose/c.png")
    assert whole.labels == ("daisy", "rose", "rose")
    part = list_images(tmp_path / "data" / "val", manifest_dir=tmp_path / "m")
    assert part.labels == ("rose",)
    numbers = common_labels(part, whole)
    assert numbers is not None
    assert [column.tolist() for column in numbers] == [[1], [0, 1, 1]]


def test_an_image_outside_any_folder_means_no_labels(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "a.png")
    picture(tmp_path / "data" / "rose" / "b.png")
    images = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")
    assert images.labels is None
    assert common_labels(images, images) is None
    assert "are in class folders, as a.png" in why_nothing_in_common(images, images)


def test_an_unusable_image_outside_any_folder_does_not_matter(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "train" / "rose" / "b.png")
    (tmp_path / "data" / "a.png").touch()
    assert list_images(tmp_path / "data", manifest_dir=tmp_path / "m").labels == ("rose",)


def test_labels_are_the_same_class_however_their_accents_are_written(tmp_path: Path) -> None:
    for number, form in enumerate(("NFC", "NFD")):
        picture(tmp_path / form / unicodedata.normalize(form, "Röschen") / "a.png", number)
    first, second = (list_images(tmp_path / form, manifest_dir=tmp_path / "m") for form in ("NFC", "NFD"))
    assert first.labels == second.labels
    numbers = common_labels(first, second)
    assert numbers is not None
    assert [column.tolist() for column in numbers] == [[0], [0]]


def test_no_class_in_common_is_said_with_examples(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "rose" / "a.png")
    picture(tmp_path / "two" / "lily" / "a.png")
    both = [list_images(tmp_path / name, manifest_dir=tmp_path / "m") for name in ("one", "two")]
    assert common_labels(*both) is None
    assert re.fullmatch(
        r"the two have no class in common \(the first are rose in .*one and lily in .*two\)",
        why_nothing_in_common(*both),
    )


@pytest.mark.parametrize("deep", ["", "cat/"])
def test_folders_query_and_gallery_are_roles(tmp_path: Path, deep: str) -> None:
    for number, name in enumerate((f"query/{deep}a.png", "Gallery/cat/b.png", "Gallery/dog/c.png")):
        picture(tmp_path / "shop" / name, number)
    queries, gallery = (
        list_images(tmp_path / "shop", role=role, manifest_dir=tmp_path / "m") for role in ("query", "gallery")
    )
    assert (queries.paths, queries.labels) == ((f"query/{deep}a.png",), ("cat",) if deep else None)
    assert (gallery.paths, gallery.labels) == (("Gallery/cat/b.png", "Gallery/dog/c.png"), ("cat", "dog"))
    assert len(list_images(tmp_path / "shop", manifest_dir=tmp_path / "m")) == 3
    picture(tmp_path / "shop" / "other" / "d.png")
    assert len(list_images(tmp_path / "shop", role="query", manifest_dir=tmp_path / "m")) == 4


def test_unreadable_images_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "data" / f"{number}.png", number)
    (tmp_path / "data" / "text.jpg").write_text("no picture")
    (tmp_path / "data" / "empty.png").touch()
    (tmp_path / "data" / "photo.jxl").touch()
    (tmp_path / "data" / ".hidden.heic").touch()
    for _ in range(2):  # the second time from the manifest
        log = Told()
        images = list_images(tmp_path / "data", manifest_dir=tmp_path / "m", log=log)
        assert images.paths == ("0.png", "1.png", "2.png")
        assert [q.path for q in images.quarantined] == ["empty.png", "text.jpg"]
        told = "\n".join(log.messages)
        assert told.count("text.jpg: is not an image in a known format") == 1
        assert "empty.png: the file is empty" in told
        assert "left out: photo.jxl" in told
        assert "hidden" not in told


def test_known_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        picture(tmp_path / "data" / f"{number}.png", number)
    first = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")

    def never(*_arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("imagematch.data.manifest.inspect", never)
    again = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")
    np.testing.assert_array_equal(again.digests, first.digests)


def test_an_image_that_changed_unseen_is_refused_and_looked_at_again_next_time(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "data" / f"{number}.png", number)
    images = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")
    file = tmp_path / "data" / "1.png"
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"1\.png: has changed since it was listed; run again"):
        images.take([1]).pixels(0)
    assert list_images(tmp_path / "data", manifest_dir=tmp_path / "m").paths == ("0.png", "2.png")


def test_nothing_usable_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").touch()
    for name, told in (
        ("nowhere", "no such folder"),
        ("file", "the file is empty; name an image, a folder of images, or a .csv of paths"),
        ("empty", "no images in it"),
        ("bad", "none of its 1 images can be used: a.png: the file is empty"),
    ):
        with pytest.raises(DataError, match=f"{name}: {told}"):
            list_images(tmp_path / name, manifest_dir=tmp_path / "m")


def test_a_place_that_cannot_be_looked_up_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x: cannot be accessed: File name too long; check the path"):
        list_images(tmp_path / ("x" * 300), manifest_dir=tmp_path / "m")
    picture(tmp_path / "closed" / "data" / "rose" / "a.png")
    with (
        unreadable(tmp_path / "closed"),
        pytest.raises(DataError, match="data: cannot be accessed: Permission denied"),
    ):
        list_images(tmp_path / "closed" / "data", manifest_dir=tmp_path / "m")


def test_the_same_content_is_the_same_image_whatever_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "q" / "x.png", 1)
    picture(tmp_path / "q" / "y.png", 2)
    picture(tmp_path / "g" / "a.png", 3)
    for name in ("b.png", "c.png"):
        picture(tmp_path / "g" / name, 2)
    queries, gallery = (list_images(tmp_path / name, manifest_dir=tmp_path / "m") for name in "qg")
    same = same_content(queries, gallery)
    assert np.argwhere(same.queries[:, None] == same.gallery).tolist() == [[1, 1], [1, 2]]
    assert gallery.take([2, 0]).paths == ("c.png", "a.png")


def test_thousands_of_copies_of_one_picture_take_no_memory_by_their_square() -> None:
    blank = [
        ImageFolder(Path(name), tuple(f"{row}.png" for row in range(20_000)), np.full(20_000, "d" * 64), None)
        for name in "qg"
    ]
    vectors = np.ones((20_000, 2), np.float32)
    tracemalloc.start()
    try:
        left_out = same_content(*blank)
        found = nearest(vectors, vectors, 3, left_out=left_out)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.rows == -1).all()
    assert (left_out.counts() == 20_000).all()
    assert most < 64 * 2**20  # as pairs they would be 6 GB


def test_faces_are_cut_out_and_images_without_one_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests are those that training gives the same cut, so that it shares its features."""
    for number in range(3):
        picture(tmp_path / "data" / f"{number}.png", number)
    faceless = decode(tmp_path / "data" / "1.png")

    def find(_cropper: FaceCropper, image: bytes, **_: Any) -> Face | None:
        return None if np.array_equal(decode(image), faceless) else Face(2, 3, 4, 4)

    monkeypatch.setattr("imagematch.data.FaceCropper.find", find)
    log = Told()
    plain = list_images(tmp_path / "data", manifest_dir=tmp_path / "m")
    cut = list_images(tmp_path / "data", manifest_dir=tmp_path / "m", cropper=FaceCropper(0.0, False, "skip"), log=log)
    assert cut.paths == ("0.png", "2.png")
    assert [(image.path, image.reason) for image in cut.quarantined] == [("1.png", "no face found in it")]
    assert any("1.png: no face found in it" in message for message in log.messages)
    assert cut.digests[0] == pixels_digest(plain.digests[0], (2.0, 3.0, 6.0, 7.0), 0.0) != plain.digests[0]
    np.testing.assert_array_equal(cut.pixels(1), plain.pixels(2)[3:7, 2:6])
    np.testing.assert_array_equal(cut.take([1]).pixels(0), cut.pixels(1))
    whole = list_images(tmp_path / "data", manifest_dir=tmp_path / "m", cropper=FaceCropper(0.0, False, "whole"))
    assert whole.paths == plain.paths
    np.testing.assert_array_equal(whole.pixels(1), plain.pixels(1))


def test_a_table_gives_labels_roles_and_boxes(tmp_path: Path) -> None:
    for number, name in enumerate(("one.png", "two.png")):
        picture(tmp_path / "photos" / name, number)
    table = tmp_path / "photos" / "table.csv"
    table.write_text(
        "path,label,x,y,w,h,query,gallery\r\none.png,a,0,0,4,4,yes,no\r\none.png,b,4,4,4,4,no,yes\r\n"
        "two.png,a,,,,,yes,yes\r\ngone.png,a,,,,,no,yes\r\n"
    )
    queries = list_images(table, role="query", manifest_dir=tmp_path / "manifests")
    gallery = list_images(table, role="gallery", manifest_dir=tmp_path / "manifests")
    assert (queries.paths, queries.labels) == (("one.png#0,0,4,4", "two.png"), ("a", "a"))
    assert (gallery.paths, gallery.labels) == (("one.png#4,4,4,4", "two.png"), ("b", "a"))
    assert [image.path for image in gallery.quarantined] == ["gone.png"]
    whole = decode(tmp_path / "photos" / "one.png")
    np.testing.assert_array_equal(queries.pixels(0), whole[:4, :4])
    np.testing.assert_array_equal(gallery.pixels(0), whole[4:8, 4:8])
    np.testing.assert_array_equal(gallery.take([0]).pixels(0), whole[4:8, 4:8])
    assert len(list_images(table, manifest_dir=tmp_path / "manifests")) == 3
    table.write_text("path\none.png\ntwo.png\n")
    assert list_images(table, role="query", manifest_dir=tmp_path / "manifests").labels is None
    table.write_text("path,label,query\ntwo.png,a,yes\n")
    with pytest.raises(DataError, match=r"table\.csv: marks no image as gallery; write yes in its column gallery"):
        list_images(table, role="gallery", manifest_dir=tmp_path / "manifests")
