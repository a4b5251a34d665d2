"""Dockerfile and compose.yaml say what the project says: its packages, its files, its options."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TRAINS = {"h5py", "keras", "optuna", "pandas", "plotly", "scikit-learn", "tensorflow"}
"""What a server does not need: tests/end_to_end/test_serve.py serves without."""


def _name(requirement: str) -> str:
    return re.split(r"[<>=;\s]", requirement, maxsplit=1)[0].lower()


def test_the_image_has_the_packages_that_a_server_needs_at_locked_versions() -> None:
    pattern = re.search(r"grep -hE '(.*)' \\\n\s+(.*) > serve.txt", DOCKERFILE)
    assert pattern is not None
    files = pattern[2].split()
    lines = [line for file in files for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    installed = [line for line in lines if re.search(pattern[1], line)]
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *extras["serve"], *extras["postgresql"], *extras["faces"]]
    assert sorted(map(_name, installed)) == sorted({_name(one) for one in needed} - TRAINS)
    assert f"'{PROJECT['build-system']['requires'][0]}'" in DOCKERFILE


def test_what_is_copied_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [one for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for one in line.split()]
    assert set(copied) == allowed
    assert all((ROOT / one).exists() for one in copied)
    assert set(re.search(r"(requirements.*) > serve", DOCKERFILE)[1].split()) <= set(copied)  # type: ignore[index]


def test_it_runs_as_nobody_in_particular_and_writes_nowhere() -> None:
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER 10001") < next(n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    server = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["server"]
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert server["volumes"] == ["${MODEL:?}:/model:ro"]


def test_its_commands_are_commands(invoke: Any) -> None:
    command = re.search(r'^CMD \["serve", (.*)\]$', DOCKERFILE, re.MULTILINE)
    assert command is not None
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["server"]["command"]
    given = {*re.findall(r"--[a-z-]+", command[1]), *re.findall(r"--[a-z-]+", " ".join(composed))}
    assert composed[0] == "serve"
    known = invoke("serve", "--help").stdout
    assert [option for option in given if option not in known] == []


@pytest.mark.parametrize("name", ["IMAGEMATCH_TOKEN", "DATABASE_PASSWORD", "MODEL"])
def test_nothing_starts_without_its_secrets(name: str) -> None:
    assert f"${{{name}:?}}" in (ROOT / "compose.yaml").read_text(encoding="utf-8")
