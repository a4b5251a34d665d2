"""A loss out of an installed package: CONTRIBUTING's example works as it is written, and a broken package is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
experiment_name: plugged
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim: 8
loss: tuplet_margin
slack: 0.2
epochs: 1
"""


def example(language: str) -> str:
    (code,) = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return code


def install(folder: Path, module: str) -> None:
    """What `pip install` leaves of the example, with this module in the place of its own."""
    project = tomllib.loads(example("toml"))["project"]
    (group, entries), *_ = project["entry-points"].items()
    (folder / f"{entries['tuplet_margin']}.py").write_text(module)
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "train.yaml").write_text(CONFIG)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder / "work",
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    install(tmp_path, example("python"))
    return tmp_path


def test_its_option_is_a_key_of_the_configuration(installed: Path) -> None:
    done = run(installed, "-m", "imagematch", "train", "--config", "train.yaml", "--validate")
    assert done.returncode == 0, done.stderr
    assert "tuplet_margin (scale 64.0, slack 0.2, cross_batch_memory 0)" in done.stdout
    wrong = run(installed, "-m", "imagematch", "train", "--config", "train.yaml", "--validate", "--set", "slack=2")
    assert wrong.returncode == 2
    assert "slack must be a number from 0 to 1.57, not 2" in wrong.stderr


def test_it_is_searched_and_in_the_reference(installed: Path) -> None:
    code = """\
import sys
from imagematch.config import TUNABLE, parse_study, reference_rows
space = {"loss_grid": ["tuplet_margin", "circle"], "slack_grid": [0.1, 0.2], "dropout": 0}
study = parse_study({"study_name": "s", **space})
print(study.grid_points, "slack" in TUNABLE, [row.key for row in reference_rows() if row.loss == "tuplet_margin"])
assert "tensorflow" not in sys.modules
"""
    done = run(installed, "-c", code)
    assert done.stdout == "3 True ['scale', 'slack', 'cross_batch_memory']\n", done.stderr


def test_it_trains(installed: Path) -> None:
    done = run(installed, "-m", "imagematch", "train", "--config", "train.yaml")
    assert done.returncode == 0, done.stderr
    saved = installed / "work" / "exp" / "saved_models" / "plugged" / "config.yaml"
    assert {"loss: tuplet_margin", "slack: 0.2"} <= set(saved.read_text().splitlines())


def test_the_contract_suite_checks_it(installed: Path) -> None:
    suite = str(ROOT / "tests" / "contract" / "test_losses.py")
    options = ("-rp", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    done = run(installed, "-m", "pytest", suite, "-k", "tuplet_margin", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(re.findall(r"^PASSED .*tuplet_margin", done.stdout, re.MULTILINE)) > 20


NOT_FOUND = "import nothing_of_this_name"
TAKEN = example("python").replace('"tuplet_margin"', '"circle"')
DIFFERENT = example("python").replace("slack: float = number(0.1, 0, 1.57", "margin: float = number(0.1, 0, 2")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (NOT_FOUND, "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (TAKEN, "a loss called 'circle' is already in"),
        (DIFFERENT, "the option 'margin' of tuplet_margin differs from that of"),
        (example("python").replace("slack: float", "epochs: float"), "the option 'epochs' of tuplet_margin is a key"),
    ],
)
def test_a_broken_package_is_named_in_one_line(tmp_path: Path, module: str, says: str) -> None:
    install(tmp_path, module)
    done = run(tmp_path, "-m", "imagematch", "train", "--config", "train.yaml", "--validate")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the package tuplet-margin: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
