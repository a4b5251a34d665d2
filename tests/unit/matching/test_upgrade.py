"""Folders of imagematch 0.1: refused everywhere, and written anew by `imagematch upgrade`, which keeps the old one."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imagematch import ImageMatcher
from imagematch.errors import ModelError
from imagematch.files import digest_file, digest_json
from imagematch.matching import upgrade_matcher
from imagematch.matching.format_1 import write_anew

FIXTURE = Path(__file__).parents[2] / "fixtures" / "format_1" / "pixels"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURE, tmp_path / "small")


def sealed_anew(folder: Path, change=lambda card: None) -> Path:
    """Edits the card of format 1, with digests that fit: they are no signature."""
    path = folder / "matcher.json"
    card = json.loads(path.read_text())
    change(card)
    card["files"] = {name: digest_file(folder / name) for name in card["files"] if (folder / name).is_file()}
    del card["digest"]
    path.write_text(json.dumps({**card, "digest": digest_json(card)}))
    return folder


def refused(folder: Path, says: str, write=upgrade_matcher) -> None:
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    with pytest.raises(ModelError, match=says) as caught:
        write(folder)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


def here(folder: Path) -> None:
    """Without the process of its own, which takes seconds to start."""
    new = folder.with_name("new")
    try:
        write_anew(folder, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def test_a_folder_of_version_0_1_is_refused_and_the_way_told(old):
    with pytest.raises(ModelError, match=r"imagematch 0\.1.*if it is your own: imagematch upgrade"):
        ImageMatcher.load(old)


def test_it_is_written_anew_and_gives_the_same_embeddings(old):
    golden = np.array(json.loads((old / "matcher.json").read_text())["golden"])
    (old / "metrics.json").write_text("{}")
    (old / "report.html").mkdir()
    backup = upgrade_matcher(old)
    assert backup == old.with_name("small.format-1")
    assert (backup / "feature_model.keras").read_bytes() == (FIXTURE / "feature_model.keras").read_bytes()
    matcher = ImageMatcher.load(old)
    card = matcher.card
    assert np.linalg.norm(np.array(card.golden) - golden, axis=1).max() < 1e-4
    assert (card.name, card.format, card.embedding.test_time_flip) == ("small", 2, True)
    assert card.embedding.head.units == (16,)
    assert (card.threshold.distance, card.probability.method) == (1.0, "platt")
    assert (card.provenance.dataset, card.provenance.seed) == ("made up", 0)
    assert (old / "metrics.json").read_text() == "{}"
    assert not (old / "report.html").exists()
    assert sorted(path.name for path in old.parent.iterdir()) == ["small", "small.format-1"]
    with pytest.raises(ModelError, match="earlier backup is in the way"):
        upgrade_matcher(old)


def test_the_command_says_what_it_did(old, monkeypatch):
    from imagematch.cli.main import app

    monkeypatch.setattr("imagematch.matching.upgrade_matcher", lambda folder: folder.with_name("kept"))
    done = CliRunner().invoke(app, ["upgrade", str(old)])
    assert done.exit_code == 0, done.output
    assert "kept" in done.output.replace("\n", "")


def test_what_is_not_of_format_1_stays_as_it_is(pixel_folder, tmp_path):
    refused(shutil.copytree(pixel_folder, tmp_path / "small"), "is not a matcher of imagematch 0.1")
    refused(tmp_path / "nowhere", "no such model folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "matcher.json is missing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card: card.pop("embedding"), "is damaged"),
        (lambda card: card["embedding"].update(image_size=10**9), "damaged|takes it more"),
        (lambda card: card["embedding"].update(image_size="8"), "is damaged"),
        (lambda card: card["embedding"].update(extractor="../../x"), "is damaged"),
        (lambda card: card["embedding"].update(network_digest="../../x"), "is damaged"),
        (lambda card: card["embedding"].update(members=[{"extractor": "pixels"}]), "is damaged"),
        (lambda card: card["threshold"].update(distance=-1), "is damaged"),
        (lambda card: card["probability"].update(method="eval"), "damaged|probability"),
        (lambda card: card.update(name="../../x"), "is damaged"),
        (lambda card: card.update(golden=[[0.5] * 12] * 3), "gives other embeddings"),
        (lambda card: card.update(golden=[]), "is damaged"),
    ],
    ids=range(11),
)
def test_a_hostile_card_is_one_line(old, change, says):
    refused(sealed_anew(old, change), says, here)


def test_a_hostile_archive_is_one_line(old):
    members = {}
    with zipfile.ZipFile(old / "feature_model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"].append({"class_name": "Lambda", "module": "keras.layers", "config": {}})
    with zipfile.ZipFile(old / "feature_model.keras", "w") as archive:
        for name, data in {**members, "config.json": json.dumps(config)}.items():
            archive.writestr(name, data)
    refused(sealed_anew(old), "'Lambda', which is not allowed")


def test_a_link_out_of_the_folder_is_not_followed(old, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (old / "config.yaml").rename(elsewhere / "config.yaml")
    (old / "config.yaml").symlink_to(elsewhere / "config.yaml")
    refused(old, "leads out of its folder", here)
