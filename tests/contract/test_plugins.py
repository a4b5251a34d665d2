"""What installed packages bring: CONTRIBUTING's examples work, a broken package is named."""

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


NETWORK_CONFIG = """\
experiment_name: plugged
dataset: digits
feature_extractor: three_scales
image_size: 8
embedding_dim: 8
max_classes: 3
epochs: 1
"""


def example(language: str, of: str = "loss") -> str:
    _, section = (ROOT / "CONTRIBUTING.md").read_text().split(f"\n## A {of} of your own\n")
    code = re.search(rf"^```{language}\n(.*?)^```", section.split("\n## ")[0], re.DOTALL | re.MULTILINE)
    assert code is not None
    return code[1]


def install(folder: Path, module: str, of: str = "loss") -> None:
    """What `pip install` leaves of the example, with this module in the place of its own."""
    project = tomllib.loads(example("toml", of))["project"]
    (group, entries), *_ = project["entry-points"].items()
    (module_name,) = entries.values()
    (folder / f"{module_name}.py").write_text(module)
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "train.yaml").write_text(CONFIG)
    (folder / "work" / "network.yaml").write_text(NETWORK_CONFIG)
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


def test_a_callback_is_told_of_trials_and_trainings(tmp_path: Path) -> None:
    install(tmp_path, example("python", "callback"), "callback")
    (tmp_path / "work").mkdir()
    study = "study_name: told\ndataset: digits\nmax_classes: 3\nfeature_extractor: pixels\nimage_size: 8\nepochs: 1\n"
    search = "embedding_dim_grid: [4, 8]\nn_trials: 2\nrerun_top_k: 0\nrefit: none\ncallbacks: [ledger]\n"
    (tmp_path / "work" / "study.yaml").write_text(study + search)
    done = run(tmp_path, "-m", "imagematch", "hpt", "--config", "study.yaml", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "work" / "ledger.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["told trial 0", "told trial 1", "told"]
    assert all(0 < float(line.split(",")[1]) <= 1 for line in lines)


NOT_FOUND = "import nothing_of_this_name"
TAKEN = example("python").replace('"tuplet_margin"', '"circle"')
DIFFERENT = example("python").replace("slack: float = number(0.1, 0, 1.57", "margin: float = number(0.1, 0, 2")


LOSS = ("loss", "tuplet-margin")
NETWORK = ("network", "three-scales")


@pytest.mark.parametrize(
    ("kind", "module", "says"),
    [
        (LOSS, NOT_FOUND, "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (LOSS, TAKEN, "a loss called 'circle' is already in"),
        (LOSS, DIFFERENT, "the option 'margin' of tuplet_margin differs from that of"),
        (
            LOSS,
            example("python").replace("slack: float", "epochs: float"),
            "the option 'epochs' of tuplet_margin is a key",
        ),
        (NETWORK, NOT_FOUND, "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        (NETWORK, example("python", "network").replace('"three_scales",', '"vgg16",'), "'vgg16' is already in"),
        (
            NETWORK,
            example("python", "network").replace('"three_scales",', '"Three Scales",'),
            "cannot name a feature extractor",
        ),
    ],
)
def test_a_broken_package_is_named_in_one_line(tmp_path: Path, kind: tuple[str, str], module: str, says: str) -> None:
    of, package = kind
    install(tmp_path, module, of)
    done = run(tmp_path, "-m", "imagematch", "train", "--config", "train.yaml", "--validate")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the package {package}: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def network(tmp_path: Path) -> Path:
    install(tmp_path, example("python", "network"), "network")
    return tmp_path


def test_a_network_is_selected_without_tensorflow(network: Path) -> None:
    code = """\
import sys
from imagematch.config import EXTRACTORS, load_train
settings = load_train("network.yaml")
assert "three_scales" in EXTRACTORS
assert not {"tensorflow", "keras", "numpy"} & set(sys.modules)
from imagematch.extractors import choose_extractor
extractor = choose_extractor(settings)
print(extractor.feature_dim, extractor.trainable)
assert "tensorflow" not in sys.modules
"""
    done = run(network, "-c", code)
    assert done.stdout == "48 True\n", done.stderr
    done = run(network, "-m", "imagematch", "train", "--config", "network.yaml", "--validate")
    assert done.returncode == 0, done.stderr


def test_a_network_is_trained_saved_and_matches(network: Path) -> None:
    code = """\
import numpy as np
from imagematch import ImageMatcher, train
train("network.yaml")
matcher = ImageMatcher.load("exp/saved_models/plugged")
print(matcher.card.embedding.extractor, matcher.embed(np.zeros((2, 8, 8, 3), np.uint8)).shape)
print(len(matcher.feature_model.weights) > 6)
"""
    done = run(network, "-c", code)
    assert done.stdout.endswith("\nthree_scales (2, 8)\nTrue\n"), done.stderr


def test_the_contract_suite_checks_a_network(network: Path) -> None:
    suite = str(ROOT / "tests" / "contract" / "test_extractors.py")
    options = ("-rp", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    done = run(network, "-m", "pytest", suite, "-k", "three_scales and (stated or seed)", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(re.findall(r"^PASSED .*three_scales", done.stdout, re.MULTILINE)) == 3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    install(tmp_path, example("python", "data source"), "data source")
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
