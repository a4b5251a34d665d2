"""A study's database that somebody sent: one line, nothing run, nothing written or deleted beside it, little memory."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from tests.fault.hostile import NO_FILES, put, refusal

from imagematch.errors import StudyError
from imagematch.reporting import read_study, study_lines
from imagematch.tuning.sqlite_file import check_database
from imagematch.tuning.storage import open_storage, quiet_about_experiments, sqlite_url
from imagematch.tuning.tables import study_overviews, trials_table

MB = 1 << 20
JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
ESCAPES = "\x1b]0;TITLE\x07\x1b[31m\u202ered\n"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A study of three trials, one of them failed."""
    path = tmp_path / "exp" / "hpt_studies" / "s.db"
    study = optuna.create_study(study_name="s", storage=open_storage(sqlite_url(path)))
    for number in range(3):
        with quiet_about_experiments():
            trial = study.ask()
        trial.suggest_categorical("field", ("a", "b"))
        trial.suggest_float("rate", 0.0, 1.0)
        trial.set_user_attr("seconds", {"total": 1.0})
        trial.report(0.5, 1)
        study.tell(trial, None if number == 2 else 0.5, state=None if number < 2 else optuna.trial.TrialState.FAIL)
    study.set_user_attr("data", {"dataset": "digits", "images": 3, "classes": 1, "splits": {}})
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    return path


def execute(path: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    connection = sqlite3.connect(path)
    for statement in statements[:-1]:
        connection.execute(statement)
    connection.execute(statements[-1], values)
    connection.commit()
    connection.close()


def looked_at(path: Path) -> list[str]:
    """All that the commands show of a study, as lines."""
    study = read_study(path)
    return [*study_lines(study), *trials_table(study).to_json().splitlines()]


KILLED = """
import os, signal, sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("pragma cache_size = 1")
base.execute("begin immediate")
base.executemany(
    "insert into study_user_attributes (study_id, key, value_json) values (1, ?, ?)",
    [(str(number), "1" * 2000) for number in range(200)],
)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_transaction_that_a_kill_cut_off_is_rolled_back(database: Path) -> None:
    """Pages of it are in the file by then, and the journal has what stood there before."""
    before = looked_at(database)
    subprocess.run([sys.executable, "-c", KILLED, str(database)], check=False)
    assert database.with_name(f"{database.name}-journal").stat().st_size > 0
    assert looked_at(database) == before
    check_database(database)


SCHEMAS = {
    "endless view": (
        "alter table study_user_attributes rename to other",
        "create view study_user_attributes as with recursive r(n) as (select 1 union all select n + 1 from r) "
        "select n as study_user_attribute_id, 1 as study_id, 'k' as key, '1' as value_json from r",
    ),
    "trigger": ("create trigger t after update on trials begin update studies set study_name = 'x'; end",),
    "computed columns": ("alter table trials add column bomb generated always as (hex(zeroblob(400000000)))",),
    "computed columns of another table": ("create table other (a, b as (hex(zeroblob(400000000))))",),
    "computed index": ("create index odd on trials (hex(zeroblob(number)))",),
    "virtual table": (
        "pragma writable_schema = on",  # as a statement of its own it needs SQLite to be built with the module
        "insert into sqlite_master values "
        "('table', 'other', 'other', 0, 'create virtual table other using fts5 (words)')",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_runs_is_refused(database: Path, name: str) -> None:
    execute(database, *SCHEMAS[name])
    before = database.read_bytes()
    with pytest.raises(StudyError, match="which no study has"):
        open_storage(sqlite_url(database))
    assert database.read_bytes() == before


def test_another_table_with_a_view_and_a_trigger_of_its_own_is_none_of_our_business(database: Path) -> None:
    execute(
        database,
        "create table mine (a)",
        "create view better as select * from trials",
        "create trigger t after insert on mine begin delete from mine; end",
    )
    assert read_study(database).study_name == "s"


def test_a_journal_that_names_a_file_does_not_get_it_deleted(database: Path, tmp_path: Path) -> None:
    """SQLite deletes the file whose name ends a journal; a study's journals end in none."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = os.fsencode(victim)
    head = JOURNAL_MAGIC + struct.pack(">5I", 0, 0, database.stat().st_size // 4096, 512, 4096)
    checksum = sum(struct.unpack(f"{len(name)}b", name)) & 0xFFFFFFFF
    tail = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">2I", len(name), checksum) + JOURNAL_MAGIC
    database.with_name("s.db-journal").write_bytes(head.ljust(512, b"\0") + tail)
    with pytest.raises(StudyError, match="names other files"):
        read_study(database)
    assert victim.read_text() == "precious"
    (overview,) = overviews_in(tmp_path)
    assert "names other files" in overview
    assert victim.exists()
    sqlite3.connect(database).execute("select * from trials").fetchall()
    assert not victim.exists(), "SQLite has learnt better: the check may go"


def overviews_in(folder: Path) -> list[str]:
    from imagematch.files import Layout

    return [overview.line for overview in study_overviews(Layout(folder / "exp"))]


CONTENTS: dict[str, tuple[str, tuple[object, ...]]] = {
    "deep JSON": ("update study_user_attributes set value_json = ?", ("[" * 5000 + "]" * 5000,)),
    "no JSON": ("update study_user_attributes set value_json = ?", ("{bad",)),
    "JSON that is no text": ("update study_user_attributes set value_json = ?", (b"\xff\xfe",)),
    "digits without end": ("update trial_user_attributes set value_json = ?", ("9" * 5000,)),
    "unknown distribution": ("update trial_params set distribution_json = ?", ('{"name": "X", "attributes": {}}',)),
    "distribution without a name": ("update trial_params set distribution_json = ?", ("{}",)),
    "distribution with odd parts": (
        "update trial_params set distribution_json = ?",
        ('{"name": "FloatDistribution", "attributes": {"low": "a", "high": [], "x": 1}}',),
    ),
    "choice far away": ("update trial_params set param_value = 1e300", ()),
    "choice that is a text": ("update trial_params set param_value = 'x'", ()),
    "state": ("update trials set state = 'OTHER'", ()),
    "direction": ("update study_directions set direction = 'SIDEWAYS'", ()),
    "no direction": ("delete from study_directions", ()),
    "infinite value that is a number": ("update trial_values set value_type = 'INF_POS'", ()),
    "value that is a text": ("update trial_values set value = 'x'", ()),
    "values of another objective": ("update trial_values set objective = 7", ()),
    "number": ("update trials set number = 'x'", ()),
    "time": ("update trials set datetime_start = 'yesterday'", ()),
    "step": ("update trial_intermediate_values set step = 'x'", ()),
    "name of a study": ("update studies set study_name = ?", (b"\xff\xfe",)),
    "name of a parameter": ("update trial_params set param_name = ? where param_name = 'rate'", (b"\xff",)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_rows_that_no_study_has_are_refused_in_one_line(database: Path, name: str) -> None:
    execute(database, CONTENTS[name][0], values=CONTENTS[name][1])
    with pytest.raises(StudyError) as caught:
        looked_at(database)
    assert "\n" not in str(caught.value)
    assert "free some space" not in str(caught.value)
    (overview,) = overviews_in(database.parents[2])
    assert "cannot be read" in overview or "none complete" in overview or "best" in overview


@pytest.mark.parametrize("value", [ESCAPES, None, 7, 1e308, [], {}, {"a": [ESCAPES]}, [{"images": "x"}]])
def test_attributes_of_another_kind_are_left_out_and_nothing_is_raw(database: Path, value: object) -> None:
    for name in ("seconds", "reason", "figures", "duplicate_of", "best_epoch", "fold_values", "owner", "retry_of"):
        execute(
            database,
            "insert or replace into trial_user_attributes (trial_id, key, value_json) "
            "select trial_id, ?, ? from trials",
            values=(name, json.dumps(value)),
        )
    for name in ("definition", "baseline", "data", "winner", "compared", "feature_precisions", "network_parameters"):
        statement = "insert or replace into study_user_attributes (study_id, key, value_json) values (1, ?, ?)"
        execute(database, statement, values=(name, json.dumps(value)))
    lines = [*looked_at(database), *overviews_in(database.parents[2])]
    assert all(line.isprintable() for line in lines)


def test_names_with_escape_codes_are_shown_escaped(database: Path) -> None:
    execute(database, "update studies set study_name = study_name || ?", values=(ESCAPES * 100,))
    execute(database, "update trial_params set param_name = param_name || ?", values=(ESCAPES,))
    (overview,) = overviews_in(database.parents[2])
    assert overview.isprintable()
    assert len(overview) < 2000
    assert "\\x1b" in overview
    assert all(line.isprintable() for line in looked_at(database))


BOMBS: dict[str, Callable[[Path], None]] = {
    "one attribute of 200 MB": lambda path: execute(
        path, "insert into study_user_attributes (study_id, key, value_json) values (1, 'x', hex(zeroblob(100000000)))"
    ),
    "an attribute of 5 million objects": lambda path: execute(
        path,
        "insert into study_user_attributes (study_id, key, value_json) values (1, 'x', ?)",
        values=("[" + "{}," * 5_000_000 + "{}]",),
    ),
    "attributes of 100 MB in all": lambda path: execute(
        path,
        "with recursive r(n) as (select 1 union all select n + 1 from r where n < 100) "
        "insert into study_user_attributes (study_id, key, value_json) "
        "select 1, n, '\"' || hex(zeroblob(500000)) || '\"' from r",
    ),
    "a million steps": lambda path: execute(
        path,
        "with recursive r(n) as (select 10 union all select n + 1 from r where n < 1000000) "
        "insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
        "select 1, n, 0.5, 'FINITE' from r",
    ),
    "10,000 studies": lambda path: execute(
        path,
        "with recursive r(n) as (select 10 union all select n + 1 from r where n < 10000) "
        "insert into studies (study_id, study_name) select n, 'x' || n from r",
    ),
    "a table with a description of 20 MB": lambda path: execute(
        path, "create table other (a /*" + "x" * 20_000_000 + "*/)"
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(database: Path, name: str) -> None:
    BOMBS[name](database)
    setup = (
        "import optuna.storages\n"
        "from imagematch.tuning.storage import open_storage, sqlite_url\n"
        "use = lambda path: open_storage(sqlite_url(path))"
    )
    assert "which no study has" in refusal(setup, database)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
def test_what_is_no_file_is_refused_at_once(database: Path, kind: str, suffix: str) -> None:
    path = database.with_name(database.name + suffix)
    put(kind, path)
    for look in (lambda: read_study(database), lambda: open_storage(sqlite_url(database))):
        with pytest.raises(StudyError) as caught:
            look()
        assert "\n" not in str(caught.value)


def test_a_file_without_permission_is_named(database: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    database.chmod(0)
    with pytest.raises(StudyError, match="Permission denied"):
        read_study(database)


def test_a_sound_study_passes(database: Path) -> None:
    before = database.read_bytes()
    check_database(database)
    assert "Trials: 2 complete, 1 failed" in looked_at(database)[0]
    assert database.read_bytes() == before
