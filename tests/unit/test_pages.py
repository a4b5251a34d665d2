"""README and the pages of docs/: each block runs in a test, or says why not; its settings and commands are true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from tests.pages import PAGES, ROOT, RUN_PAGES, Block, blocks

from imagematch.cli.main import app
from imagematch.config import parse_study, parse_train

EVERY = [(page, block) for page in PAGES for block in blocks(ROOT / page)]
COMMANDS = typer.main.get_command(app)
LANGUAGES = {"sh", "python", "yaml", "text", "toml", "ini"}
PROGRAMS = ("imagematch", ".venv/bin/imagematch", "python hpt.py", "python train.py")


def of(*languages: str) -> list[pytest.ParameterSet]:
    return [pytest.param(block, id=f"{page}:{block.line}") for page, block in EVERY if block.language in languages]


def parsed(line: str) -> None:
    """Parses a line by the program itself; an unknown command or option, or a missing argument, raises."""
    words = shlex.split(line, comments=True)
    for program in PROGRAMS:
        if words[: len(program.split())] == program.split():
            words = words[len(program.split()) :]
            break
    words = [{"hpt.py": "hpt", "train.py": "train"}[program.split()[1]], *words] if " " in program else words
    command = COMMANDS
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    command.make_context(command.name, words, resilient_parsing=bool({"--help", "--version"} & set(words)))


def lines(block: Block) -> list[str]:
    """The lines of a block that call imagematch; one that ends in a backslash goes on in the next."""
    text = re.sub(r"\\\n\s*", "", block.text)
    return [line for line in text.splitlines() if line.removeprefix("$ ").startswith(PROGRAMS)]


def test_every_block_has_a_known_language_and_runs_or_says_why_not() -> None:
    unknown = [(page, block.line) for page, block in EVERY if block.language not in LANGUAGES]
    silent = [
        (page, block.line)
        for page, block in EVERY
        if block.language in ("sh", "python") and page not in RUN_PAGES and len(block.not_run) < 10
    ]
    assert unknown == silent == []


@pytest.mark.parametrize("block", of("sh", "text"))
def test_commands_are_those_of_the_program(block: Block) -> None:
    for line in lines(block):
        parsed(line.removeprefix("$ "))


@pytest.mark.parametrize(
    "line", ["imagematch mach A B --model m", "imagematch match --modle m A B", "imagematch match A", "python hpt.py"]
)
def test_a_wrong_command_is_seen(line: str) -> None:
    with pytest.raises(Exception, match=r"no command|No such|Missing"):
        parsed(line)


@pytest.mark.parametrize("block", of("yaml"))
def test_settings_are_accepted(block: Block) -> None:
    values = yaml.safe_load(block.text)
    (parse_study if "study_name" in values else parse_train)(values)


@pytest.mark.parametrize("block", of("python"))
def test_python_is_python(block: Block) -> None:
    compile(block.text, "block", "exec")


def test_links_between_files_lead_somewhere() -> None:
    broken = [
        (page, target)
        for page in PAGES
        for target in re.findall(r'(?:\]\(|(?:src|srcset)=")([^)"#\s]+)', (ROOT / page).read_text(encoding="utf-8"))
        if "://" not in target and not ((ROOT / page).parent / target).exists()
    ]
    assert [one for one in broken if Path(one[1]).name != "cli.md"] == []
