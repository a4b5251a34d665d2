"""Hooks of the documentation site: pages from outside of docs/, and the reference of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links to the files beside README lead to their pages."""
    if page.file.src_uri in FROM_ROOT:
        return markdown
    return re.sub(r"\]\(((?:\.\./)*)\.\./(CONTRIBUTING|SECURITY|CHANGELOG)\.md", r"](\1\2.md", markdown)


def on_post_template(output_content: str, **_: object) -> str:
    """The page of a link that leads nowhere."""
    return on_post_page(output_content)


def on_post_page(output: str, **_: object) -> str:
    """The theme's search is a dialog without a name."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def cli_lines() -> Iterator[str]:
    """The page of the commands, from the program itself."""
    yield "# Commands"
    yield ""
    yield "`imagematch COMMAND --help` says the same. Exit codes: 0 done, 2 configuration or usage, 3 data,"
    yield "4 study or storage, 5 model, 130 interrupted (and resumable)."
    yield ""
    yield "With `--json` standard output is one JSON value and nothing else, whatever the command: its result, with"
    yield "null for what could not be computed. Progress, warnings and errors are on standard error, and a command that"
    yield "fails prints no value. Long commands take `--quiet` (the result and warnings alone) and `--verbose` (every"
    yield "epoch); work of over two seconds shows how far it is and the time left: a bar on a terminal, else a line"
    yield "about every 30 seconds or every tenth. `run.jsonl` of a run has everything, whatever is shown."
    command = typer.main.get_command(app)
    yield from _lines(command, command.context_class(command, info_name="imagematch"))


def _lines(command: Any, context: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if context.parent is not None:
        yield from ("", f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}", "")
        yield (command.help or "").strip()
        if inner is None:
            usage = " ".join(command.collect_usage_pieces(context))
            yield from ("", f"```text\n{context.command_path} {usage}\n```", "")
            yield from _rows(command, context)
    for name, one in (inner or {}).items():
        yield from _lines(one, one.context_class(one, info_name=name, parent=context))


def _rows(command: Any, context: Any) -> Iterator[str]:
    yield from ("| argument or option | what it is |", "|---|---|")
    for parameter in command.get_params(context):
        option = parameter.param_type_name == "option"
        name, about = parameter.get_help_record(context) or (parameter.make_metavar(context), "")
        if name.startswith("--help"):
            continue
        required = parameter.required and not option and "[required]" not in about
        cells = (f"`{name}`".replace("|", "\\|"), (about + (" [required]" if required else "")).replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |"
