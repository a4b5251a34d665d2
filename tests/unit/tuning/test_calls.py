"""Tasks beside the study: every child takes part, answers keep their places, a death costs one task."""

from __future__ import annotations

import os
import selectors
from collections.abc import Mapping
from typing import Any

import pytest

from imagematch.errors import DataError, InterruptedRunError
from imagematch.events import SILENT
from imagematch.training import StopRequest
from imagematch.tuning.calls import call_all


class FakeChild:
    """Answers each task at once with what the task says, or dies."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.given: list[int] = []
        self.tasks_done = 0
        self._task: Mapping[str, Any] = {}
        read, self._write = os.pipe()
        selector.register(read, selectors.EVENT_READ, self)
        self._read = read

    def give(self, message: Mapping[str, Any]) -> None:
        if "prune" in message:
            return
        self._task = message
        self.given.append(message["number"])
        os.write(self._write, b".")

    def receive(self) -> tuple[list[dict[str, Any]], str]:
        os.read(self._read, 1)
        if self._task.get("dies"):
            return [{"event": "step"}], "killed"
        return [{"event": "step"}, {"event": "done", "number": self._task["number"], **self._task.get("tells", {})}], ""


def called(tasks: list[dict[str, Any]], children: int = 2, stop: StopRequest | None = None) -> Any:
    selector = selectors.DefaultSelector()
    made = [FakeChild(selector) for _ in range(children)]
    answers = dict(call_all(made, selector, tasks, SILENT, stop or StopRequest()))  # type: ignore[arg-type]
    return answers, made


def test_every_child_takes_part_and_answers_keep_their_places() -> None:
    answers, children = called([{"number": n} for n in range(7)], children=3)
    assert {place: answer["number"] for place, answer in answers.items()} == {n: n for n in range(7)}
    assert all(child.given for child in children)
    assert sum(child.tasks_done for child in children) == 7


def test_a_death_costs_one_task() -> None:
    answers, _ = called([{"number": 0}, {"number": 1, "dies": True}, {"number": 2}])
    assert [answers[n]["event"] for n in range(3)] == ["done", "failed", "done"]
    assert answers[1]["reason"] == "killed"


def test_an_error_that_a_child_tells_is_raised_here() -> None:
    told = {"event": "error", "kind": "DataError", "what": "gone", "where": "x", "do": "y"}
    with pytest.raises(DataError, match="gone"):
        called([{"number": 0, "tells": told}])


def test_a_stop_ends_it() -> None:
    stop = StopRequest()
    stop.ask(1)
    with pytest.raises(InterruptedRunError):
        called([{"number": 0}], stop=stop)


def test_nothing_to_do() -> None:
    assert called([])[0] == {}
