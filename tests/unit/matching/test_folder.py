"""A matcher's folder: what is missing, edited, newer or hostile is told in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.errors import ModelError
from imagematch.matching import head_fields, read_card
from imagematch.matching.card_file import sealed
from imagematch.model import HeadShape, JoinedShape, build_head, build_joined_head


def refused(folder: Path, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        ImageMatcher.load(folder)
    assert "\n" not in str(caught.value)


def test_a_matcher_comes_back_without_tensorflow(pixel_folder, images):
    np.save(pixel_folder.parent / "images.npy", images)
    program = (
        "import sys, json, numpy as np; from imagematch import ImageMatcher;"
        f"matcher = ImageMatcher.load({str(pixel_folder)!r});"
        f"images = np.load({str(pixel_folder.parent / 'images.npy')!r});"
        "print(json.dumps(matcher.predict(images, images[::-1]).tolist()));"
        "assert not {'tensorflow', 'keras', 'openvino'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    matcher = ImageMatcher.load(pixel_folder)
    expected = matcher.keras_model([images.astype(np.float32), images[::-1].astype(np.float32)])
    np.testing.assert_allclose(json.loads(done.stdout), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("heads", [0, 1])
def test_a_joined_head_comes_back(tmp_path: Path, images: np.ndarray, heads: int) -> None:
    random = np.random.default_rng(0)
    features = images.reshape(len(images), -1).astype(np.float32)
    projection = random.normal(0, 1, (features.shape[1], 5)).astype(np.float32), np.ones(5, np.float32)
    made = [build_head(features.shape[1], units=(7,), embedding_dim=4, name="head_1")][:heads]
    head = build_joined_head(features.shape[1], heads=made, projection=projection, shares=[0.6, 0.8][-heads - 1 :])
    shape = JoinedShape(features.shape[1], (HeadShape(features.shape[1], (7,), 4),)[:heads], 5)
    folder = write_matcher(tmp_path / "joined", built=head, **head_fields(shape))
    matcher = ImageMatcher.load(folder)
    assert matcher.card.embedding.dim == shape.dim == 5 + 4 * heads
    expected = np.asarray(matcher.feature_model(images.astype(np.float32)))
    np.testing.assert_allclose(matcher.embed(list(images)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"head": None}, "neither a head nor half-whitened features"),
        ({"head": None, "join": {"components": None, "heads": [], "reduced": None}}, "neither a head nor"),
        ({"join": {"components": 5, "heads": [], "reduced": 18}}, "reduced to more than it has"),
        ({"join": {"components": 0, "heads": [], "reduced": None}}, "join.components"),
    ],
)
def test_a_card_whose_parts_give_no_embedding_is_refused(
    pixel_folder: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    card = json.loads((folder / "matcher.json").read_text())
    card["embedding"].update(changes)
    (folder / "matcher.json").write_text(json.dumps(sealed(card)))
    refused(folder, says)


def test_no_folder_and_an_empty_one(tmp_path):
    refused(tmp_path / "nowhere", "no such model folder")
    refused(tmp_path, "matcher.json is missing")


def test_a_folder_that_cannot_be_is_told(tmp_path, monkeypatch):
    refused(tmp_path / ("x" * 300), "cannot be read")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "no such model folder")
    (tmp_path / "matcher.json").mkdir()
    refused(tmp_path, "cannot be read")
    monkeypatch.chdir(tmp_path)
    refused(Path(), "cannot be read")


def test_the_current_directory_may_be_the_folder(pixel_folder, monkeypatch):
    monkeypatch.chdir(pixel_folder)
    assert ImageMatcher.load(".").card == read_card(pixel_folder)


@pytest.mark.parametrize("file", ["matcher.json", "head.safetensors", "config.yaml"])
def test_a_missing_file_is_named(pixel_folder, tmp_path, file):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    (folder / file).unlink()
    refused(folder, rf"{file} is missing")


@pytest.mark.parametrize("file", ["head.safetensors", "config.yaml"])
def test_an_edited_file_is_named(pixel_folder, tmp_path, file):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    (folder / file).write_bytes((folder / file).read_bytes() + b"\n")
    refused(folder, rf"{file}: was changed since it was saved")


def test_the_keras_file_is_never_opened(pixel_folder, tmp_path, images):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    (folder / "feature_model.keras").unlink()
    os.mkfifo(folder / "feature_model.keras")
    matcher = ImageMatcher.load(folder)
    np.testing.assert_allclose(np.asarray(matcher.feature_model(images)), matcher.embed(images), atol=1e-5)


def test_weights_are_checked_when_they_are_asked_for(pixel_folder, tmp_path, images):
    pytest.importorskip("openvino")
    folder = write_matcher(tmp_path / "small", extractor="small_cnn", engine="openvino")
    path = folder / "extractor.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    matcher = ImageMatcher.load(folder)
    assert matcher.embed(images).shape == (4, 12)
    with pytest.raises(ModelError, match=r"extractor\.safetensors: was changed since it was saved"):
        _ = matcher.feature_model
    path.unlink()
    with pytest.raises(ModelError, match=r"extractor\.safetensors: cannot be read"):
        _ = matcher.feature_model


def networks(*names):
    return lambda card: card["embedding"].update(
        extractors=[{"name": name, "feature_dim": 192, "network": None} for name in names]
    )


def extractor(**changes):
    return lambda card: card["embedding"]["extractors"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card: card.update(format=3, imagematch="9.0", more=1), r"newer imagematch \(9\.0\)"),
        (lambda card: card.update(format=1), "written by imagematch 0.1.*imagematch upgrade"),
        (lambda card: card.update(format=2.0), "damaged"),
        (lambda card: card.update(format=True), "damaged"),
        (lambda card: card.update(format=-5), "damaged"),
        (lambda card: card.pop("format"), "damaged"),
        (lambda card: card.pop("threshold"), "damaged .threshold"),
        (lambda card: card.update(more=1), "damaged .more"),
        (lambda card: card["threshold"].update(distance=float("nan")), "damaged .threshold.distance"),
        (lambda card: card["threshold"].update(distance="far"), "damaged .threshold.distance"),
        (lambda card: card["threshold"].update(distance="1.1"), "damaged .threshold.distance"),
        (lambda card: card["threshold"].update(distance=True), "damaged .threshold.distance"),
        (lambda card: card["threshold"].update(distance=-1e300), "damaged .threshold.distance"),
        (lambda card: card["embedding"].update(engine="abacus"), "damaged .embedding.engine"),
        (lambda card: card["embedding"].update(engine="openvino"), None),
        (lambda card: card["embedding"].update(precision="int4"), "damaged .embedding.precision"),
        (lambda card: card["embedding"].update(image_size=10**9), "damaged .embedding.image_size"),
        (lambda card: card["embedding"].update(image_size=4), "damaged .embedding: pixels gives 48 features, not 192"),
        (lambda card: card["embedding"]["head"].update(embedding_dim=3), "golden"),
        (lambda card: card["embedding"]["head"].update(units=[17]), "does not hold the weights"),
        (lambda card: card["embedding"]["head"].update(units=[0]), "damaged .embedding.head.units.0"),
        (lambda card: card["embedding"]["head"].update(whitening=4), "does not hold the weights"),
        (extractor(name="no_such_network"), "there is no extractor 'no_such_network'"),
        (extractor(name="/etc/passwd"), "damaged .embedding.extractors.0.name"),
        (extractor(name="small_cnn"), "small_cnn gives 256 features, not 192"),
        (extractor(network="0" * 32), "pixels need no network"),
        (extractor(network="../../x"), "damaged .embedding.extractors.0.network"),
        (networks(), "damaged .embedding.extractors"),
        (networks("pixels", "pixels"), "its files are not"),
        (lambda card: card.update(golden=[]), "golden"),
        (lambda card: card["golden"][0].pop(), "golden"),
        (lambda card: card["golden"].pop(), "another size"),
        (lambda card: card["golden"].reverse(), "no longer gives its own embeddings"),
        (lambda card: card.update(golden=[[0.9] * 12] * 3), "longer than 1"),
        (lambda card: card["probability"].pop("values"), "probability"),
        (lambda card: card["probability"].update(method="isotonic", values=[0.1, 2], distances=[1, 2]), "probability"),
        (lambda card: card["files"].pop("head.safetensors"), "its files are not"),
        (lambda card: card["files"].update({"../../secret": "0" * 32}), "its files are not"),
        (lambda card: card["files"].update({"config.yaml": "0" * 32}), "config.yaml: was changed"),
        (lambda card: card["files"].update({"config.yaml": "0"}), "damaged .files.config.yaml"),
        (lambda card: card["provenance"].update(seed="1"), "damaged .provenance.seed"),
    ],
    ids=range(41),
)
def test_an_edited_card_is_told(edit, change, says):
    if says is None:
        ImageMatcher.load(edit(change))
    else:
        refused(edit(change), says)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["threshold"].update(distance=0.5),
        lambda card: card["probability"].update(prior=0.4),
        lambda card: card["provenance"].update(seed=1),
        lambda card: card.update(name="another"),
        lambda card: card.update(digest="0" * 32),
    ],
)
def test_an_edited_threshold_is_noticed_and_the_way_to_another_one_told(edit, change):
    folder = edit(lambda _: None)
    ImageMatcher.load(folder)
    card = json.loads((folder / "matcher.json").read_text())
    change(card)
    (folder / "matcher.json").write_text(json.dumps(card))
    refused(folder, r"matcher.json: was changed since it was saved; .*threshold=0.9")
    card.pop("digest")
    (folder / "matcher.json").write_text(json.dumps(card))
    refused(folder, "damaged .digest")
    card["digest"], card["provenance"]["seed"] = "0" * 32, float("nan")
    (folder / "matcher.json").write_text(json.dumps(card))
    refused(folder, "matcher.json: is damaged")


def test_a_card_that_is_only_laid_out_anew_is_the_same(edit):
    folder = edit(lambda _: None)
    card = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(dict(reversed(card.items())), indent=1))
    assert ImageMatcher.load(folder).threshold == 1.0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00", '{"format": true}', '{"format": 2}'])
def test_a_card_that_is_none(pixel_folder, tmp_path, text):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    (folder / "matcher.json").write_text(text)
    refused(folder, "damaged")


def test_a_card_that_is_too_large(pixel_folder, tmp_path):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    with (folder / "matcher.json").open("wb") as file:
        file.truncate(1 << 30)
    refused(folder, "has 1,073,741,824 bytes, and 8,388,608 are the most")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "[/bold]", "a\nb\x1b[31m", "=1+1", "../../x", "ü" * 127])
def test_hostile_names_are_inert(edit, images, name):
    matcher = ImageMatcher.load(edit(lambda card: card.update(provenance={"dataset": name})))
    assert matcher.card.provenance.dataset == name
    assert matcher.match(images[0], images[0]).is_match


@pytest.mark.parametrize(
    "change", [lambda card: card["provenance"].update(dataset="\ud800"), lambda card: card.update(name="\ud800")]
)
def test_half_a_character_is_no_text(edit, change):
    refused(edit(change), "damaged")


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "", "a\nb", "x" * 101])
def test_a_name_that_cannot_name_a_folder_is_refused(edit, name):
    refused(edit(lambda card: card.update(name=name)), r"damaged \(name: .*cannot name a folder")


def test_another_decoder_is_told(edit, told):
    log, lines = told
    ImageMatcher.load(edit(lambda card: card["embedding"].update(decoder="0")), log=log)
    assert "decoded another way" in lines()


@pytest.mark.parametrize("units", [(), (16,)])
def test_a_model_replaced_after_loading_is_not_taken_for_the_one_that_was_loaded(pixel_folder, tmp_path, images, units):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    matcher = ImageMatcher.load(folder)
    expected = matcher.embed(images)
    write_matcher(folder, units=units, seed=2)
    np.testing.assert_array_equal(matcher.embed(images), expected)
    with pytest.raises(ModelError, match="changed since"):
        _ = matcher.feature_model


def test_a_folder_is_found_again_after_a_kill_between_two_renames(pixel_folder, tmp_path):
    shutil.copytree(pixel_folder, tmp_path / ".small.old")
    assert read_card(tmp_path / "small") == read_card(pixel_folder)
    (tmp_path / "small").rename(tmp_path / ".small.old")
    assert ImageMatcher.load(tmp_path / "small").card == read_card(pixel_folder)


def test_saving_again_that_fails_keeps_the_old_matcher(pixel_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(pixel_folder, tmp_path / "copy")
    monkeypatch.setattr("imagematch.matching.folder.golden_images", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_matcher(folder)
    assert ImageMatcher.load(folder).card == read_card(pixel_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
