from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from imagematch.reporting import write_projector, write_tensorboard_projector
from imagematch.reporting.images import sprite_side

from .samples import HOSTILE, make_view


def test_the_projectors_files_fit_together(tmp_path, view):
    config = write_projector(tmp_path, view.embeddings, view.labels, view.class_names, view.image, paths=view.paths)

    tensor = json.loads(config.read_text())["embeddings"][0]
    assert tensor["tensorShape"] == [60, 8]
    np.testing.assert_allclose(np.loadtxt(tmp_path / tensor["tensorPath"], delimiter="\t"), view.embeddings, rtol=1e-5)
    lines = (tmp_path / tensor["metadataPath"]).read_text().splitlines()
    assert lines[0] == "class\tfile"
    assert lines[2] == "class 1\tclass 1/1.png"
    assert len(lines) == 61
    with Image.open(tmp_path / tensor["sprite"]["imagePath"]) as sprite:
        side = tensor["sprite"]["singleImageDim"][0]
        assert sprite.size == (8 * side, 8 * side), "60 pictures need a grid of 8 x 8"
        second = np.asarray(Image.fromarray(view.image(9)).resize((side, side)))
        np.testing.assert_array_equal(np.asarray(sprite)[side : 2 * side, side : 2 * side], second)


def test_hostile_names_stay_in_their_field(tmp_path):
    view = make_view(images=18, classes=9, names=HOSTILE)
    write_projector(tmp_path, view.embeddings, view.labels, view.class_names, paths=view.paths)
    lines = (tmp_path / "meta.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 19
    assert all(line.count("\t") == 1 for line in lines)
    assert lines[4].startswith("'=1+1\t'=1+1/")
    assert not any(field.startswith('"') for line in lines for field in line.split("\t"))


def test_without_pictures_there_is_no_sprite(tmp_path, view):
    write_projector(tmp_path, view.embeddings, view.labels, view.class_names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.tsv", "projector_config.json", "vecs.tsv"]


def test_tensorboard_reads_its_configuration(tmp_path, view):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    path = write_tensorboard_projector(tmp_path, view.embeddings, view.labels, view.class_names, view.image)
    config = text_format.Parse(path.read_text(), ProjectorConfig())
    assert path.name == "projector_config.pbtxt"
    assert config.embeddings[0].tensor_path == "vecs.tsv"
    assert list(config.embeddings[0].sprite.single_image_dim) == [64, 64]


def test_a_sprite_never_outgrows_a_texture():
    assert sprite_side(100) == 64
    assert sprite_side(100_000) == 25
    with pytest.raises(ValueError, match="sprite"):
        sprite_side(10**9)


def test_lengths_that_differ_are_refused(tmp_path, view):
    with pytest.raises(ValueError, match="same images"):
        write_projector(tmp_path, view.embeddings, view.labels[:-1], view.class_names)
