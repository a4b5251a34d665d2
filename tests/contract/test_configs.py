"""Every shipped recipe is a valid file whose header says what it is for and how to run it."""

import re
from pathlib import Path

import pytest
from tests.conftest import Invoke

from imagematch.config import load_study, load_train

ROOT = Path(__file__).parent.parent.parent
TRAIN = sorted((ROOT / "configs" / "train").rglob("*.yaml"))
STUDIES = [ROOT / "hpt_config.yaml", *sorted((ROOT / "configs" / "hpt").rglob("*.yaml"))]


def header_of(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TRAIN, ids=shown)
def test_a_train_file_loads(path: Path) -> None:
    assert load_train(path).experiment_name


@pytest.mark.parametrize("path", STUDIES, ids=shown)
def test_a_study_file_loads(path: Path) -> None:
    study = load_study(path)
    first = {field: dimension.ends[0] for field, dimension in study.space.items()}
    assert study.settings_for(first).experiment_name == study.study_name


@pytest.mark.parametrize("path", [*TRAIN, *STUDIES], ids=shown)
def test_its_header_names_purpose_and_command(path: Path) -> None:
    header = header_of(path)
    assert "purpose" in header
    assert re.search(rf"(train|hpt)\.py --(config|hpt-config-filepath) {re.escape(shown(path))}", header)


BY_FILE = [path for path in TRAIN if "onnx:" in str(load_train(path).feature_extractor)]


@pytest.mark.parametrize("path", BY_FILE, ids=shown)
def test_a_network_file_that_is_not_there_is_one_line(path: Path, invoke: Invoke) -> None:
    done = invoke("train", "--config", path, "--dry-run")
    network = load_train(path).feature_extractor.removeprefix("onnx:")
    assert done.returncode == 5
    assert done.stderr.startswith(
        f"error: {network}: cannot be read: No such file or directory (and 1 more); check the path\n"
    )


def test_all_names_differ() -> None:
    names = [load_train(path).experiment_name for path in TRAIN] + [load_study(path).study_name for path in STUDIES]
    assert len(set(names)) == len(names)


def test_the_original_files_load_unchanged() -> None:
    study = load_study(ROOT / "configs" / "hpt" / "seed.yaml")
    assert study.grid_points == 4 * (1 + 7 * 10)
    assert study.n_trials == 15
    train = load_train(ROOT / "configs" / "train" / "seed.yaml")
    assert (train.intermediate_ff_block_units, train.dropout, train.early_stopping_patience) == ((512, 256), 0.5, 10)
