"""`study compare | export | delete | list --json`, in process, on studies without a training."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from tests.conftest import Invoke

from imagematch.files import Layout
from imagematch.tuning import open_storage, sqlite_url
from imagematch.tuning.attributes import BASELINE, CONFIG_DIGEST, DATA, DEFINITION, TRIAL_INDEX, WINNER


def make_study(name: str, *, epochs: int, values: list[float], digest: str = "d" * 32) -> Path:
    database = Layout().study_database(name)
    study = optuna.create_study(study_name=name, storage=open_storage(sqlite_url(database)), direction="maximize")
    for index, value in enumerate(values):
        trial = optuna.trial.create_trial(
            value=value,
            params={"embedding_dim": index},
            distributions={"embedding_dim": optuna.distributions.IntDistribution(0, 99)},
            user_attrs={TRIAL_INDEX: index, CONFIG_DIGEST: str(index)},
        )
        study.add_trial(trial)
    fixed = {"epochs": epochs, "loss": "arcface"}
    study.set_user_attr(DEFINITION, {"objective": "val_map_at_r", "fixed": fixed, "space": {}})
    study.set_user_attr(BASELINE, {"pixels": {"val_map_at_r": 0.25}})
    study.set_user_attr(DATA, {"digest": digest})
    study.set_user_attr(WINNER, 1)
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    return database


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_studies_stand_side_by_side(invoke: Invoke) -> None:
    make_study("one", epochs=5, values=[0.5, 0.75])
    make_study("two", epochs=9, values=[0.5, 0.875, 0.25])
    done = invoke("study", "compare", "one", "two")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["study", "one", "two"],
        ["objective", "val_map_at_r", "val_map_at_r"],
        ["finished", "trials", "2", "3"],
        ["baseline", "pixels", "0.2500", "0.2500"],
        ["best", "value", "0.7500", "0.8750"],
        ["mean", "of", "its", "reruns", "-", "-"],
        ["winner's", "embedding_dim", "1", "1"],
        ["setting", "epochs", "5", "9"],
    ]
    found = json.loads(invoke("study", "compare", "one", "two", "--json").stdout)
    assert (found["comparable"], found["differences"]) == (True, {"epochs": [5, 9]})
    make_study("three", epochs=5, values=[0.5, 0.5], digest="e" * 32)
    assert "must not be compared" in invoke("study", "compare", "one", "three").stdout


def test_a_study_that_is_not_there_is_said_so(invoke: Invoke) -> None:
    make_study("one", epochs=5, values=[0.5, 0.75])
    done = invoke("study", "compare", "one", "none")
    assert (done.returncode, done.stdout) == (4, "")
    assert "there is no such study; there are: one" in done.stderr


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_the_trials_are_exported(invoke: Invoke, suffix: str) -> None:
    import pandas as pd

    database = make_study("one", epochs=5, values=[0.5, 0.75])
    output = Path(f"table.{suffix}")
    assert invoke("study", "export", "one", "--output", output).stdout == f"2 trials written to {output}\n"
    table = pd.read_csv(output) if suffix == "csv" else pd.DataFrame(json.loads(output.read_text()))
    assert table["value"].tolist() == [0.5, 0.75]
    assert table["embedding_dim"].tolist() == [0, 1]
    with closing(sqlite3.connect(database)) as base, base:
        base.execute("update trial_params set param_name = '=cmd()'")
    assert invoke("study", "export", "one", "--output", output).returncode in (0, 4)
    assert suffix == "json" or not any(
        cell.startswith("=") for cell in output.read_text().replace("\n", ",").split(",")
    )
    assert invoke("study", "export", "one", "--output", "table.xlsx").returncode == 2


def test_a_study_is_deleted_only_on_demand(invoke: Invoke) -> None:
    database = make_study("one", epochs=5, values=[0.5])
    make_study("two", epochs=5, values=[0.5])
    refused = invoke("study", "delete", "one")
    assert refused.returncode == 2
    assert "give --yes" in refused.stderr
    assert database.exists()
    assert invoke("study", "delete", "one", "--yes").stdout == "study one is deleted\n"
    assert not database.exists()
    assert [row["name"] for row in json.loads(invoke("study", "list", "--json").stdout)] == ["two"]
    assert invoke("study", "delete", "one", "--yes").returncode == 4
