"""Hooks of the documentation site: pages from outside of docs/, and the reference of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from imagematch.cli.main import app

ROOT = Path(__file__).parent.parent
FROM_ROOT = {"index.md": "README.md", **{name: name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README as the first page, its neighbours, and the page of the commands."""
    for name, source in FROM_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=re.sub(r'(\]\(|=")docs/', r"\1", text)))
    files.append(File.generated(config, "cli.md", content="\n".join(cli_lines()) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the files beside README lead to their pages."""
    if page.file.src_uri in FROM_ROOT:
        return markdown
    return re.sub(r"\]\(((?:\.\./)*)\.\./(CONTRIBUTING|SECURITY|CHANGELOG)\.md", r"](\1\2.md", markdown)


def cli_lines() -> Iterator[str]:
    """The page of the commands, from the program itself."""
    yield "# Commands"
    yield ""
    yield "`imagematch COMMAND --help` says the same. Exit codes: 0 done, 2 configuration or usage, 3 data, 4 study or storage,"
    yield "5 model, 130 interrupted (and resumable)."
    command = typer.main.get_command(app)
    yield from _lines(command, click.Context(command, info_name="imagematch"))


def _lines(command: click.Command, context: click.Context) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if context.parent is not None:
        yield from ("", f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}", "")
        yield (command.help or "").strip()
        if inner is None:
            usage = " ".join(command.collect_usage_pieces(context))
            yield from ("", f"```text\n{context.command_path} {usage}\n```", "")
            yield from _rows(command, context)
    for name, one in (inner or {}).items():
        yield from _lines(one, click.Context(one, info_name=name, parent=context))


def _rows(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from ("| argument or option | |", "|---|---|")
    for parameter in command.get_params(context):
        option = isinstance(parameter, click.Option)
        name, about = parameter.get_help_record(context) or (parameter.make_metavar(context), "")
        if name.startswith("--help"):
            continue
        required = parameter.required and not option and "[required]" not in about
        cells = (f"`{name}`".replace("|", "\\|"), (about + (" [required]" if required else "")).replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |"
