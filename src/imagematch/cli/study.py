"""`study list | show | upgrade | dashboard`: the studies that there are, at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagematch.events import printable

study_app = typer.Typer(add_completion=False, rich_markup_mode=None)

StorageOption = Annotated[str | None, typer.Option(help="Database URL instead of the files in exp/.")]


@study_app.command("list")
def list_studies(storage: StorageOption = None) -> None:
    """Lists the studies, with their trials and the best value; rerun studies are left out."""
    from imagematch.files import Layout
    from imagematch.tuning import study_overviews

    rows = study_overviews(Layout(), storage)
    for row in rows:
        print(row.line)
    if not rows:
        print("no studies yet: python hpt.py --hpt-config-filepath hpt_config.yaml")


@study_app.command("show")
def show_study(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    storage: StorageOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Shows a study: states, best trials, baseline, why trials failed."""
    import json

    from imagematch.files import Layout
    from imagematch.reporting import read_study, study_lines
    from imagematch.tuning import sqlite_url, storage_errors, trials_table

    database = Layout().study_database(name)
    study = read_study(storage or database, name)
    with storage_errors(storage or sqlite_url(database)):
        if as_json:
            table = trials_table(study)
            lines = [json.dumps({"study": name, "trials": json.loads(table.to_json(orient="records"))})]
        else:
            lines = study_lines(study)
    print("\n".join(lines))


@study_app.command("upgrade")
def upgrade_study(
    file: Annotated[Path, typer.Argument(help="A study's SQLite file, written by an older Optuna.")],
) -> None:
    """Upgrades a study's database to this version of Optuna; a backup stays beside it."""
    from imagematch.tuning import upgrade_database

    backup = upgrade_database(file)
    done = f"{file} needs no upgrade" if backup is None else f"{file} upgraded; the old file is {backup}"
    print(printable(done))


@study_app.command("dashboard")
def open_dashboard(
    name: Annotated[str | None, typer.Option("--study", help="Which study of exp/, and whose artifacts.")] = None,
    storage: StorageOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Starts optuna-dashboard for this machine alone, each trial with its learning curve and configuration."""
    from imagematch.errors import ConfigError
    from imagematch.files import Layout, is_file
    from imagematch.tuning import artifacts_dir, serve_dashboard, sqlite_url

    layout = Layout()
    if storage is None and name is None:
        there = sorted(path.stem for path in layout.study_database("x").parent.glob("*.db"))
        if len(there) != 1:
            what = f"which study? There are: {', '.join(there)}" if there else "there is no study yet"
            raise ConfigError(what, where="exp", do="give --study NAME or --storage URL")
        name = there[0]
    if storage is None and not is_file(layout.study_database(str(name))):
        raise ConfigError(f"there is no study {name!r}", where="exp", do="see: imagematch study list")
    url = storage or sqlite_url(layout.study_database(str(name)))
    serve_dashboard(url, None if name is None else artifacts_dir(layout.study_dir(name)), port)
