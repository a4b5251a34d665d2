"""`export --format bundle`: what is taken along opens where nothing can be written, without HOME and TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from imagematch.data import DECODER_VERSION
from imagematch.extractors import choose_extractor
from imagematch.matching import HeadCard, ImageMatcher, ProvenanceCard, ThresholdCard, save_matcher
from imagematch.model import build_head
from imagematch.retrieval import Gallery

PROGRAM = """
import os, sys
from imagematch import Gallery
def use():
    with Gallery.open(sys.argv[1] + "/gallery", sys.argv[1] + "/model") as gallery:
        (hit,) = gallery.search(sys.argv[2], k=1)
        found = hit.id, hit.label, round(hit.distance, 4)
        if os.geteuid():
            print(*found)
            try:
                gallery.add(sys.argv[3], "x")
            except Exception as error:
                print(type(error).__name__)
use()  # imports what it needs, which nobody may not read everywhere
if os.geteuid() == 0:
    os.seteuid(65534)
    use()
print("tensorflow" in sys.modules)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matcher with a converted network, a gallery of three images of which one was removed, and images."""
    root = tmp_path_factory.mktemp("place")
    made = choose_extractor(
        SimpleNamespace(feature_extractor="small_cnn", weights="random", image_size=16, trainable=False, seed=0)
    )
    save_matcher(
        root / "matcher",
        name="small",
        extractor=made,
        network=None,
        trained=False,
        head=build_head(made.feature_dim, units=(), dropout=0.0, embedding_dim=8, seed=1),
        config="experiment_name: small\n",
        embedding={
            **{"image_size": 16, "decoder": DECODER_VERSION, "engine": "openvino", "precision": "float32"},
            "head": HeadCard(units=(), whitening=None, embedding_dim=8),
        },
        threshold=ThresholdCard(distance=0.5, criterion="eer", chosen_on="calibration"),
        probability=None,
        provenance=ProvenanceCard(),
    )
    random = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(root / f"{name}.png")
    with Gallery.create(root / "gallery", root / "matcher") as gallery:
        gallery.add([root / f"{name}.png" for name in "abc"], list("abc"))
        gallery.remove(2)
    return root


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach: pytest closes its own, also those of a session that still runs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_bundle_opens_read_only_without_home_and_tensorflow(
    place: Path, open_folder: Path, invoke: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    bundle = open_folder / "bundle"
    done = invoke(
        *("export", "--model", place / "matcher", "--format", "bundle", "--output", bundle),
        *("--gallery", place / "gallery", "--json"),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["images"], said["needs_tensorflow"]) == (2, False)
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert said["bytes"] == sum((bundle / name).stat().st_size for name in files)
    assert "model/feature_model.keras" not in files
    assert sum(name.startswith("model/network-") for name in files) == 2
    shutil.copy(place / "a.png", open_folder)
    shutil.copy(place / "d.png", open_folder)
    for path in [*open_folder.rglob("*"), open_folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, bundle, open_folder / "a.png", open_folder / "d.png"],
        cwd=open_folder,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(open_folder / "cache")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for path in [open_folder, *open_folder.rglob("*")]:
        path.chmod(0o755)
    assert ended.stdout.splitlines() == ["1 a 0.0", "StudyError", "False"], ended.stderr


def test_a_bundle_without_a_gallery_is_the_matcher_alone(
    place: Path, tmp_path: Path, invoke: Callable[..., object]
) -> None:
    done = invoke("export", "--model", place / "matcher", "--format", "bundle", "--output", tmp_path / "b")
    assert "no gallery" in done.stdout
    assert ImageMatcher.load(tmp_path / "b" / "model").card == ImageMatcher.load(place / "matcher").card


def test_what_cannot_be_bundled_is_one_line_and_leaves_nothing(
    place: Path, tmp_path: Path, invoke: Callable[..., object]
) -> None:
    (tmp_path / "there").mkdir()
    cases = [
        (3, "no gallery is there", ("--output", tmp_path / "new", "--gallery", tmp_path / "nowhere")),
        (2, "already exists", ("--output", tmp_path / "there")),
        (2, "names no file or folder", ()),
        (2, "only a gallery in a folder", ("--output", tmp_path / "new", "--gallery", "postgresql://h/d?gallery=g")),
    ]
    for code, part, options in cases:
        done = invoke("export", "--model", place / "matcher", "--format", "bundle", *options)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert part in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
