"""Databases that cannot be used are refused in one line, as they are found, and no password is ever shown."""

import sqlite3
import traceback
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from imagematch.config import parse_study
from imagematch.errors import StudyError
from imagematch.files import Layout
from imagematch.tuning import delete_study, locks
from imagematch.tuning import storage as storage_module
from imagematch.tuning.locks import lock_at_once
from imagematch.tuning.storage import open_storage, sqlite_url, upgrade_database
from imagematch.tuning.storage_errors import shown_url, storage_errors

SECRET = "hunter2hunter2"
SETTINGS = parse_study({"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0})


def refused(url: str, says: str) -> str:
    """The one line with which a URL is refused."""
    with pytest.raises(StudyError, match=says) as caught:
        open_storage(url)
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line
    assert SECRET not in "".join(traceback.format_exception(caught.value)), "--debug shows it"
    return line


def study_file(path: Path) -> Path:
    """A database with one study."""
    storage = open_storage(sqlite_url(path))
    optuna.create_study(storage=storage, study_name="kept")
    storage.engine.dispose()
    return path


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("dear diary, this is no database at all")
    refused(sqlite_url(tmp_path / "a.db"), "is not a study's database")


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    execute(tmp_path / "a.db", "CREATE TABLE studies (subject TEXT)")
    before = (tmp_path / "a.db").read_bytes()
    refused(sqlite_url(tmp_path / "a.db"), "another program's")
    assert (tmp_path / "a.db").read_bytes() == before


def test_a_corrupt_database(tmp_path: Path) -> None:
    path = study_file(tmp_path / "a.db")
    torn = path.read_bytes()
    path.write_bytes(torn[:4096] + b"\xff" * 8192 + torn[12288:])
    assert "restore it from a backup" in refused(sqlite_url(path), "malformed")


def test_a_database_that_another_program_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study_file(tmp_path / "a.db")
    monkeypatch.setattr(storage_module, "_BUSY_S", 0.2)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert "another process is writing" in refused(sqlite_url(path), "locked")
    holder.close()
    open_storage(sqlite_url(path)).engine.dispose()


def test_a_database_of_another_version_of_optuna(tmp_path: Path) -> None:
    path = study_file(tmp_path / "a.db")
    execute(path, "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert "pip install -U optuna" in refused(sqlite_url(path), "newer version of Optuna")
    execute(path, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert "imagematch study upgrade" in refused(sqlite_url(path), "older version of Optuna")


def test_an_upgrade_of_what_needs_none(tmp_path: Path) -> None:
    assert upgrade_database(study_file(tmp_path / "a.db")) is None


def refused_untouched(path: Path, says: str) -> None:
    """An upgrade of `path` is refused, and neither the file nor its folder changes."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(StudyError, match=says) as caught:
        upgrade_database(path)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_an_upgrade_leaves_what_is_no_study_as_it_is(tmp_path: Path) -> None:
    execute(tmp_path / "a.db", "CREATE TABLE people (name TEXT)")
    refused_untouched(tmp_path / "a.db", "another program's")
    execute(tmp_path / "b.db", "CREATE TABLE version_info (version INTEGER)")
    refused_untouched(tmp_path / "b.db", "holds no study")
    (tmp_path / "c.db").touch()
    refused_untouched(tmp_path / "c.db", "holds no study")
    (tmp_path / "d.db").write_text("dear diary")
    refused_untouched(tmp_path / "d.db", "is not a study's database")


def test_an_upgrade_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path / "a.db")
    execute(path, "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    refused_untouched(path, "newer version of Optuna")


def test_a_backup_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study_file(tmp_path / "a.db")
    execute(path, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    kept = tmp_path / f"a.db.before-{optuna.__version__}"
    kept.write_text("an earlier backup")
    monkeypatch.setattr(optuna.storages.RDBStorage, "upgrade", lambda _self: None)
    backup = upgrade_database(path)
    assert backup == tmp_path / f"{kept.name}-2"
    assert kept.read_text() == "an earlier backup"
    connection = sqlite3.connect(backup)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("v3.0.0.d",)]
    assert connection.execute("SELECT study_name FROM studies").fetchall() == [("kept",)]
    connection.close()


def test_braces_in_a_path_are_braces(tmp_path: Path) -> None:
    (tmp_path / "{a}").mkdir()
    study_file(tmp_path / "{a}" / "b.db")
    assert (tmp_path / "{a}" / "b.db").is_file()


def out_of_connections(*_: object) -> None:
    raise OperationalError(None, None, ValueError("FATAL: sorry, too many clients already"))


def test_a_study_that_the_server_does_not_let_be_marked_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SimpleNamespace(url=f"postgresql://me:{SECRET}@somewhere/db", persist=lambda call: call())
    monkeypatch.setattr(locks, "_server", lambda _storage: server)
    monkeypatch.setattr(locks, "_session_with", out_of_connections)
    with pytest.raises(StudyError, match="too many clients") as caught, lock_at_once(None, "s", Path(".lock")):
        pass
    assert SECRET not in str(caught.value)


def test_only_what_the_database_raises_is_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(sqlite_url(tmp_path / "a.db"))
    for error, kind in ((AssertionError(), StudyError), (ImportError("fcntl"), ImportError), (KeyError("x"), KeyError)):
        with monkeypatch.context() as patched:

            def refuse(*_: object, error: Exception = error) -> None:
                raise error

            patched.setattr(optuna.storages.RDBStorage, "set_study_user_attr", refuse)
            with pytest.raises(kind):
                storage.set_study_user_attr(0, "name", 1)


def test_a_study_that_cannot_be_deleted_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.storages.RDBStorage, "get_study_id_from_name", out_of_connections)
    with pytest.raises(StudyError, match="too many clients"):
        delete_study(SETTINGS.study_name, sqlite_url(Layout(tmp_path).study_database(SETTINGS.study_name)))


def test_a_mistake_of_another_kind_is_not_blamed_on_the_database() -> None:
    with pytest.raises(ValueError, match="elsewhere"), storage_errors("sqlite:///a.db"):
        raise ValueError("elsewhere")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql+psycog://me:{SECRET}@localhost/db", "no database can be reached that way"),
        (f"postgres://me:{SECRET}@localhost/db", "no database can be reached that way"),
        (f"postgresql+psycopg://me:a@{SECRET}@localhost/db", "%40"),
        (f"postgresql+psycopg://me:{SECRET}/db", "no database can be reached that way"),
        (f"postgresql+psycopg//me:{SECRET}@localhost/db", "no database can be reached that way"),
        (f"postgresql+psycopg://me:{SECRET}@nowhere.invalid/db", "nowhere.invalid"),
        (f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db", "refused"),
        (f"postgresql+psycopg://me@127.0.0.1:1/db?password={SECRET}", "refused"),
        (f"postgresql+psycopg://me:{{{SECRET}}}@127.0.0.1:1/db", "refused"),
        (f"postgresql+psycopg://me@127.0.0.1:1/db?pasword={SECRET}", "pasword"),
    ],
)
def test_a_url_with_a_typo_never_shows_its_password(url: str, says: str) -> None:
    pytest.importorskip("psycopg")
    refused(url, says)
    assert SECRET not in shown_url(url)
