"""What is read of a study that many processes share, and what must hold of it."""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial
from tests.quick_study import NAME

from imagematch.tuning import records
from imagematch.tuning.storage import open_storage


def trials_in(url: str, name: str = NAME) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=open_storage(url)).trials


def processes_of(trials: Sequence[FrozenTrial]) -> int:
    """How many processes have finished a trial."""
    return len({t.user_attrs[records.OWNER]["pid"] for t in records.counted(trials)})


def assert_sound(trials: Sequence[FrozenTrial], planned: int, processes: int) -> None:
    """Each planned trial finished exactly once, nothing is left over, and hardly a point was drawn twice at a time."""
    counted = records.counted(trials)
    assert len(counted) == planned
    assert len({t.user_attrs[records.POINT] for t in counted}) == planned
    assert not [t for t in trials if t.state.name in ("RUNNING", "WAITING")]
    done = [t for t in trials if t.state.name != "FAIL"]
    assert len({t.user_attrs[records.PLACE] for t in done}) == len(done), "no place twice"
    at_a_time = [t for t in trials if records.is_repeat(t) and t.state.name == "FAIL"]
    assert len(at_a_time) <= processes
