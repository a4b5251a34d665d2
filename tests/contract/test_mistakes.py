"""Each mistake of docs/howto/mistakes.md is made; what is said is in the page, word for word."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.conftest import Invoke
from tests.mistakes import HEAD, MISTAKES, PAGE, Mistake, make_images, section, write_file


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_a_mistake_is_said_as_the_page_has_it(
    mistake: Mistake, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path)
    name = write_file(mistake)
    done = invoke(*shlex.split(mistake.command)[1:])
    assert done.returncode == mistake.code, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    said = "\n".join(lines)
    at = 0
    for words in mistake.says:
        at = said.index(words, at) + len(words)
    assert section(mistake, name, done.stderr) in PAGE.read_text(encoding="utf-8"), "python -m tests.mistakes"
    assert not (tmp_path / "exp" / "saved_models").exists(), "nothing was begun"


def test_the_page_has_no_others() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert text.count("\n## ") == len(MISTAKES) >= 20
