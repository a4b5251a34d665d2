"""The sources that read a layout on disk: what each layout means, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import unreadable

from imagematch.errors import ConfigError, DataError
from imagematch.registry import SOURCE_REGISTRY
from imagematch.sources import ImageRow, SourceOptions, open_source


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(name: str, root: Path, split_by: str = "image") -> tuple[ImageRow, ...]:
    return open_source(name, root, SourceOptions(split_by=split_by)).listing().rows


def labels_and_splits(entries: tuple[ImageRow, ...]) -> list[tuple[str, str, str]]:
    return [(entry.path, entry.label, entry.split) for entry in entries]


def test_unknown_source() -> None:
    with pytest.raises(ConfigError, match="no data set is called 'imagenet'; known are celeba, csv"):
        open_source("imagenet", None)


@pytest.mark.parametrize("name", ["folder", "csv", "celeba", "omniglot", "flowers", "tiny_imagenet"])
def test_missing_and_wrong_folders(name: str, tmp_path: Path) -> None:
    fetched = f"run imagematch data fetch {name}, or " if SOURCE_REGISTRY.all()[name].download else ""
    with pytest.raises(DataError, match=f"nowhere: no such folder; {fetched}set data_dir"):
        open_source(name, tmp_path / "nowhere")
    with pytest.raises(DataError, match="set data_dir"):
        open_source(name, None)
    with pytest.raises(DataError):
        open_source(name, tmp_path).listing()
    touch(tmp_path, "file.png")
    with pytest.raises(DataError):
        open_source(name, tmp_path / "file.png").listing()


@pytest.mark.parametrize("name", ["folder", "csv", "celeba", "omniglot", "flowers", "tiny_imagenet"])
def test_places_that_cannot_be_looked_up(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x: cannot be accessed: File name too long; check the path"):
        open_source(name, tmp_path / ("x" * 300))
    closed = touch(tmp_path / "closed", "data/a.csv")
    for place in (closed, closed / "data"):
        with unreadable(closed), pytest.raises(DataError, match=r"closed.*cannot be .*: Permission denied"):
            open_source(name, place)


def test_a_closed_folder_inside_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "identity_CelebA.txt", "Img/img_align_celeba/1.jpg", "train/n1/images/1.JPEG", "val/images/1.JPEG")
    (tmp_path / "identity_CelebA.txt").write_text("1.jpg 7\n")
    for name, closed in (("celeba", "Img"), ("tiny_imagenet", "val")):
        source = open_source(name, tmp_path, SourceOptions(split_by="predefined"))
        with unreadable(tmp_path / closed), pytest.raises(DataError, match=r"Permission denied"):
            source.listing()


class TestFolder:
    def test_nested_classes(self, tmp_path: Path) -> None:
        touch(tmp_path, "cat/1.png", "dog/big/1.png", "dog/1.png", "dog/readme.txt")
        options = SourceOptions(layout="classes")
        rows = open_source("folder", tmp_path, options).listing().rows
        assert labels_and_splits(rows) == [
            ("cat/1.png", "cat", ""),
            ("dog/1.png", "dog", ""),
            ("dog/big/1.png", "dog/big", ""),
        ]

    @pytest.mark.parametrize("val", ["val", "valid", "Validation"])
    def test_split_folders(self, tmp_path: Path, val: str) -> None:
        touch(tmp_path, "train/cat/1.png", f"{val}/cat/1.png", "test/dog/x/1.png", "train/stray.txt")
        assert sorted(labels_and_splits(listed("folder", tmp_path))) == sorted(
            [
                ("train/cat/1.png", "cat", "train"),
                (f"{val}/cat/1.png", "cat", "validation"),
                ("test/dog/x/1.png", "dog", "test"),
            ]
        )

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.png", "bus/1.png")
        assert labels_and_splits(listed("folder", tmp_path)) == [("bus/1.png", "bus", ""), ("train/1.png", "train", "")]
        touch(tmp_path, "test/red/1.png")
        with pytest.raises(DataError, match="two ways: test/, train/ are splits and bus/ is left out"):
            listed("folder", tmp_path)

    def test_images_outside_classes_are_told(self, tmp_path: Path) -> None:
        touch(tmp_path, "logo.png")
        with pytest.raises(DataError, match="1 images, but no class folders; make a folder for each class"):
            listed("folder", tmp_path)
        touch(tmp_path, "cat/1.png")
        listing = open_source("folder", tmp_path).listing()
        assert [entry.path for entry in listing.rows] == ["cat/1.png"]
        assert listing.left_out == {"images in no class folder": ["logo.png"]}


class TestTinyImagenet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        touch(
            tmp_path,
            "train/n1/images/n1_0.JPEG",
            "train/n2/images/n2_0.JPEG",
            "train/n1/n1_boxes.txt",
            "test/images/t.JPEG",
        )
        touch(tmp_path, "val/images/val_0.JPEG", "val/images/val_1.JPEG")
        (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn2\t0\t0\t9\t9\nval_1.JPEG\tn3\t0\t0\t9\t9\n")
        (tmp_path / "words.txt").write_text("n1\tgoldfish, Carassius\nn9\tother\n")
        return tmp_path

    def test_training_images_are_what_is_split(self, root: Path) -> None:
        assert labels_and_splits(listed("tiny_imagenet", root)) == [
            ("train/n1/images/n1_0.JPEG", "n1", ""),
            ("train/n2/images/n2_0.JPEG", "n2", ""),
        ]

    def test_official_validation_images_of_known_classes(self, root: Path) -> None:
        entries = listed("tiny_imagenet", root, "predefined")
        assert labels_and_splits(entries)[2:] == [("val/images/val_0.JPEG", "n2", "validation")]

    def test_titles(self, root: Path) -> None:
        assert open_source("tiny_imagenet", root).listing().titles == {"n1": "goldfish, Carassius"}

    def test_wrong_layouts(self, root: Path) -> None:
        (root / "val/val_annotations.txt").write_text("val_0.JPEG n2\n")
        with pytest.raises(DataError, match=r"val_annotations.txt:1: has no file and label"):
            listed("tiny_imagenet", root, "predefined")
        (root / "val/val_annotations.txt").unlink()
        with pytest.raises(DataError, match="needs the official validation images"):
            listed("tiny_imagenet", root, "predefined")


class TestOmniglot:
    def test_alphabets_are_groups(self, tmp_path: Path) -> None:
        touch(tmp_path, "images_background/Greek/c1/1.png", "images_background/Greek/c2/1.png")
        entries = listed("omniglot", tmp_path)
        assert [(e.label, e.superclass, e.split) for e in entries] == [
            ("Greek/c1", "Greek", ""),
            ("Greek/c2", "Greek", ""),
        ]

    def test_official_split(self, tmp_path: Path) -> None:
        touch(tmp_path, "images_background/Greek/c1/1.png", "images_evaluation/Tengwar/c1/1.png")
        assert [entry.split for entry in listed("omniglot", tmp_path)] == ["train", "test"]


class TestFlowers:
    def test_the_archive_s_folder_is_entered(self, tmp_path: Path) -> None:
        touch(tmp_path, "flower_photos/daisy/1.jpg", "flower_photos/LICENSE.txt")
        assert labels_and_splits(listed("flowers", tmp_path)) == [("daisy/1.jpg", "daisy", "")]


class TestCeleba:
    def test_identities_partition_and_missing_pictures(self, tmp_path: Path) -> None:
        touch(tmp_path, "Img/img_align_celeba/1.jpg", "Img/img_align_celeba/2.jpg", "Img/img_align_celeba/9.jpg")
        (tmp_path / "identity_CelebA.txt").write_text("1.jpg 7\r\n2.jpg 7\r\n3.jpg 8\r\n")
        (tmp_path / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 1\n3.jpg 2\n")
        entries = listed("celeba", tmp_path)
        assert [(e.path, e.label, e.split) for e in entries] == [
            ("Img/img_align_celeba/1.jpg", "7", "train"),
            ("Img/img_align_celeba/2.jpg", "7", "validation"),
        ]
        left_out = open_source("celeba", tmp_path).listing().left_out
        assert left_out == {"images that identity_CelebA.txt names and that are not there": ["3.jpg"]}

    def test_kaggle_s_folder_in_a_folder_of_the_same_name(self, tmp_path: Path) -> None:
        touch(tmp_path, "img_align_celeba/img_align_celeba/1.jpg")
        (tmp_path / "identity_CelebA.txt").write_text("1.jpg 7\n")
        (entry,) = listed("celeba", tmp_path)
        assert (entry.path, entry.size) == ("img_align_celeba/img_align_celeba/1.jpg", 1)

    def test_in_the_wild(self, tmp_path: Path) -> None:
        touch(tmp_path, "Img/img_celeba/1.jpg", "Img/img_celeba/2.jpg")
        for folder in ("Anno", "Eval"):
            (tmp_path / folder).mkdir()
        (tmp_path / "Anno" / "identity_CelebA.txt").write_text("1.jpg 7\n2.jpg 8\n3.jpg 8\n")
        (tmp_path / "Eval" / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 2\n3.jpg 1\n")
        entries = listed("celeba", tmp_path)
        assert [(e.path, e.label, e.split, e.size) for e in entries] == [
            ("Img/img_celeba/1.jpg", "7", "train", 1),
            ("Img/img_celeba/2.jpg", "8", "test", 1),
        ]

    def test_in_the_wild_unpacked_into_a_folder_of_the_same_name(self, tmp_path: Path) -> None:
        touch(tmp_path, "img_celeba/img_celeba/1.jpg")
        (tmp_path / "identity_CelebA.txt").write_text("1.jpg 7\n")
        (entry,) = listed("celeba", tmp_path)
        assert (entry.path, entry.size, entry.split) == ("img_celeba/img_celeba/1.jpg", 1, "")

    def test_aligned_pictures_go_before_those_in_the_wild(self, tmp_path: Path) -> None:
        touch(tmp_path, "img_celeba/1.jpg", "Img/img_align_celeba/1.jpg")
        (tmp_path / "identity_CelebA.txt").write_text("1.jpg 7\n")
        assert [entry.path for entry in listed("celeba", tmp_path)] == ["Img/img_align_celeba/1.jpg"]

    def test_wrong_table(self, tmp_path: Path) -> None:
        touch(tmp_path, "img_celeba/1.jpg")
        with pytest.raises(DataError, match=r"has no identity_CelebA.txt"):
            listed("celeba", tmp_path)
        (tmp_path / "identity_CelebA.txt").write_text("202599\nimage_id identity name\n")
        with pytest.raises(DataError, match=r"identity_CelebA.txt:1: is not an image and a number"):
            listed("celeba", tmp_path)

    def test_windows_line_ends_tabs_and_blank_lines(self, tmp_path: Path) -> None:
        touch(tmp_path, "img_align_celeba/1.jpg", "img_align_celeba/2.jpg")
        (tmp_path / "identity_CelebA.txt").write_bytes(b"1.jpg\t7\r\n\r\n2.jpg  8 \r\n")
        assert [(e.path, e.label) for e in listed("celeba", tmp_path)] == [
            ("img_align_celeba/1.jpg", "7"),
            ("img_align_celeba/2.jpg", "8"),
        ]


class TestRoles:
    def test_query_and_gallery_folders_are_no_part_of_the_label(self, tmp_path: Path) -> None:
        touch(tmp_path, "query/a/1.png", "Gallery/a/2.png", "Gallery/b/c/3.png")
        listing = open_source("folder", tmp_path).listing()
        assert [(e.path, e.label, e.split) for e in listing.of_role("gallery")] == [
            ("Gallery/a/2.png", "a", ""),
            ("Gallery/b/c/3.png", "b", ""),
        ]
        assert [(e.path, e.label) for e in listing.of_role("query")] == [("query/a/1.png", "a")]

    def test_classes_may_be_called_so(self, tmp_path: Path) -> None:
        touch(tmp_path, "query/1.png", "other/2.png", "gallery/3.png")
        listing = open_source("folder", tmp_path).listing()
        assert [entry.label for entry in listing.rows] == ["gallery", "other", "query"]
        assert listing.of_role("query") == listing.of_role("gallery") == ()
