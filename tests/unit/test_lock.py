"""requirements.lock is that of requirements.txt: `make lock` makes it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def requirements(text: str) -> list[Requirement]:
    """The requirements of a file, options such as `--hash` and `-e` left out."""
    joined = text.replace("\\\n", " ")
    lines = (line.split("#")[0].split(" --")[0].strip() for line in joined.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.mark.parametrize(
    "pinned", requirements((ROOT / "requirements.txt").read_text(encoding="utf-8")), ids=lambda pinned: pinned.name
)
def test_every_pin_is_locked(pinned: Requirement) -> None:
    locked = [one for one in requirements(LOCK) if canonicalize_name(one.name) == canonicalize_name(pinned.name)]
    assert [one.specifier for one in locked] == [pinned.specifier], "run: make lock"
    assert all(one.marker is None for one in locked), "everybody needs what requirements.txt names"


def test_every_locked_package_is_exact_and_has_hashes() -> None:
    blocks = LOCK.replace("\\\n", " ").splitlines()[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"^[a-z0-9.-]+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+$", block), block


def test_the_lock_names_no_index() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


def test_what_the_package_asks_for_is_locked_too() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements(LOCK)}
    for wanted in map(Requirement, project["dependencies"]):
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_the_build_needs_nothing_that_is_not_locked() -> None:
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    locked = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements(LOCK)}
    for wanted in map(Requirement, build["requires"]):
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_the_versions_that_the_list_of_advisories_names_are_those_that_are_locked() -> None:
    locked = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements(LOCK)}
    listed = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("| package, pinned |")[2]
    named = re.findall(
        r"([a-z0-9-]+) (\d+(?:\.\d+)+)(?=[ ,])", "".join(row.split("|")[1] for row in listed.splitlines()[2:])
    )
    assert len(named) > 10
    assert named == [(name, locked[name]) for name, _ in named]
