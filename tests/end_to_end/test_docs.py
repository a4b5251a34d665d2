"""The blocks of README and of the pages in docs/ run as they are written, on small made-up data and a small network."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.pages import PAGES, ROOT, RUN_PAGES, blocks
from tests.unit.data.drawings import photo, scene

from imagematch.cli.main import app
from imagematch.cli.running import exit_code
from imagematch.config import parse_train
from imagematch.files import Layout
from imagematch.pipeline import run_training

pytestmark = pytest.mark.usefixtures("no_report")

SMALL = ("feature_extractor=pixels", "image_size=8", "epochs=2", "batch_classes=3")
"""What stands in for the network, the patience and the many classes of a page."""
FEW = ("n_trials=2", "rerun_top_k=1", "rerun_seeds=1")
"""What stands in for the trials of a study."""


def save(picture: Image.Image | np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)


def people() -> None:
    for person in range(8):
        for number in range(3):
            page = photo((20 + 5 * number, 10 + 6 * person, 90), width=160, height=180)
            save(page, Path(f"data/faces/person {person}/{number}.jpg"))


def flowers() -> None:
    for part, count in (("train", 56), ("val", 6)):
        for label in ("daisy", "rose", "tulip"):
            for number in range(count):
                save(
                    scene(len(label) * 1000 + (part == "val") * 500 + number, 24),
                    Path(f"data/flowers5/{part}/{label}/{number}.jpg"),
                )


def characters() -> None:
    random = np.random.default_rng(0)
    for alphabet in range(6):
        for character in range(22):
            for number in range(3):
                drawing = Image.fromarray(random.random((12, 12)) < 0.5)
                save(drawing, Path(f"data/omniglot/images_background/Old {alphabet}/character{character}/{number}.png"))


def products() -> None:
    for product in range(6):
        for number in range(8):
            save(scene(100 * product + number, 32), Path(f"products/product {product}/{number}.jpg"))
    shutil.copy("products/product 0/1.jpg", "products/product 0/copy.jpg")
    save(scene(9), Path("new/upload.jpg"))
    shutil.copytree("products/product 1", "new-photos/product 1")
    shutil.copytree("products/product 2", "new-photos/product 2")
    Path("table.csv").write_text(
        "path,label,query,gallery\nnew/upload.jpg,product 1,yes,no\n"
        + "".join(f"products/product {one}/{two}.jpg,product {one},no,yes\n" for one in range(6) for two in range(8))
    )


def people_and_matcher() -> None:
    """People, and a matcher of faces as an earlier page leaves one."""
    for person in ("ANNA", "CARL", "DORA", "EVE"):
        for number in range(8):
            save(scene(100 * len(person) + number, 24), Path(f"photos/{person}/{number}.jpg"))
    for number, name in enumerate(("new.jpg", "who.jpg", "a.jpg", "b.jpg")):
        save(scene(number, 24), Path(name))
    trained("faces", dataset="folder", data_dir="photos", batch_classes=3)


def trained(name: str, **settings: object) -> None:
    small = {"experiment_name": name, "feature_extractor": "pixels", "image_size": 8, "epochs": 2}
    run_training(parse_train({**small, **settings}), Layout())


def few_photos() -> None:
    for product in range(12):
        for number in range(3):
            save(scene(100 * product + number, 24), Path(f"products/product {product}/{number}.jpg"))
    save(scene(9), Path("new/upload.jpg"))


def herd() -> None:
    for part, names in (("train", range(12)), ("query", range(20, 24)), ("gallery", range(20, 24))):
        for name in names:
            for number in range(3):
                shift = {"train": 0, "query": 40, "gallery": 80}[part]
                save(scene(100 * name + shift + number, 24), Path(f"herd/{part}/cow {name}/{number}.jpg"))


def slides() -> None:
    random = np.random.default_rng(0)
    for finding in range(3):
        for patient in range(10):
            for number in range(2):
                grey = random.integers(0, 1000 * (finding + 1), (16, 16)).astype(np.uint16)
                save(grey, Path(f"slides/finding {finding}/patient {patient}/{number}.png"))


def webcam() -> None:
    people_and_matcher()
    assert exit_code(app, ["gallery", "create", "people", "--model", "exp/saved_models/faces"], debug=False) == 0
    assert exit_code(app, ["gallery", "add", "people", "photos", "--model", "exp/saved_models/faces"], debug=False) == 0


class Camera:
    """Gives two frames, then no more."""

    def __init__(self, _number: int) -> None:
        self.frames = [np.full((24, 24, 3), value, np.uint8) for value in (50, 200)]

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.frames.pop()) if self.frames else (False, None)

    def release(self) -> None:
        assert not self.frames


def two_digits() -> None:
    for number, name in enumerate(("a.png", "b.png")):
        save(scene(number, 8), Path(name))


def digits_matcher() -> None:
    two_digits()
    trained("digits", dataset="digits")


def labelled_products() -> None:
    few_photos()
    Path("products.yaml").write_text("experiment_name: products\ndataset: folder\ndata_dir: products\n")


def duplicated_products() -> None:
    few_photos()
    trained("products", dataset="folder", data_dir="products", batch_classes=3)


def own_photos() -> None:
    products()
    shutil.move("products", "photos")
    for name in ("A.jpg", "B.jpg", "a.jpg", "b.jpg"):
        shutil.copy("photos/product 0/1.jpg", name)


MADE_UP: dict[str, Callable[[], None]] = {
    "README.md": own_photos,
    "docs/tutorial.md": own_photos,
    "docs/howto/duplicates.md": duplicated_products,
    "docs/howto/export.md": digits_matcher,
    "docs/howto/faces.md": people,
    "docs/howto/flowers.md": flowers,
    "docs/howto/gallery.md": people_and_matcher,
    "docs/howto/labels.md": labelled_products,
    "docs/howto/letters.md": characters,
    "docs/howto/medical.md": slides,
    "docs/howto/own_images.md": products,
    "docs/howto/products.md": few_photos,
    "docs/howto/python.md": lambda: None,
    "docs/howto/reidentification.md": herd,
    "docs/howto/threshold.md": two_digits,
    "docs/howto/webcams.md": webcam,
}


def arguments_of(words: list[str]) -> list[str]:
    """What a line of a page gives to the program; a training is made small, but for that of the digits."""
    script = {"train.py": "train", "hpt.py": "hpt"}
    arguments = [script[words[1]], *words[2:]] if words[0] == "python" and words[1] in script else words[1:]
    if arguments[0] not in ("train", "hpt") or "--validate" in arguments:
        return arguments
    settings = SMALL if arguments[0] == "train" else (*SMALL, *FEW)
    return [*arguments, *(word for setting in settings for word in ("--set", setting))]


def test_every_page_is_tried() -> None:
    assert set(MADE_UP) == RUN_PAGES <= set(PAGES)


@pytest.mark.parametrize("name", sorted(RUN_PAGES))
def test_the_blocks_of_a_page_run(
    name: str, one_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda _self: None)
    monkeypatch.setattr("cv2.VideoCapture", Camera)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    MADE_UP[name]()
    for block in blocks(ROOT / name):
        if block.title:
            Path(block.title).write_text(block.text)
        if block.not_run:
            continue
        if block.language == "python":
            exec(compile(block.text, name, "exec"), {})
        for line in block.text.splitlines() if block.language == "sh" else ():
            words = shlex.split(line, comments=True)
            if words[0] == "imagematch" or words[1:2] in (["train.py"], ["hpt.py"]):
                assert exit_code(app, arguments_of(words), debug=False) == 0, line
                written = [words[at + 1] for at, word in enumerate(words) if word in ("--output", "--contact-sheet")]
                assert all(Path(path).exists() for path in written), line
            else:
                subprocess.run(["bash", "-euc", line], check=True, capture_output=True)
