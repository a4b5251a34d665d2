"""`imagematch gallery`, as a user runs it, on a small matcher trained here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from imagematch import Gallery, ImageMatcher
from imagematch.cli.main import app
from imagematch.cli.running import run
from imagematch.retrieval import IMAGE_SIDE, distances

MODEL = Path("exp/saved_models/small")
SMALL = {
    "experiment_name": "small",
    "dataset": "folder",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim": 8,
    "epochs": 3,
    "threshold": {"far": 0.05},
}

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two matchers in exp/, small and other, and digits in images/CLASS."""
    from imagematch.config import parse_train
    from imagematch.files import Layout
    from imagematch.pipeline import run_training

    root, digits = tmp_path_factory.mktemp("small"), load_digits()
    for row in range(120):
        path = root / "images" / f"digit {digits.target[row]}" / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[row] * 15.9).astype(np.uint8)).save(path)
    here = Path.cwd()
    os.chdir(root)
    try:
        for name, seed in (("small", 0), ("other", 1)):
            settings = {**SMALL, "experiment_name": name, "seed": seed, "data_dir": "images"}
            run_training(parse_train(settings), Layout())
    finally:
        os.chdir(here)
    return root


@pytest.fixture
def gallery(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `imagematch gallery` in a copy of that folder: exit code, output, errors."""
    shutil.copytree(trained, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)

    def run_it(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run(app, ["gallery", *arguments])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run_it


def one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error


def test_from_a_folder_to_answers(gallery: Command) -> None:
    model = ("--model", str(MODEL))
    code, out, _ = gallery("create", "digits", *model, "--json")
    assert code == 0
    assert json.loads(out)["image_side"] == IMAGE_SIDE
    code, out, err = gallery("add", "digits", "images", *model)
    assert (code, err) == (0, "")
    assert "120 images added, 0 were there already; 120 in all" in out
    assert "0 images added, 120 were there already; 120 in all" in gallery("add", "digits", "images", *model)[1]
    code, out, err = gallery("search", "digits", "images/digit 3/003.png", *model, "--top-k", "3", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    (query,) = found["queries"]
    paths = sorted(Path("images").rglob("*.png"))
    matcher = ImageMatcher.load(MODEL)
    embeddings = matcher.embed(paths)
    every = distances(embeddings[paths.index(Path("images/digit 3/003.png"))][None], embeddings)[0]
    order = np.argsort(every, kind="stable")[:3]
    assert [hit["label"] for hit in query["hits"]] == [paths[row].parent.name for row in order]
    np.testing.assert_allclose([hit["distance"] for hit in query["hits"]], every[order], atol=1e-5)
    assert [hit["is_match"] for hit in query["hits"]] == (every[order] < matcher.threshold).tolist()
    assert (found["threshold"], query["unknown"]) == (matcher.threshold, False)
    listed = json.loads(gallery("list", "digits", "--label", "digit 3", "--json")[1])["images"]
    assert len(listed) == len(list(Path("images/digit 3").iterdir()))
    assert query["hits"][0]["id"] in [image["id"] for image in listed]
    labels = json.loads(gallery("list", "digits", "--labels", "--json")[1])
    assert labels["labels"] == {folder.name: len(list(folder.iterdir())) for folder in sorted(Path("images").iterdir())}
    code, out, _ = gallery("search", "digits", "images/digit 3/003.png", *model, "--by-label", "--top-k", "2")
    assert code == 0
    assert out.splitlines()[1] == "images/digit 3/003.png"
    assert "match      0.0000" in out
    assert "digit 3" in out


def test_images_leave_again_and_ids_stay(gallery: Command) -> None:
    model = ("--model", str(MODEL))
    gallery("create", "digits", *model)
    first = json.loads(gallery("add", "digits", "images/digit 3", *model, "--label", "three", "--json")[1])
    (single,) = json.loads(gallery("add", "digits", "images/digit 4/004.png", *model, "--json")[1])["ids"]
    assert first["added"] == len(first["ids"]) == first["images"]
    assert json.loads(gallery("remove", "digits", str(first["ids"][0]), "--json")[1])["removed"] == 1
    code, out, _ = gallery("remove", "digits", "--label", "three")
    assert (code, out) == (0, f"{len(first['ids']) - 1} removed, 1 left\n")
    assert [image["id"] for image in json.loads(gallery("list", "digits", "--json")[1])["images"]] == [single]
    for wrong in ((), ("1", "--label", "three")):
        code, _, err = gallery("remove", "digits", *wrong)
        assert (code, one_line(err)) == (2, True)


def test_what_cannot_be_used_is_named_and_the_others_are_added(gallery: Command) -> None:
    Path("images/digit 3/broken.png").write_text("no image")
    gallery("create", "digits", "--model", str(MODEL))
    code, out, _ = gallery("add", "digits", "images/digit 3", "--model", str(MODEL))
    assert code == 0
    assert "left out: broken.png: is not an image in a known format" in out
    assert f"{len(list(Path('images/digit 3').iterdir())) - 1} images added" in out


def test_boxes_of_a_table_are_images_of_their_own(gallery: Command) -> None:
    names = ["images/digit 0/000.png", "images/digit 1/001.png"]
    Image.fromarray(np.concatenate([np.asarray(Image.open(name)) for name in names], axis=1)).save("sheet.png")
    Path("sheet.csv").write_text("path,label,x,y,w,h\nsheet.png,zero,0,0,8,8\nsheet.png,one,8,0,8,8\n")
    gallery("create", "digits", "--model", str(MODEL))
    assert gallery("add", "digits", "sheet.csv", "--model", str(MODEL))[0] == 0
    found = json.loads(gallery("search", "digits", *names, "--model", str(MODEL), "--top-k", "1", "--json")[1])
    hits = [query["hits"][0] for query in found["queries"]]
    assert [(hit["label"], round(hit["distance"], 5)) for hit in hits] == [("zero", 0), ("one", 0)]


def test_exported_it_is_a_data_set(gallery: Command) -> None:
    model = ("--model", str(MODEL))
    gallery("create", "digits", *model)
    gallery("add", "digits", "images", *model)
    assert gallery("export", "digits", "out")[0] == 0
    gallery("create", "again", *model)
    assert "120 images added" in gallery("add", "again", "out/images.csv", *model)[1]
    with Gallery.open("digits") as first, Gallery.open("again") as second:
        assert first.labels() == second.labels()
        ids = [image.id for image in first.images()]
        np.testing.assert_array_equal(np.load("out/embeddings.npy"), first.embeddings(ids))
    code, _, err = gallery("export", "digits", "out")
    assert (code, one_line(err)) == (3, True)
    assert "out: already exists; name a new folder" in err


def test_another_matcher_is_refused_and_may_rebuild(gallery: Command) -> None:
    other = ("--model", "exp/saved_models/other")
    gallery("create", "digits", "--model", str(MODEL))
    gallery("add", "digits", "images", "--model", str(MODEL))
    code, _, err = gallery("search", "digits", "images/digit 3/003.png", *other)
    assert (code, one_line(err)) == (5, True)
    assert "digits: belongs to another matcher, which is called small; use that one" in err
    code, out, _ = gallery("rebuild", "digits", *other)
    assert (code, out) == (0, "120 images embedded anew, for matcher other\n")
    paths = sorted(Path("images").rglob("*.png"))
    with Gallery.open("digits", "exp/saved_models/other") as opened:
        sources = [image.source for image in opened.images()]
        embeddings = opened.embeddings([image.id for image in opened.images()])
        expected = opened.matcher.embed(paths)
        order = [sources.index(str(path)) for path in paths]
        np.testing.assert_allclose(embeddings[order], expected, atol=1e-5)  # of 8 x 8 pixels PNG loses nothing


def test_mistakes_are_told_in_one_line(gallery: Command) -> None:
    model = ("--model", str(MODEL))
    gallery("create", "digits", *model)
    for arguments, expected, told in (
        (("search", "nowhere", "images/digit 3/003.png", *model), 3, "no gallery is there"),
        (("list", "nowhere"), 3, "no gallery is there"),
        (("create", "digits", *model), 3, "is a gallery already"),
        (("create", "images", *model), 3, "already exists"),
        (("create", "new", "--model", "nowhere"), 5, "nowhere"),
        (("list", "mongodb://x/y"), 2, "no gallery is stored at mongodb://"),
        (("add", "digits", "nowhere", *model), 3, "no such folder"),
        (("add", "digits", "images", *model, "--label", "x" * 10_000), 3, "at most 1,000 letters, not 10,000"),
        (("search", "digits", "images/nowhere.png", *model), 3, "nowhere.png"),
        (("search", "digits", "images/digit 3/003.png", *model, "--threshold", "3"), 2, "--threshold"),
    ):
        code, _, err = gallery(*arguments)
        assert (code, one_line(err)) == (expected, True), arguments
        assert told in err
    code, out, _ = gallery("search", "digits", "images/digit 3/003.png", *model)
    assert (code, out.splitlines()[1:]) == (0, ["images/digit 3/003.png: unknown"])


def test_labels_with_markup_and_line_feeds_are_one_line(gallery: Command) -> None:
    gallery("create", "digits", "--model", str(MODEL))
    gallery("add", "digits", "images/digit 3/003.png", "--model", str(MODEL), "--label", "<b>\nx\x1b[31m")
    _, out, _ = gallery("list", "digits")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
