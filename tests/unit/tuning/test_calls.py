"""Tasks beside the study: every child takes part, answers keep their places, a death costs one task."""

from __future__ import annotations

import io
import json
import os
import selectors
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagematch.tuning.calls import call_all

from imagematch.errors import DataError, InterruptedRunError
from imagematch.events import SILENT, RunLog
from imagematch.interruption import StopRequest
from imagematch.tuning.worker import _Parent, _ParentLog


class FakeChild:
    """Answers each task at once with what the task says, or dies."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.given: list[int] = []
        self._task: Mapping[str, Any] = {}
        read, self._write = os.pipe()
        selector.register(read, selectors.EVENT_READ, self)
        self._read = read

    def begin(self, task: Mapping[str, Any]) -> None:
        self._task = task
        self.given.append(task["number"])
        os.write(self._write, b".")

    def give(self, message: Mapping[str, Any]) -> None:
        assert message == {"prune": False}

    def receive(self) -> tuple[list[dict[str, Any]], str]:
        os.read(self._read, 1)
        if self._task.get("dies"):
            return [{"event": "step"}], "killed"
        events = [{"event": "step"}, *self._task.get("logs", [])]
        return [*events, {"event": "done", "number": self._task["number"], **self._task.get("tells", {})}], ""


def called(
    tasks: list[dict[str, Any]], children: int = 2, stop: StopRequest | None = None, log: RunLog = SILENT
) -> Any:
    selector = selectors.DefaultSelector()
    made = [FakeChild(selector) for _ in range(children)]
    answers = dict(call_all(made, selector, tasks, log, stop or StopRequest()))  # type: ignore[arg-type]
    return answers, made


def test_every_child_takes_part_and_answers_keep_their_places() -> None:
    answers, children = called([{"number": n} for n in range(7)], children=3)
    assert {place: answer["number"] for place, answer in answers.items()} == {n: n for n in range(7)}
    assert all(child.given for child in children)
    assert sum(len(child.given) for child in children) == 7


def test_a_death_costs_one_task() -> None:
    answers, _ = called([{"number": 0}, {"number": 1, "dies": True}, {"number": 2}])
    assert [answers[n]["event"] for n in range(3)] == ["done", "failed", "done"]
    assert answers[1]["reason"] == "killed"


def test_an_error_that_a_child_tells_is_raised_here() -> None:
    told = {"event": "error", "kind": "DataError", "what": "gone", "where": "x", "do": "y"}
    with pytest.raises(DataError, match="gone"):
        called([{"number": 0, "tells": told}])


def test_what_a_child_logs_is_recorded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child's own log makes of an event, and what the parent's makes of that."""
    monkeypatch.setattr(_Parent, "_listen", lambda *_: None)
    pipe, said = io.StringIO(), io.StringIO()
    child_log = _ParentLog(_Parent(io.StringIO(), pipe))
    child_log.event("features_block", pictures=np.int64(16), seconds={"network": 1.5})
    child_log.event("engine_fallback", "TensorFlow does, more slowly", kept=2)
    child_log.say("converting")
    logs = [json.loads(line) for line in pipe.getvalue().splitlines()]
    called([{"number": 0, "logs": logs}], log=RunLog(tmp_path / "run.jsonl", said))
    first, second = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert (first["event"], int(first["pictures"]), first["seconds"]) == ("features_block", 16, {"network": 1.5})
    assert (second["event"], second["message"], second["kept"]) == (
        "engine_fallback",
        "TensorFlow does, more slowly",
        2,
    )
    assert said.getvalue() == "TensorFlow does, more slowly\nconverting\n"


def test_a_stop_ends_it() -> None:
    stop = StopRequest()
    stop.ask(1)
    with pytest.raises(InterruptedRunError):
        called([{"number": 0}], stop=stop)


def stopped_at_the_first_answer(tasks: int, children: int) -> list[int]:
    """The places that were answered although somebody asked for an end at the first answer."""
    stop, selector, answered = StopRequest(), selectors.DefaultSelector(), []
    made = [FakeChild(selector) for _ in range(children)]

    def call() -> None:
        given = [{"number": n, "task": "train"} for n in range(tasks)]
        for place, _ in call_all(made, selector, given, SILENT, stop):  # type: ignore[arg-type]
            answered.append(place)
            stop.ask(1)

    with pytest.raises(InterruptedRunError):
        call()
    return sorted(answered)


def test_a_first_ctrl_c_lets_what_is_trained_finish_and_begins_nothing_more() -> None:
    assert stopped_at_the_first_answer(tasks=4, children=2) == [0, 1]


def test_a_ctrl_c_in_the_last_task_is_not_forgotten() -> None:
    assert stopped_at_the_first_answer(tasks=1, children=1) == [0]


def test_nothing_to_do() -> None:
    assert called([])[0] == {}
