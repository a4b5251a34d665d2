"""Lines for people, JSON lines for programs."""

import io
import json
import re
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


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_in_lines_comes_after_two_seconds_and_at_each_tenth_or_half_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    with RunLog(stream=stream, clock=clock).progress("trials", 100) as advance:
        for _trial in range(100):
            clock.now += 1.0
            advance(note="best 0.9")
    told = stream.getvalue().splitlines()
    assert [line.split(" (")[0] for line in told] == [f"trials: {done} of 100" for done in range(10, 100, 10)]
    assert told[0] == "trials: 10 of 100 (best 0.9, 90 s left)"
    assert told[-1] == "trials: 90 of 100 (best 0.9, 10 s left)"
    stream.truncate(0)
    with RunLog(stream=stream, clock=clock).progress("epochs", 1000) as advance:
        for _epoch in range(10):
            clock.now += 10.0
            advance()
    assert [line.strip("\0") for line in stream.getvalue().splitlines()] == [
        "epochs: 3 of 1,000 (2 h 46 min left)",
        "epochs: 6 of 1,000 (2 h 46 min left)",
        "epochs: 9 of 1,000 (2 h 45 min left)",
    ]


def test_what_was_done_before_says_nothing_of_the_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with RunLog(stream=stream, clock=clock).progress("epochs", 100) as advance:
        advance.skip(50)
        clock.now = 20.0
        advance(10)
    assert stream.getvalue() == "epochs: 60 of 100 (80 s left)\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal_come_after_two_seconds_and_lines_stand_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream, clock = Terminal(), Clock()
    log = RunLog(stream=stream, clock=clock)
    with log.progress("trials", 4) as trials:
        trials()
        log._bars.refresh()
        assert "trials" not in stream.getvalue()
        clock.now = 3.0
        trials(note="best 0.95 (trial 1)")
        with log.progress("epochs", 10) as epochs:
            epochs()
            log._bars.refresh()
            log.say("a [red]line[/]")
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())
    assert "2/4 best 0.95 (trial 1), 3 s left" in shown
    assert "epochs" not in shown, "it took no two seconds"
    assert "a [red]line[/]" in shown
    assert log._bars is None


def test_levels_choose_what_is_shown_and_the_file_has_all(tmp_path: Path) -> None:
    def shown(**options: object) -> list[str]:
        stream = io.StringIO()
        log = RunLog(tmp_path / "run.jsonl", stream, **options)  # type: ignore[arg-type]
        log.event("epoch", "epoch 1", level="detail")
        log.event("data", "1,797 images")
        log.event("corrupt_image", "left out: a.png", level="warning")
        with log.progress("epochs", 2) as advance:
            advance(2)
        return stream.getvalue().splitlines()

    assert shown() == ["1,797 images", "left out: a.png"]
    assert shown(shows="detail") == ["epoch 1", "1,797 images", "left out: a.png"]
    assert shown(shows="warning") == ["left out: a.png"]
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 9
