"""Tasks beside the study (baseline, repeated runs): handed to whichever child is idle, answered as they come."""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagematch.events import RunLog
from imagematch.training import StopRequest
from imagematch.training.interruption import interrupted
from imagematch.tuning.child import Child, raise_error

Task = dict[str, Any]
Answer = dict[str, Any]
"""What a child tells at the end of a task: its `event` is "done" or "failed"."""


def call_all(
    children: Sequence[Child], selector: selectors.BaseSelector, tasks: Sequence[Task], log: RunLog, stop: StopRequest
) -> Iterator[tuple[int, Answer]]:
    """Gives the tasks out, one a child at a time, and yields each one's place and answer when it comes.

    A child that dies has failed its task; the next one gets a new process. Trainings that run when somebody first asks
    for an end are finished.

    Raises:
        InterruptedRunError: `stop` asked for it.
        ImagematchError: the error that a child told.
    """
    waiting, busy = deque(range(len(tasks))), dict[Child, int]()
    told_to_stop = False
    while busy or (waiting and not stop.level):
        trains = any(tasks[place].get("task") == "train" for place in busy.values())
        if stop.at_next_step or (stop.level and not trains):
            break
        if stop.level and not told_to_stop:
            told_to_stop = True
            log.say("finishing what is trained; Ctrl-C again stops it")
        for child in children:
            if waiting and child not in busy and not stop.level:
                busy[child] = waiting.popleft()
                child.begin(tasks[busy[child]])
        for key, _ in selector.select(timeout=0.5):
            child = key.data
            events, died = child.receive()
            for event in events:
                if passed_on(event, log):
                    continue
                if event["event"] == "step":
                    child.give({"prune": False})
                elif event["event"] == "error":
                    raise_error(event)
                elif child in busy:
                    yield busy.pop(child), event
            if died and child in busy:
                yield busy.pop(child), {"event": "failed", "reason": died}
    if stop.level:
        raise interrupted()


def passed_on(event: Mapping[str, Any], log: RunLog) -> bool:
    """Tells `log` what a child told its own; false where the event is something else."""
    if event["event"] == "log":
        log.event(event["kind"], event["message"], **event["fields"])
    elif event["event"] == "say":
        log.say(event["message"])
    else:
        return False
    return True
