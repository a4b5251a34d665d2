"""Image files of every kind: each is read or refused in one line, in bounded memory, and none ends a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fault.image_files import encoded, plain
from tests.fault.image_zoo import Animal, good, refused

from imagematch.config import parse_train
from imagematch.data import FaceCropper, decode, open_dataset
from imagematch.data.decoding import inspect
from imagematch.errors import DataError
from imagematch.matching import decoded_blocks
from imagematch.retrieval import list_images

GOOD, REFUSED = tuple(good()), tuple(refused())
BAD = ("rgba_bomb.png", "animated_bomb.png", "canvas.webp", "half.jpeg", "tile_bomb.tiff", "many_scans.jpg")
"""Those that lie among good ones where a run is to go on."""
MB = 1_000_000


def named(animals: tuple[Animal, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("animal", animals, ids=[animal.name for animal in animals])


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """All files of the zoo."""
    for animal in (*GOOD, *REFUSED):
        (tmp_path / animal.name).write_bytes(animal.data)
    return tmp_path


def test_the_zoo_is_large() -> None:
    assert len({animal.name for animal in (*GOOD, *REFUSED)}) == len(GOOD) + len(REFUSED) > 100


@named(GOOD)
def test_a_good_file_is_read(animal: Animal) -> None:
    assert animal.size is not None
    pixels = decode(animal.data)
    assert pixels.shape == (animal.size[1], animal.size[0], 3)
    for seen in (pixels, decode(animal.data, 32)):
        centre = seen[seen.shape[0] // 2, seen.shape[1] // 2].astype(int)
        assert np.abs(centre - animal.centre).max() <= animal.slack
    assert inspect(animal.data)[:2] == animal.size


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@named(REFUSED)
def test_a_bad_file_is_refused_in_one_line_that_names_it(animal: Animal, tmp_path: Path) -> None:
    path = tmp_path / animal.name
    path.write_bytes(animal.data)
    cropper = FaceCropper(0.2, False, "whole")
    for read in (
        partial(decode, max_size=32),
        partial(decode, max_size=32),
        partial(cropper.decode, max_size=32),
    ):
        with pytest.raises(DataError) as caught:
            read(path)
        line = str(caught.value)
        assert line.startswith(f"{path}: ")
        assert re.fullmatch(animal.reason, line.removeprefix(f"{path}: ")), line
    with pytest.raises(DataError, match=animal.reason):
        inspect(animal.data)


def python(code: str, *arguments: str | Path) -> str:
    """What a program prints that knows `peak()`, its most memory so far in megabytes."""
    start = (
        "import resource, sys, warnings\nwarnings.simplefilter('ignore')\nfrom pathlib import Path\n"
        "from imagematch.data import decode, inspect\nfrom imagematch.image_files import NotReadableHereError\n"
        "from imagematch.errors import DataError\n"
        "def status(key):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1000\n"
        "peak = lambda: status('VmHWM')\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@linux
def test_the_whole_zoo_takes_less_than_200_mb(zoo: Path) -> None:
    code = """
decode(sys.argv[1] + "/rgb.png", 32)
before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (lambda: decode(path, 32), lambda: inspect(path.read_bytes())):
        try:
            read()
        except DataError:
            pass
print(peak() - before)
"""
    assert float(python(code, zoo)) < 200


@linux
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_photo_of_108_megapixels_is_read_in_a_few_megabytes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    plain(mode, 12_000, 9_000, 77 if mode == "L" else (200, 40, 90)).save(path)
    code = """
small = decode(sys.argv[2], 224).shape
before = peak()
print(decode(sys.argv[1], 224).shape, *inspect(Path(sys.argv[1]).read_bytes()), peak() - before < 40)
"""
    (tmp_path / "small.jpg").write_bytes(encoded(plain(mode, colour=77 if mode == "L" else (200, 40, 90)), "JPEG"))
    assert python(code, path, tmp_path / "small.jpg") == f"(224, 224, 3) 12000 9000 {mode} 0 255 False True\n"


@linux
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_of_very_many_rows_is_shrunk_in_little_more_memory_than_it_takes(mode: str, tmp_path: Path) -> None:
    path, colour = tmp_path / "tower.png", 77 if mode == "L" else (200, 40, 90)
    plain(mode, 224, 150_000, colour).save(path, compress_level=1)
    plain(mode, colour=colour).save(tmp_path / "small.png")
    code = """
decode(sys.argv[2], 224)
before = peak()
print(decode(sys.argv[1], 224).shape, peak() - before < 224 * 0.15 * int(sys.argv[3]) + 50)
"""
    printed = python(code, path, tmp_path / "small.png", "1" if mode == "L" else "4")
    assert printed == "(224, 224, 3) True\n"


@linux
def test_without_memory_the_file_is_named_and_the_next_one_is_read(tmp_path: Path) -> None:
    plain("L", 12_000, 12_000, 77).save(tmp_path / "large.png")
    plain("L", colour=77).save(tmp_path / "small.png")
    code = """
decode(sys.argv[2])
room = int((status("VmSize") + 64) * 1000 * 1000)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    decode(sys.argv[1], 32)
except NotReadableHereError as error:
    print(error)
print(decode(sys.argv[2]).shape)
"""
    printed = python(code, tmp_path / "large.png", tmp_path / "small.png").splitlines()
    assert printed == [
        f"{tmp_path / 'large.png'}: there is not enough memory to decode it; free some, or save it smaller",
        "(40, 60, 3)",
    ]


def holes(path: Path, length: int) -> None:
    """A file that has a PNG's signature and was never written otherwise."""
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(length)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file or directory"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: holes(path, 300 * MB), "has 300,000,000 bytes, and 268,435,456 are the most"),
        (lambda path: holes(path, 200 * MB), "is mostly holes: its content was never written"),
    ],
    ids=["folder", "pipe", "device", "dangling", "loop", "large", "holes"],
)
def test_what_is_no_image_file_is_not_read(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(DataError) as caught:
        decode(path)
    assert str(caught.value) == f"{path}: {reason}"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four classes of 60 images, and six files of the zoo among them."""
    random = np.random.default_rng(0)
    for number in range(240):
        folder = tmp_path / "images" / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    for name in BAD:
        (tmp_path / "images" / "class0" / name).write_bytes(next(a.data for a in REFUSED if a.name == name))
    return tmp_path


def test_training_and_check_go_on_without_the_bad_ones(mixed: Path) -> None:
    settings = {
        "experiment_name": "zoo",
        "dataset": "folder",
        "data_dir": str(mixed / "images"),
        "split": [0.5, 0.3, 0.2],
    }
    dataset = open_dataset(parse_train(settings), manifest_dir=mixed / "manifests")
    reasons = {Path(image.path).name: image.reason for image in dataset.quarantined}
    assert set(reasons) == set(BAD)
    for animal in REFUSED:
        if animal.name in BAD:
            assert re.fullmatch(animal.reason.partition("; ")[0], reasons[animal.name])
    (mixed / "check.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "imagematch", "data", "check", "check.yaml", "--json"]
    done = subprocess.run(command, cwd=mixed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {Path(found["path"]).name: found["reason"] for found in report["corrupt"]} == reasons
    assert "6 corrupt images left out" in report["summary"]


def test_retrieval_goes_on_without_the_bad_ones(mixed: Path) -> None:
    found = list_images(mixed / "images", manifest_dir=mixed / "manifests")
    assert len(found) == 240
    assert {Path(image.path).name for image in found.quarantined} == set(BAD)


def test_matching_names_each_bad_one(mixed: Path) -> None:
    paths = sorted((mixed / "images" / "class0").iterdir())
    ((_, blocks),) = decoded_blocks(paths, partial(decode, max_size=8))
    failed = {path.name: block for path, block in zip(paths, blocks, strict=True) if isinstance(block, DataError)}
    assert set(failed) == set(BAD)
    assert all(str(error).startswith(str(mixed / "images" / "class0" / name)) for name, error in failed.items())
