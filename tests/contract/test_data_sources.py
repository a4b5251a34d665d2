"""What every data source must do, run against each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.config import DATASETS, TrainSettings, parse_train
from imagematch.data import (
    SPLITS,
    Dataset,
    Face,
    audit_data,
    decode,
    draw_contact_sheet,
    open_dataset,
)
from imagematch.errors import DataError
from imagematch.registry import SOURCE_REGISTRY
from imagematch.sources import Listing, SourceOptions, open_source

CLASSES, IMAGES = 8, 30


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    image.save(path, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")


def write_classes(root: Path, pattern: str, images: int = IMAGES, first: int = 0) -> None:
    for label in range(CLASSES):
        for number in range(images):
            path = pattern.format(label=label, alphabet=label // 2, number=number)
            write(root / path, seed=first + 1000 * label + number)


def tiny_imagenet(root: Path) -> Path:
    write_classes(root, "train/n0{label}/images/n0{label}_{number}.JPEG")
    write_classes(root, "val/images/val_{label}_{number}.JPEG", 6, first=500)
    lines = [f"val_{label}_{number}.JPEG\tn0{label}\t0\t0\t9\t9" for label in range(CLASSES) for number in range(6)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    return root


def folder(root: Path) -> Path:
    write_classes(root, "train/class {label}/{number}.png")
    write_classes(root, "test/class {label}/{number}.png", 6, first=500)
    return root


def csv(root: Path) -> Path:
    write_classes(root, "p/{label}-{number}.png")
    lines = ["path,label,split,x,y,w,h"]
    for label in range(CLASSES):
        lines += [f"p/{label}-{n}.png,{label},{'train' if n < 24 else 'test'},1,1,5,6" for n in range(IMAGES)]
    (root / "images.csv").write_text("\n".join(lines))
    return root / "images.csv"


def celeba(root: Path) -> Path:
    write_classes(root, "img_align_celeba/{label}{number:03d}.jpg")
    names = [(f"{label}{number:03d}.jpg", label, number) for label in range(CLASSES) for number in range(IMAGES)]
    (root / "identity_CelebA.txt").write_text("".join(f"{name} {label}\n" for name, label, _ in names))
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {0 if n < 24 else 2}\n" for name, _, n in names))
    return root


def omniglot(root: Path) -> Path:
    write_classes(root, "images_background/Alphabet{alphabet}/character{label:02d}/{number}.png")
    write_classes(root, "images_evaluation/Other{alphabet}/character{label:02d}/{number}.png", 6, first=500)
    return root


def flowers(root: Path) -> Path:
    write_classes(root, "train/flower{label}/{number}.jpg")
    write_classes(root, "val/flower{label}/{number}.jpg", 6, first=500)
    return root


LAYOUTS: dict[str, Callable[[Path], Path] | None] = {
    "digits": None,
    "folder": folder,
    "tiny_imagenet": tiny_imagenet,
    "csv": csv,
    "celeba": celeba,
    "omniglot": omniglot,
    "flowers": flowers,
}


@dataclasses.dataclass
class Case:
    """A source with a small data set of its layout."""

    name: str
    data_dir: Path | None
    tmp_path: Path

    def settings(self, **keys: Any) -> TrainSettings:
        place = {} if self.data_dir is None else {"data_dir": str(self.data_dir)}
        return parse_train({"experiment_name": "test", "dataset": self.name, **place, **keys})

    def open(self, **keys: Any) -> Dataset:
        return open_dataset(self.settings(**keys), manifest_dir=self.tmp_path / "manifests")

    def listing(self) -> Listing:
        options = SourceOptions(split_by="predefined")
        return open_source(self.name, self.settings().data_dir, options).listing()

    def a_file(self) -> Path:
        dataset = self.open()
        assert dataset.root is not None
        file = dataset.files[0] if dataset.files else str(dataset.paths[0])
        return dataset.root / file


@pytest.fixture(params=sorted(SOURCE_REGISTRY.all()))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    root, layout = tmp_path / "data", LAYOUTS.get(request.param)
    if request.param not in LAYOUTS:  # one of an installed package
        write_classes(root, SOURCE_REGISTRY.all()[request.param].maker.sample)
        return Case(request.param, root, tmp_path)
    return Case(request.param, layout(root) if layout else None, tmp_path)


def test_every_data_set_that_can_be_configured_has_a_source() -> None:
    assert set(DATASETS) == set(SOURCE_REGISTRY.all())


def test_listing_is_sorted_unique_and_the_same_every_time(case: Case) -> None:
    settings = case.settings()
    listings = [open_source(case.name, settings.data_dir).listing() for _ in range(2)]
    paths = [entry.path for entry in listings[0].rows]
    assert paths == sorted(set(paths))
    assert listings[0] == listings[1]
    assert all(entry.label and not entry.path.startswith("/") for entry in listings[0].rows)
    assert {entry.split for entry in listings[0].rows} <= {"", *SPLITS}


def test_every_image_decodes_to_what_the_manifest_says(case: Case) -> None:
    dataset = case.open()
    assert len(dataset) >= CLASSES * IMAGES - 40
    assert not dataset.quarantined
    for row in range(0, len(dataset), 17):
        picture = dataset.pixels(row, 64)
        assert picture.dtype == np.uint8
        assert picture.shape == (dataset.heights[row], dataset.widths[row], 3)
        whole = decode(dataset.read(row))
        assert whole.shape[0] >= picture.shape[0]
    assert max(dataset.pixels(0, 5).shape[:2]) == 5


def test_labels_and_splits_are_in_range(case: Case) -> None:
    dataset = case.open()
    assert np.array_equal(np.unique(dataset.labels), np.arange(len(dataset.class_names)))
    assert list(dataset.class_names) == sorted(set(dataset.class_names))
    assert len(dataset.titles) == len(dataset.class_names)
    assert set(dataset.splits.tolist()) == set(SPLITS)
    for column in (dataset.splits, dataset.digests, dataset.widths, dataset.heights, dataset.modes):
        assert len(column) == len(dataset)


@pytest.mark.parametrize("split_by", ["image", "class", "predefined"])
def test_splits_are_deterministic_and_have_pairs(case: Case, split_by: str) -> None:
    if split_by == "predefined" and not any(row.split for row in case.listing().rows):
        with pytest.raises(DataError, match="no split of its own"):
            case.open(split_by=split_by)
        return
    dataset, again, other = (case.open(split_by=split_by, seed=seed) for seed in (0, 0, 1))
    assert dataset.digest == again.digest != other.digest
    for split in ("train", "validation", "test"):
        _, sizes = np.unique(dataset.labels[dataset.rows(split)], return_counts=True)
        assert len(sizes) >= 2
        assert sizes.max() >= 2
    if split_by == "class":
        parts = [set(dataset.labels[dataset.rows(split)].tolist()) for split in ("train", "validation", "test")]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
    if split_by == "predefined":
        assert np.array_equal(dataset.rows("test"), other.rows("test"))


def test_a_corrupt_and_a_missing_file_are_survived(case: Case) -> None:
    if case.data_dir is None:
        pytest.skip("embedded images cannot break")
    before, file = case.open(), case.a_file()
    file.write_bytes(file.read_bytes()[:60])
    after = case.open()
    assert len(after) == len(before) - 1
    assert [image.path for image in after.quarantined] == [before.paths[0]]
    file.unlink()
    file.symlink_to(file.parent / "nowhere")
    assert len(case.open()) == len(before) - 1


def test_reading_what_is_not_there_is_a_data_error(case: Case) -> None:
    source = open_source(case.name, case.settings().data_dir)
    with pytest.raises(DataError):
        source.read("no/such/image.png")


def test_a_missing_folder_is_one_line(case: Case) -> None:
    if case.data_dir is None:
        pytest.skip("has no folder")
    case.data_dir = case.tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"nowhere: no such folder; .*set data_dir"):
        case.open()


def test_a_check_and_a_contact_sheet_of_it(case: Case) -> None:
    checked = audit_data(case.settings(), manifest_dir=case.tmp_path / "manifests")
    report, dataset = checked.report, case.open()
    assert checked.problem is None
    assert report["used"] == dataset.summary()
    assert report["images"] >= len(dataset)
    assert sum(report["modes"].values()) == len(dataset) + report["exact_duplicates"]["across_splits"]
    assert draw_contact_sheet(checked.scan).size == (5 * 274, 8 * 154)


def test_faces_are_cut_out_of_any_of_them(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that a table gives is kept; every other image becomes the face that is found in it."""
    plain = case.open()
    monkeypatch.setattr("imagematch.data.FaceCropper.find", lambda _cropper, _image, **_: Face(2, 1, 4, 4))
    searched = case.open(face_crop="haar", face_margin=0)
    assert searched.face_cropper is not None
    assert searched.paths.tolist() == plain.paths.tolist()
    for row in range(0, len(plain), 29):
        cut = plain.pixels(row) if case.name == "csv" else plain.pixels(row)[1:5, 2:6]
        assert np.array_equal(searched.pixels(row), cut)
    assert (searched.digest == plain.digest) == (case.name == "csv")


def test_unicode_and_long_names(case: Case) -> None:
    if case.name not in ("folder", "omniglot", "flowers", "tiny_imagenet"):
        pytest.skip("names its files in a table")
    file = case.a_file()
    names = ["ünïcödé 图像 \U0001f600" + file.suffix, "x" * (255 - len(file.suffix)) + file.suffix]
    before = len(case.open())
    for number, name in enumerate(names):
        write(file.with_name(name), seed=90_000 + number)
    after = case.open()
    assert len(after) == before + 2
    for name in names:
        (row,) = (row for row, path in enumerate(after.paths) if path.endswith(name))
        assert after.pixels(row, 64).shape == (9, 7, 3)


def test_a_few_missing_pictures_of_a_table_are_named_and_many_stop(case: Case) -> None:
    if case.name not in ("csv", "celeba"):
        pytest.skip("lists what is there")
    dataset = case.open()
    assert dataset.root is not None
    files = [dataset.root / (dataset.files[row] if dataset.files else dataset.paths[row]) for row in range(13)]
    for file in files[:5]:
        file.unlink()
    fewer = case.open()
    assert len(fewer) == len(dataset) - 5
    gone = () if case.name == "celeba" else dataset.paths[:5].tolist()
    assert [image.path for image in fewer.quarantined] == list(gone)
    for file in files[5:]:
        file.unlink()
    if case.name == "celeba":  # its tables are meant to be larger than the folder
        assert len(case.open()) == len(dataset) - 13
        return
    with pytest.raises(DataError, match=r"13 of the 240 images that it names are not there, as p/0-0.png, .*: paths"):
        case.open()
    assert len(case.open(missing_files="skip")) == len(dataset) - 13
