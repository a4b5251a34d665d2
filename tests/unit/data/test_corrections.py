"""Corrections: read from a table, applied to the images of a data set, and kept as answered pairs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagematch.config import load_train
from imagematch.data import answered_pairs, open_dataset, read_corrections
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.files import digest_bytes

HEADER = "digest,label,other_digest,other_label,distance,answer,new_label,answered\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Classes a, b and c of 8 images each."""
    random = np.random.default_rng(0)
    for label in "abc":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 255, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


def digest(photos: Path, name: str) -> str:
    return digest_bytes((photos / name).read_bytes())


def opened(photos: Path, table: str, log: RunLog | None = None, data_dir: Path | None = None, dataset: str = "folder"):
    (photos.parent / "corrections.csv").write_text(table, encoding="utf-8")
    (photos.parent / "train.yaml").write_text(
        f"experiment_name: corrected\ndataset: {dataset}\ndata_dir: {data_dir or photos}\n"
        f"corrections: {photos.parent / 'corrections.csv'}\nfeature_extractor: pixels\n"
    )
    settings = load_train(photos.parent / "train.yaml")
    return open_dataset(settings, manifest_dir=photos.parent / "manifests", **({"log": log} if log else {}))


def labels_of(dataset) -> dict[str, str]:
    return {path: dataset.class_names[label] for path, label in zip(dataset.paths, dataset.labels, strict=True)}


def test_a_training_sees_the_images_as_people_corrected_them(photos: Path) -> None:
    rows = [
        f"{digest(photos, 'a/0.png')},a,{digest(photos, 'b/1.png')},b,0.1,wrong label,b,",
        f"{digest(photos, 'a/1.png')},a,,,,delete,,",
        f"{digest(photos, 'a/2.png')},a,,,,wrong label,,",
        f"{digest(photos, 'a/3.png')},z,,,,wrong label,,",
        f"{digest(photos, 'c/0.png')},c,{digest(photos, 'c/1.png')},c,0.5,different,,",
        f"{digest(photos, 'c/0.png')},c,{digest(photos, 'c/2.png')},c,0.5,same,,",
        f"{digest(photos, 'c/0.png')},c,{digest(photos, 'c/3.png')},c,0.5,not sure,,",
        f"{'0' * 32},c,,,,delete,,",
    ]
    said = io.StringIO()
    dataset = opened(photos, HEADER + "\n".join(rows), RunLog(stream=said))
    expected = {f"{label}/{number}.png": label for label in "abc" for number in range(8)}
    expected["a/0.png"] = "b"
    del expected["a/1.png"], expected["a/2.png"]
    assert labels_of(dataset) == expected
    (line,) = [line for line in said.getvalue().splitlines() if line.startswith("corrections:")]
    for part in (
        "1 images got another label",
        "1 are left out as deleted",
        "1 as wrongly labelled",
        "1 have another label by now",
        "1 answers are about images that are not there",
        "1 pairs judged the same and 1 different",
    ):
        assert part in line


def test_a_table_may_know_an_image_by_the_digest_of_its_original(photos: Path) -> None:
    rows = [f"photos/{label}/{number}.png,{label},{label}{number}" for label in "abc" for number in range(8)]
    (photos.parent / "images.csv").write_text("\n".join(["path,label,digest", *rows]))
    answers = HEADER + "a0,a,,,,wrong label,b,\nb1,b,,,,delete,,\n"
    labels = labels_of(opened(photos, answers, data_dir=photos.parent / "images.csv", dataset="csv"))
    assert labels["photos/a/0.png"] == "b"
    assert "photos/b/1.png" not in labels
    assert len(labels) == 23


def test_the_last_answer_counts_and_a_new_label_may_be_a_new_class(photos: Path) -> None:
    rows = ["path,label,new_label,answer", "a/0.png,a,,delete"]
    rows += [f"a/{number}.png,a,d,wrong label" for number in range(4)]
    rows += ["b/0.png,b,c,", "b/1.png,b,c,not sure"]
    found = labels_of(opened(photos, "\n".join(rows).replace("not sure", "")))
    assert [label for path, label in sorted(found.items()) if path.startswith("a/")] == ["d"] * 4 + ["a"] * 4
    assert found["b/0.png"] == found["b/1.png"] == "b"


def test_a_table_of_images_is_corrected_too(photos: Path) -> None:
    images = photos.parent / "images.csv"
    lines = [f"photos/{label}/{number}.png,{label}" for label in "abc" for number in range(8)]
    images.write_text("path,label\n" + "\n".join(lines))
    table = f"{HEADER}{digest(photos, 'a/0.png')},a,,,,wrong label,c,\n"
    assert labels_of(opened(photos, table, data_dir=images, dataset="csv"))["photos/a/0.png"] == "c"


def test_a_pair_is_judged_by_its_last_answer_whichever_image_stands_first(tmp_path: Path) -> None:
    rows = ["1,a,2,b,0,same,,", "3,a,4,a,0,different,,", "2,b,1,a,0,different,,", "4,a,3,a,0,not sure,,"]
    (tmp_path / "c.csv").write_text(HEADER + "\n".join(rows))
    (pair,) = answered_pairs(read_corrections(tmp_path / "c.csv"))
    assert ({pair.first, pair.second}, pair.same) == ({"1", "2"}, False)


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("digest,label\n1,a\n", "no column 'answer'"),
        ("label,answer\na,delete\n", "no column 'digest' or 'path'"),
        ("digest,answer\n1,perhaps\n", "c.csv:2: the answer is 'perhaps'"),
        ("digest,answer\n,delete\n", "does not name the image"),
        ("digest,answer\n1,same\n", "does not name the image"),
        ("digest,answer\n1\n", "1 values for 2 columns"),
        ("", "no column"),
    ],
)
def test_what_is_no_table_of_corrections_is_refused_with_its_line(tmp_path: Path, table: str, part: str) -> None:
    (tmp_path / "c.csv").write_text(table)
    with pytest.raises(DataError) as raised:
        read_corrections(tmp_path / "c.csv")
    assert part in str(raised.value)


def test_a_table_that_is_not_there_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_corrections(tmp_path / "none.csv")
