"""Mistakes that people make, and what is said: the table of docs/howto/mistakes.md, which `python -m tests.mistakes`
writes. A test makes each of them and compares.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "mistakes.md"
_COMMAND = "python -m tests.mistakes"
_HPT = "imagematch hpt --hpt-config-filepath study.yaml --validate"
_HPT_DRY = _HPT.replace("--validate", "--dry-run")
_TRAIN = "imagematch train --config train.yaml --validate"
_TRAIN_DRY = _TRAIN.replace("--validate", "--dry-run")
_STUDY = "study_name: photos\ndataset: folder\ndata_dir: photos\n"
_ONE = "experiment_name: photos\ndataset: folder\ndata_dir: photos\n"


class Mistake(NamedTuple):
    """A mistake.

    Attributes:
        title: what was done.
        file: of the configuration; "" for none.
        command: as it is typed.
        code: its exit code.
        says: words of each line that it says, in order.
    """

    title: str
    file: str
    command: str
    code: int
    says: tuple[str, ...]


MISTAKES = (
    Mistake(
        "A key is misspelt",
        _ONE + "embeding_dim: 64\n",
        _TRAIN,
        2,
        ("train.yaml:4: unknown key 'embeding_dim'; did you mean embedding_dim?",),
    ),
    Mistake(
        "Choices where one value belongs",
        _STUDY + "embedding_dim: [64, 128]\n",
        _HPT,
        2,
        ("study.yaml:4: embedding_dim must be a whole number", "did you mean embedding_dim_grid?"),
    ),
    Mistake(
        "A word where a number belongs",
        _ONE + "epochs: ten\n",
        _TRAIN,
        2,
        ("train.yaml:4: epochs must be a whole number from 0 to 100000, not 'ten'",),
    ),
    Mistake(
        "A name is misspelt",
        _ONE + "loss: arcfase\n",
        _TRAIN,
        2,
        ("train.yaml:4: loss", "did you mean arcface?"),
    ),
    Mistake(
        "An option that the loss does not have",
        _ONE + "loss: nt_xent\nmargin: 0.2\n",
        _TRAIN,
        2,
        ("train.yaml:5: margin belongs to", "nt_xent has"),
    ),
    Mistake(
        "Two ways to say how large a batch is",
        _ONE + "batch_size: 64\nbatch_classes: 8\n",
        _TRAIN,
        2,
        ("train.yaml:5: batch_classes does not go with batch_size",),
    ),
    Mistake(
        "A range that ends before it begins",
        _STUDY + "dropout_range: {low: 0.5, high: 0.1}\n",
        _HPT,
        2,
        ("study.yaml:4: dropout_range", "low"),
    ),
    Mistake(
        "The same key twice",
        _ONE + "epochs: 10\nepochs: 20\n",
        _TRAIN,
        2,
        ("train.yaml:5: duplicate key 'epochs', already on line 4",),
    ),
    Mistake("No YAML", _ONE + "epochs 10\n", _TRAIN, 2, ("train.yaml:",)),
    Mistake(
        "A train file for a study",
        _ONE,
        "imagematch hpt --hpt-config-filepath train.yaml --validate",
        2,
        ("train.yaml:1: this is a train file: it has experiment_name; run it with train.py --config",),
    ),
    Mistake(
        "Trials ranked by a loss that means something else in each",
        _STUDY + "objective: val_loss\nmargin_grid: [0.1, 0.5]\n",
        _HPT,
        2,
        ("study.yaml:4: val_loss cannot rank trials between which margin varies; choose an objective",),
    ),
    Mistake(
        "Every point of a space without end",
        _STUDY + "sampler: grid\nlearning_rate_range: {low: 1e-4, high: 1e-2, log: true}\n",
        _HPT,
        2,
        ("study.yaml:4: sampler: grid needs a finite space, and learning_rate may be any number",),
    ),
    Mistake(
        "Several mistakes: all are said at once, in the order of their lines",
        _STUDY + "n_trials: many\nembedding_dim_grid: [64, 0]\nloss: nt_xent\nmargin: 0.2\nobjectve: val_eer\n",
        _HPT,
        2,
        (
            "study.yaml:4: n_trials must be a whole number",
            "study.yaml:5: embedding_dim",
            "study.yaml:7: margin belongs to",
            "study.yaml:8: unknown key 'objectve'; did you mean objective?",
        ),
    ),
    Mistake(
        "A folder that is not there, and weights that are not",
        _ONE.replace("photos\n", "fotos\n") + "feature_extractor: mobilenet_v2\nweights: mobilenet.h5\n",
        _TRAIN_DRY,
        5,
        ("weights: mobilenet.h5: there is no such file (and 1 more); check the path", "fotos: no such folder"),
    ),
    Mistake(
        "Batches of more classes than there are",
        _ONE + "feature_extractor: pixels\nbatch_classes: 8\n",
        _TRAIN_DRY,
        2,
        ("batch_classes: a batch of 8 classes cannot be drawn from 3 training classes; give 3 or less",),
    ),
    Mistake(
        "More images of a class than it has",
        _ONE + "feature_extractor: pixels\nmin_images_per_class: 50\n",
        _TRAIN_DRY,
        3,
        ("photos: every class has fewer than 50 images (min_images_per_class)",),
    ),
    Mistake(
        "Half of the images are damaged",
        _ONE.replace("photos\n", "damaged\n") + "feature_extractor: pixels\n",
        _TRAIN_DRY,
        3,
        ("damaged: 12 of 24 images cannot be used, over 5%",),
    ),
    Mistake(
        "A split by half of its name",
        "",
        "imagematch evaluate --model exp/saved_models/photos --split val",
        2,
        ("split: 'val' is not one of", "did you mean validation?"),
    ),
    Mistake(
        "A matcher's folder that is not there",
        "",
        "imagematch match --model exp/saved_models/fotos a.jpg b.jpg",
        5,
        ("exp/saved_models/fotos",),
    ),
    Mistake(
        "The folder of photos instead of the matcher's",
        "",
        "imagematch match --model photos a.jpg b.jpg",
        5,
        ("photos",),
    ),
    Mistake("An option that is misspelt", "", f"{_TRAIN} --quite", 2, ("No such option: --quite",)),
    Mistake("A key to set without its value", _ONE, f"{_TRAIN} --set epochs", 2, ("--set: 'epochs' is not KEY=VALUE",)),
    Mistake(
        "A rate that no pair of numbers is",
        _ONE + "threshold: {far: 5}\n",
        _TRAIN,
        2,
        ("train.yaml:4: threshold",),
    ),
    Mistake(
        "Parts that come to more than the whole",
        _ONE + "split: [0.8, 0.3, 0.1]\n",
        _TRAIN,
        2,
        ("train.yaml:4: split",),
    ),
)


def make_images(folder: Path) -> None:
    """Photos of three classes, and the same with half of them cut off."""
    random = np.random.default_rng(0)
    for place in ("photos", "damaged"):
        for label in ("ann", "bob", "cleo"):
            (folder / place / label).mkdir(parents=True)
            for number in range(8):
                image = Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8))
                image.save(path := folder / place / label / f"{number}.png")
                if place == "damaged" and number % 2:
                    path.write_bytes(path.read_bytes()[:200])


def write_file(mistake: Mistake) -> str:
    """Writes a mistake's file here; returns its name, "" where it has none."""
    name = "study.yaml" if "study.yaml" in mistake.command else "train.yaml"
    if mistake.file:
        Path(name).write_text(mistake.file)
    return name if mistake.file else ""


def section(mistake: Mistake, name: str, said: str) -> str:
    """The page's section about a mistake."""
    shown = f", with `{name}`\n\n```text\n{mistake.file}```\n\nsays\n" if name else " says\n"
    return f"## {mistake.title}\n\n`{mistake.command}`{shown}\n```text\n{said}```\n"


HEAD = f"""# Mistakes, and what is said

<!-- Written by `{_COMMAND}`: do not edit. -->

A mistake is one line: where, what, what to do. All mistakes of a file are said at once, before anything slow begins,
and nothing that was finished is lost. The exit code says the kind: 2 configuration, 3 images, 4 study or disk, 5
network or matcher. `--validate` reads the file alone; `--dry-run` also opens the images, looks for weights, and
estimates the time.
Below are {len(MISTAKES)} mistakes, made by a test, with what the program says.
"""


def main() -> None:
    """Makes every mistake, and writes the page."""
    from imagematch.cli.main import app
    from imagematch.cli.running import exit_code

    sections = [HEAD]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_images(Path(folder))
        for mistake in MISTAKES:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                name = write_file(mistake)
                exit_code(app, shlex.split(mistake.command)[1:], debug=False)
            sections.append(section(mistake, name, said.getvalue()))
    PAGE.write_text("\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
