"""The two notebooks, executed as a user runs them: all cells, in a folder that holds a finished study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import optuna
import pytest
from tests.conftest import Invoke, train_in_this_process, without_report

from imagematch.config import parse_study
from imagematch.files import Layout
from imagematch.pipeline import run_study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = {
    "study_name": "tiny",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim_grid": [8, 16],
    "learning_rate_grid": [1e-3, 3e-3],
    "dropout_grid": [0.0],
    "epochs": 3,
    "n_trials": 4,
    "rerun_top_k": 2,
    "rerun_seeds": 2,
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small study was run to its end."""
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_in_this_process(patch)
        without_report(patch)
        run_study(parse_study(STUDY), Layout())
    return folder


def executed(name: str, folder: Path, **parameters: Any) -> str:
    """Runs a notebook with other parameters and returns what its cells print and show as text."""
    notebook = nbformat.read(REPOSITORY / name, as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    given = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(given))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            data = output.get("data", {})
            shown.append(output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")[:5000])
            shown += [kind for kind in data if "plotly" in kind or "svg" in kind]
    return "\n".join(shown)


@pytest.mark.parametrize("name", ["hpt_visualizer.ipynb", "evaluate_e2e_model.ipynb"])
def test_a_notebook_is_committed_clean_with_its_parameters_first(name):
    notebook = nbformat.read(REPOSITORY / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"] == ["parameters"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_study_is_visualised(workplace):
    shown = executed("hpt_visualizer.ipynb", workplace, STUDY_NAME="tiny")
    assert "4 complete" in shown
    assert "4 finished trials cannot tell which setting mattered: it takes 10." in shown
    assert "embedding_dim" in shown
    assert shown.count("application/vnd.plotly") >= 8
    assert "The features were computed once" in shown
    assert "Pareto front: the study has one objective</em>" in shown


def test_a_foreign_study_without_finished_trials_gives_clear_lines(tmp_path):
    optuna.create_study(study_name="foreign", storage=f"sqlite:///{tmp_path / 'other.db'}").ask()
    shown = executed("hpt_visualizer.ipynb", tmp_path, STUDY_NAME="foreign", DATABASE="other.db")
    assert "No trial is finished yet" in shown
    assert "Contour: needs" in shown
    assert "0 finished trials cannot tell which setting mattered" in shown


@pytest.mark.realdata
def test_the_original_studys_database_is_visualised_after_an_upgrade(tmp_path, invoke: Invoke):
    original = Path(os.environ.get("IMAGEMATCH_DATA", "data")) / "seed_hpt_study-0.db"
    if not original.is_file():
        pytest.skip(f"{original} is not there: set IMAGEMATCH_DATA to where the data packs are unpacked")
    copy = tmp_path / "seed.db"
    copy.write_bytes(original.read_bytes())
    upgraded = invoke("study", "upgrade", copy)
    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    shown = executed("hpt_visualizer.ipynb", tmp_path, STUDY_NAME="hpt_study-0", DATABASE="seed.db")
    assert "12 complete, 3 pruned" in shown
    assert shown.count("application/vnd.plotly") == 10


def test_the_matcher_is_evaluated(workplace):
    shown = executed("evaluate_e2e_model.ipynb", workplace, MODEL_DIR="exp/saved_models/tiny")
    assert "On new images of classes that it has seen it recognises" in shown
    assert "absl" not in shown, "no messages of TensorFlow"
    assert "a match, right" in shown, "a pair that is decided rightly"
    assert ", wrong" in shown, "beside one that is not"
    assert 'class="matrix"' in shown
    assert "ROC AUC" in shown
    assert "were seen in training" in shown
    assert "Match(is_match=" in shown
    assert "chosen by balanced accuracy on the calibration split, which selected nothing else" in shown
    assert "mAP" in shown
    assert "data:image/png;base64" in shown
    assert shown.count("application/vnd.plotly") == 6
    assert shown.count("image/svg+xml") == 1, "the learning curves"
