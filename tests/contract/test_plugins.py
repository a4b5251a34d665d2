"""A loss and a data source out of installed packages: CONTRIBUTING's examples work as they are written."""

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


def examples(language: str) -> list[str]:
    """The loss's, then the source's."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)


LOSS, SOURCE = examples("python")


def install(folder: Path, module: str, project: str = "loss") -> None:
    """What `pip install` leaves of an example, with this module in the place of its own."""
    about = tomllib.loads(examples("toml")[("loss", "source").index(project)])["project"]
    (group, entries), *_ = about["entry-points"].items()
    (name, module_name), *_ = entries.items()
    (folder / f"{module_name}.py").write_text(module)
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module_name}\n")


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
    install(tmp_path, LOSS)
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
TAKEN = LOSS.replace('"tuplet_margin"', '"circle"')
DIFFERENT = LOSS.replace("slack: float = number(0.1, 0, 1.57", "margin: float = number(0.1, 0, 2")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (NOT_FOUND, "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (TAKEN, "a loss called 'circle' is already in"),
        (DIFFERENT, "the option 'margin' of tuplet_margin differs from that of"),
        (LOSS.replace("slack: float", "epochs: float"), "the option 'epochs' of tuplet_margin is a key"),
    ],
)
def test_a_broken_package_is_named_in_one_line(tmp_path: Path, module: str, says: str) -> None:
    install(tmp_path, module)
    done = run(tmp_path, "-m", "imagematch", "train", "--config", "train.yaml", "--validate")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the package tuplet-margin: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    install(tmp_path, SOURCE, "source")
    return tmp_path


def test_a_source_is_selected_and_listed(source: Path) -> None:
    done = run(source, "-m", "imagematch", "data", "list")
    assert re.search("^file_names +images whose class is what stands", done.stdout, re.MULTILINE), done.stderr
    config = CONFIG.replace("loss: tuplet_margin\nslack: 0.2\n", "").replace("digits", "file_names")
    (source / "work" / "own.yaml").write_text(config)
    wrong = run(source, "-m", "imagematch", "train", "--config", "own.yaml", "--validate")
    assert wrong.returncode == 2
    assert "dataset: file_names needs data_dir; give the folder of the images" in wrong.stderr


def test_a_source_is_in_the_schema_without_its_images_being_looked_at(source: Path) -> None:
    code = """\
import sys
from imagematch.config import DATASETS, parse_train
settings = parse_train({"experiment_name": "x", "dataset": "file_names", "data_dir": "d"})
print("file_names" in DATASETS, settings.data_dir)
assert not {"numpy", "PIL", "tensorflow"} & set(sys.modules)
"""
    done = run(source, "-c", code)
    assert done.stdout == "True d\n", done.stderr


def test_the_contract_suite_checks_a_source(source: Path) -> None:
    suite = str(ROOT / "tests" / "contract" / "test_data_sources.py")
    options = ("-rp", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    done = run(source, "-m", "pytest", suite, "-k", "file_names", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(re.findall(r"^PASSED .*file_names", done.stdout, re.MULTILINE)) >= 10
