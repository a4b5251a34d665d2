"""The `imagematch` command: one place where every subcommand is named."""

from __future__ import annotations

from typing import Annotated

import typer

from imagematch import __version__
from imagematch.cli.compare import compare_command
from imagematch.cli.data import data_app
from imagematch.cli.doctor import doctor
from imagematch.cli.duplicates import duplicates
from imagematch.cli.evaluate import evaluate
from imagematch.cli.export import export
from imagematch.cli.extractors import extractors_app
from imagematch.cli.features import features_app
from imagematch.cli.gallery import gallery_app
from imagematch.cli.hpt import hpt
from imagematch.cli.init import init
from imagematch.cli.match import match
from imagematch.cli.retrieve import retrieve_command
from imagematch.cli.running import run_and_end
from imagematch.cli.serve import serve
from imagematch.cli.study import study_app
from imagematch.cli.train import train_command
from imagematch.cli.upgrade import upgrade


def _app(help_text: str | None = None, *, completion: bool = False) -> typer.Typer:
    return typer.Typer(help=help_text, add_completion=completion, rich_markup_mode=None, pretty_exceptions_enable=False)


app = _app("Tunes and evaluates image matchers. Add --debug to any command for a traceback.", completion=True)


def _show_version(value: bool) -> None:
    if value:
        print(f"imagematch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(init)
app.command()(hpt)
app.command("train")(train_command)
app.command()(evaluate)
app.command()(match)
app.command("retrieve")(retrieve_command)
app.command()(duplicates)
app.command("compare")(compare_command)
app.command()(serve)
app.command()(export)
app.command()(upgrade)
app.command()(doctor)
app.add_typer(data_app, name="data", help="Data sets: what there is, whether one is sound, how to get one.")
app.add_typer(study_app, name="study", help="The studies: list, show, compare, export, delete, upgrade, dashboard.")
app.add_typer(
    gallery_app,
    name="gallery",
    help="Images that stay, to be searched: create, add, remove, search, list, export, rebuild.",
)
app.add_typer(extractors_app, name="extractors", help="The networks there are, and what a network file is.")
app.add_typer(features_app, name="features", help="The feature store: what it holds, whether it is sound.")


def main() -> None:
    """The console command."""
    run_and_end(app)


def hpt_script() -> None:
    """`python hpt.py`."""
    script = _app()
    script.command()(hpt)
    run_and_end(script)


def train_script() -> None:
    """`python train.py`."""
    script = _app()
    script.command()(train_command)
    run_and_end(script)
