"""What is done to a study that many processes share, what is read of it, and what must hold of it."""

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from tests.fault.conftest import Start
from tests.quick_study import NAME

from imagematch.tuning import attributes
from imagematch.tuning.storage import open_storage


def trials_in(url: str, name: str = NAME) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=open_storage(url)).trials


def processes_of(trials: Sequence[FrozenTrial]) -> int:
    """How many processes have finished a trial."""
    return len({t.user_attrs[attributes.OWNER]["pid"] for t in attributes.counted(trials)})


def assert_sound(trials: Sequence[FrozenTrial], planned: int, processes: int) -> None:
    """Each planned trial finished exactly once, nothing is left over, and hardly a point was drawn twice at a time."""
    counted = attributes.counted(trials)
    assert len(counted) == planned
    assert len({t.user_attrs[attributes.CONFIG_DIGEST] for t in counted}) == planned
    assert not [t for t in trials if t.state.name in ("RUNNING", "WAITING")]
    done = [t for t in trials if t.state.name != "FAIL"]
    assert len({t.user_attrs[attributes.TRIAL_INDEX] for t in done}) == len(done), "no place twice"
    assert drawn_twice(trials) <= processes


def drawn_twice(trials: Sequence[FrozenTrial]) -> int:
    """How many points were drawn while somebody trained them: those trials end at once, and others come for them."""
    return sum(attributes.is_duplicate(t) and t.state.name == "FAIL" for t in trials)


def _starts(folder: Path) -> int:
    """How many trials the study in `folder` has started."""
    log = folder / "exp/hpt_studies/quick/run.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return sum(json.loads(line)["event"] == "trial_started" for line in lines if line.endswith("}"))


def wait_for_a_start(folder: Path, before: int = 0) -> None:
    """Until another trial has been started than the `before` that were."""
    end = time.monotonic() + 600
    while _starts(folder) == before:
        assert time.monotonic() < end
        time.sleep(0.02)


def kill_at_random_moments(folder: Path, quick: Start, *, kills: int, trials: int) -> dict[int, float | None]:
    """Kills (9) a study in `folder`, on the file `kept.db`, again and again; it is not over by then.

    Half of the kills come anywhere from the first import on, the others once a trial runs, so that the study gets on.

    Returns:
        The value of each trial that was finished between the kills; none of them was lost to a later one.
    """
    url, draw = f"sqlite:///{folder}/kept.db", random.Random(0)
    finished: dict[int, float | None] = {}
    for _ in range(kills):
        before = _starts(folder)
        process = quick(url, "--trials", str(trials), trial_s=1.5)
        if draw.random() < 0.5:
            time.sleep(draw.uniform(0.1, 4.0))
        else:
            wait_for_a_start(folder, before)
            time.sleep(draw.uniform(0.0, 3.0))
        assert process.poll() is None, "the study was over before the kills were"
        process.kill()
        process.communicate()
        if (folder / "kept.db").exists() and _starts(folder):
            told = trials_in(url)
            assert {number: told[number].value for number in finished} == finished, "a finished trial was lost"
            finished = {t.number: t.value for t in attributes.counted(told)}
    return finished


def seconds_to_resume(folder: Path, quick: Start, *, trials: int) -> float:
    """From starting the process to its first trial; then it is killed."""
    before, started = _starts(folder), time.monotonic()
    process = quick(f"sqlite:///{folder}/kept.db", "--trials", str(trials), trial_s=60)
    wait_for_a_start(folder, before)
    seconds = time.monotonic() - started
    process.kill()
    process.communicate()
    return seconds


def finish(folder: Path, quick: Start, *, trials: int) -> list[FrozenTrial]:
    """Goes on with the study to its end; returns its trials."""
    url = f"sqlite:///{folder}/kept.db"
    process = quick(url, "--trials", str(trials))
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return trials_in(url)
