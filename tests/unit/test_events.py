"""Lines for people, JSON lines for programs."""

import io
import json
from pathlib import Path

import pytest

from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog, printable


def test_an_event_is_a_line_for_people_and_an_object_for_programs(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = RunLog(tmp_path / "deep" / "run.jsonl", stream)
    log.event("epoch", "epoch 1", loss=0.5)
    log.event("quiet", number=2)
    assert stream.getvalue() == "epoch 1\n"
    records = [json.loads(line) for line in (tmp_path / "deep" / "run.jsonl").read_text().splitlines()]
    assert [(r["event"], r.get("loss"), r.get("number")) for r in records] == [("epoch", 0.5, None), ("quiet", None, 2)]
    assert all("time" in r for r in records)


def test_control_characters_are_harmless() -> None:
    stream = io.StringIO()
    RunLog(stream=stream).say("a\x1b[31mb\rc")
    assert stream.getvalue() == "a\\x1b[31mb\\rc\n"
    RunLog(stream=stream).say("left out: a\nb.png")
    assert stream.getvalue().splitlines()[1:] == ["left out: a\\nb.png"]
    assert printable("ä\tb\nc") == "ä\tb\nc"


def test_progress_without_a_terminal_is_quiet_at_first() -> None:
    stream = io.StringIO()
    with RunLog(stream=stream).progress("reading", 10) as advance:
        advance(3)
    assert stream.getvalue() == ""


def test_the_silent_log_tells_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.event("x", "message")
    with SILENT.progress("reading", 3) as advance:
        advance(1)
    assert capsys.readouterr().out == ""


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot write"):
        RunLog(tmp_path).event("x")


def test_what_json_does_not_have_is_null_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    RunLog(path).event("epoch", loss=float("nan"), rates=[1.0, float("inf")], nested={"x": float("-inf")})
    record = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (record["loss"], record["rates"], record["nested"]) == (None, [1.0, None], {"x": None})
