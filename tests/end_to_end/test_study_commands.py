"""`imagematch study list | show | dashboard` as a user runs them, also where files are damaged and URLs misspelt."""

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import Invoke

SECRET = "hunter2hunter2"
STUDY = ("study",)


@pytest.fixture(name="studies")
def studies_fixture(small_study: Path, tmp_path: Path) -> Path:
    """The folder of the databases, the small study's among them."""
    folder = tmp_path / "exp" / "hpt_studies"
    folder.mkdir(parents=True)
    shutil.copy(small_study / "exp" / "hpt_studies" / "small.db", folder)
    return folder


def test_the_list_goes_on_past_what_cannot_be_read(command: Invoke, studies: Path) -> None:
    (studies / "broken.db").write_bytes(b"no database at all")
    done = command(*STUDY, "list")
    assert done.returncode == 0, done.stderr
    broken, small = done.stdout.splitlines()
    assert broken.startswith("broken  cannot be read: ")
    assert small.startswith("small  3 finished of ")
    assert "small-rerun" not in done.stdout, "the repeated runs are no study of their own"


def test_a_study_is_shown_with_baseline_best_trials_and_reasons(command: Invoke, studies: Path) -> None:
    assert studies.is_dir()
    done = command(*STUDY, "show", "small")
    assert done.returncode == 0, done.stderr
    summary, baseline, *trials = done.stdout.splitlines()
    assert summary.startswith("Winner: trial ")
    assert baseline.startswith("baseline pixels: val_map_at_r 0.")
    assert "embedding_dim" in trials[0]
    assert done.stdout.count("(the winner)") == 1
    table = json.loads(command(*STUDY, "show", "small", "--json").stdout)["trials"]
    assert {row["baseline"] for row in table} == {table[0]["baseline"]}
    assert f"{table[0]['baseline']:.4f}" in baseline


@pytest.mark.parametrize(
    "url", [f"postgresql+psycopg//me:{SECRET}@host/db", f"postgresql:me:{SECRET}@host/db", f"me:{SECRET}@host"]
)
def test_a_misspelt_url_is_not_taken_for_a_path_and_shown(command: Invoke, url: str) -> None:
    for arguments in (("show", "x", "--storage", url), ("list", "--storage", url)):
        done = command(*STUDY, *arguments)
        assert done.returncode == 4
        assert done.stderr.count("\n") == 1
        assert SECRET not in done.stderr + done.stdout
        assert "%40" in done.stderr


def test_a_bare_dashboard_says_which_studies_there_are(command: Invoke, studies: Path) -> None:
    shutil.copy(studies / "small.db", studies / "other.db")
    done = command(*STUDY, "dashboard")
    assert done.returncode == 2
    assert "There are: other, small" in done.stderr
    assert "--study NAME" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "x" * 300), 4, "there is no such study"),
        (("show", f"{'x' * 300}/x"), 4, "there is no such study"),
        (("upgrade", "x" * 300), 4, "no such file"),
        (("dashboard", "--study", "x" * 300), 2, "there is no study"),
    ],
)
def test_a_name_that_is_too_long_is_of_no_study(
    command: Invoke, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = command(*STUDY, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert says in done.stderr


@pytest.mark.parametrize("url", ["sqlite:///typo/TYPO.db", "sqlite+pysqlite:///typo/TYPO.db"])
@pytest.mark.parametrize("arguments", [("list",), ("show", "x"), ("dashboard",)])
def test_a_database_that_is_not_there_is_told_and_not_made(
    command: Invoke, tmp_path: Path, url: str, arguments: tuple[str, ...]
) -> None:
    if arguments == ("dashboard",):
        pytest.importorskip("optuna_dashboard")
    done = command(*STUDY, *arguments, "--storage", url)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "typo/TYPO.db: there is no such" in done.stderr
    assert not (tmp_path / "typo").exists()
