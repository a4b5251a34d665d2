"""How commands end: whatever a line shows of what was typed, no password is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from tests.conftest import run_command

from imagematch.cli.main import app
from imagematch.cli.running import run

SECRET = "hunter2hunter2"
URLS = [
    f"postgresql+psycopg://me:{SECRET}@host/db",
    f"postgresql+psycopg://me:p@ss/{SECRET}@host/db",
    f"postgresql:me:{SECRET}@host/db",
    f"postgresql://host/db?user=me&password={SECRET}&sslmode=require",
]


def told(app: typer.Typer, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was said on the error stream, with and without --debug."""
    said = ""
    for more in ([], ["--debug"]):
        with pytest.raises(SystemExit) as caught:
            run(app, [*arguments, *more])
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        said += printed.err
    assert "Traceback" in said
    assert isinstance(caught.value.code, int)
    return caught.value.code, said


@pytest.fixture(autouse=True)
def _plain_error_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematch.cli.running._mute_native_libraries", lambda: None)


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_not_shown_where_a_url_was_typed_in_the_wrong_place(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("study_name: s\ndataset: digits\n")
    code, said = told(app, ["hpt", "--hpt-config-filepath", str(file), "--set", f"storage:{url}"], capsys)
    assert (code, "'storage:" in said) == (2, True)
    code, said = told(app, ["study", "list", url], capsys)
    assert (code, "unexpected extra argument" in said, "host/db" in said) == (2, True, True)


@pytest.mark.parametrize("url", URLS)
def test_nor_in_a_defect(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken = typer.Typer(add_completion=False, rich_markup_mode=None)

    @broken.command()
    def fail(_what: str) -> None:
        raise RuntimeError(f"no luck with {url} today")

    code, said = told(broken, ["x"], capsys)
    assert (code, "this is a defect of imagematch" in said) == (1, True)
    assert said.count("host/db") == 2


def test_the_advice_how_to_write_a_url_stays(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told(app, ["study", "list", "--storage", f"postgresql:me:{SECRET}@host"], capsys)
    assert (code, "postgresql+psycopg://USER:PASSWORD@HOST/NAME" in said) == (4, True)


HANGS = """\
import atexit, sys, time, types
import typer
from imagematch.cli.running import run_and_end
from imagematch.errors import DataError

sys.modules["openvino"] = types.ModuleType("openvino")
atexit.register(time.sleep, 600)
app = typer.Typer()

@app.command()
def command(bad: bool = False) -> None:
    print("said")
    if bad:
        raise DataError("no such image")

sys.argv = ["x", "--bad" if len(sys.argv) > 1 else "--no-bad"]
run_and_end(app)
"""


@pytest.mark.parametrize(("bad", "code", "told"), [([], 0, ""), (["bad"], 3, "error: no such image\n")])
def test_a_command_does_not_wait_for_the_end_of_a_library(bad: list[str], code: int, told: str, tmp_path: Path) -> None:
    done = run_command("-c", HANGS, *bad, cwd=tmp_path, timeout_s=120)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\n", told)
