"""`study list | show | upgrade | dashboard`: the studies that are kept, at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)

StorageOption = Annotated[str | None, typer.Option(help="Database URL instead of the files in exp/.")]


@app.command("list")
def list_(storage: StorageOption = None) -> None:
    """Lists the studies, with their trials and the best value."""
    from imagematch.files import Layout
    from imagematch.tuning.overview import overviews

    rows = overviews(Layout(), storage)
    for row in rows:
        print(row.line)
    if not rows:
        print("no studies yet: python hpt.py --hpt-config-filepath hpt_config.yaml")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    storage: StorageOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Shows a study: states, best trials, baseline, why trials failed."""
    import json

    from imagematch.files import Layout
    from imagematch.reporting import read_study, study_summary
    from imagematch.tuning.records import trials_table

    study = read_study(storage or Layout().study_database(name), name)
    if as_json:
        table = trials_table(study)
        print(json.dumps({"study": name, "trials": json.loads(table.to_json(orient="records"))}))
        return
    print(study_summary(study))


@app.command()
def upgrade(file: Annotated[Path, typer.Argument(help="A study's SQLite file, written by an older Optuna.")]) -> None:
    """Upgrades a study's database to this version of Optuna; a backup stays beside it."""
    from imagematch.tuning.storage import upgrade_database

    backup = upgrade_database(file)
    print(f"{file} needs no upgrade" if backup is None else f"{file} upgraded; the old file is kept as {backup}")


@app.command()
def dashboard(
    storage: StorageOption = None,
    name: Annotated[
        str | None, typer.Option("--study", help="Which study's file in exp/ (not with --storage).")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Starts optuna-dashboard on this machine (optional extra: pip install optuna-dashboard)."""
    import importlib.util
    import subprocess
    import sys

    from imagematch.errors import ConfigError
    from imagematch.files import Layout
    from imagematch.tuning.storage import sqlite_url

    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigError("the dashboard is not installed", do="pip install optuna-dashboard")
    if storage is None and name is None:
        raise ConfigError("which study?", do="give --study NAME or --storage URL")
    url = storage or sqlite_url(Layout().study_database(str(name)))
    program = "from optuna_dashboard._cli import main; main()"
    subprocess.run([sys.executable, "-c", program, url, "--host", "127.0.0.1", "--port", str(port)], check=False)
