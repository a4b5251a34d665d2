"""`study list | show | compare | export | delete | upgrade | dashboard`: the studies that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagematch.cli.options import Json, show

study_app = typer.Typer(add_completion=False, rich_markup_mode=None)

StorageOption = Annotated[str | None, typer.Option(help="Database URL instead of the files in exp/.")]


@study_app.command("list")
def list_studies(storage: StorageOption = None, as_json: Json = False) -> None:
    """Lists the studies, with their trials and the best value; rerun studies are left out."""
    from dataclasses import asdict

    from imagematch.files import Layout
    from imagematch.tuning import study_overviews

    rows = study_overviews(Layout(), storage)
    lines = [row.line for row in rows] or ["no studies yet: python hpt.py --hpt-config-filepath hpt_config.yaml"]
    show([asdict(row) for row in rows], lines, as_json)


@study_app.command("show")
def show_study(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    storage: StorageOption = None,
    as_json: Json = False,
) -> None:
    """Shows a study: states, best trials, baseline, why trials failed."""
    import json

    from imagematch.files import Layout
    from imagematch.reporting import read_study, study_lines
    from imagematch.tuning import sqlite_url, storage_errors, trials_table

    database = Layout().study_database(name)
    study = read_study(storage or database, name)
    with storage_errors(storage or sqlite_url(database)):
        table = json.loads(trials_table(study).to_json(orient="records")) if as_json else None
        show({"study": name, "trials": table}, [] if as_json else study_lines(study), as_json)


@study_app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(metavar="STUDY", help="A study's name.")],
    second: Annotated[str, typer.Argument(metavar="STUDY", help="Another one's.")],
    storage: StorageOption = None,
    as_json: Json = False,
) -> None:
    """Shows two studies side by side: what they reached, and how their settings differ."""
    from imagematch.files import Layout
    from imagematch.reporting import compare_studies, comparison_lines, read_study
    from imagematch.tuning import sqlite_url, storage_errors

    databases = [storage or Layout().study_database(name) for name in (first, second)]
    studies = [read_study(database, name) for database, name in zip(databases, (first, second), strict=True)]
    with storage_errors(storage or sqlite_url(Path(databases[0]))):
        comparison = compare_studies(studies)
    show(comparison, comparison_lines(comparison), as_json)


@study_app.command("export")
def export_study(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    output: Annotated[Path, typer.Option(help="A file: .csv or .json.")],
    storage: StorageOption = None,
    as_json: Json = False,
) -> None:
    """Writes all trials as a table: CSV whose texts are no formulas, or a JSON list of what is stored."""
    from imagematch.errors import ConfigError
    from imagematch.files import Layout, write_text
    from imagematch.reporting import read_study, spreadsheet_text
    from imagematch.tuning import sqlite_url, storage_errors, trials_table

    if output.suffix.lower() not in (".csv", ".json"):
        raise ConfigError("is not a CSV or JSON file", where=f"--output {output}", do="name it FILE.csv or FILE.json")
    database = Layout().study_database(name)
    study = read_study(storage or database, name)
    with storage_errors(storage or sqlite_url(database)):
        table = trials_table(study)
    if output.suffix.lower() == ".json":
        write_text(output, table.to_json(orient="records", indent=2) + "\n")
    else:
        write_text(output, spreadsheet_text(table))
    show({"trials": len(table), "output": output}, [f"{len(table):,} trials written to {output}"], as_json)


@study_app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="The study's name.")],
    storage: StorageOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Deletes a study with its reruns and files; the winner's matcher stays."""
    from imagematch.cli.prompts import confirmed
    from imagematch.files import Layout
    from imagematch.pipeline import forget_study
    from imagematch.reporting import read_study

    layout = Layout()
    trials = len(read_study(storage or layout.study_database(name), name).get_trials(deepcopy=False))
    if yes or confirmed(f"delete study {name} with its {trials:,} trials", option="--yes"):
        forget_study(name, layout, storage)
        if storage is None:
            layout.study_database(name).unlink(missing_ok=True)
        show({"study": name, "trials": trials}, [f"study {name} is deleted"], as_json)


@study_app.command("upgrade")
def upgrade_study(
    file: Annotated[Path, typer.Argument(help="A study's SQLite file, written by an older Optuna.")],
    as_json: Json = False,
) -> None:
    """Upgrades a study's database to this version of Optuna; a backup stays beside it."""
    from imagematch.tuning import upgrade_database

    backup = upgrade_database(file)
    done = f"{file} needs no upgrade" if backup is None else f"{file} upgraded; the old file is {backup}"
    show({"file": file, "backup": backup}, [done], as_json)


@study_app.command("dashboard")
def open_dashboard(
    name: Annotated[str | None, typer.Option("--study", help="Which study of exp/, and whose artifacts.")] = None,
    storage: StorageOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    as_json: Json = False,
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
    artifacts = None if name is None else artifacts_dir(layout.study_dir(name))
    serve_dashboard(
        url, artifacts, port, opened=lambda address: show({"url": address}, [f"{address} (Ctrl-C ends it)"], as_json)
    )
