"""The failure policy: which failed trials end a search. It goes by what the study has stored, so all workers agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch import errors
from imagematch.config import StudySettings
from imagematch.tuning import attributes

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_ALLOWED = 5
_EQUAL_ALLOWED = 3


def error_json(error: errors.ImagematchError) -> dict[str, str]:
    """An error as JSON, for the study or another process."""
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "do": error.do}


def error_of(stored: Mapping[str, Any]) -> errors.ImagematchError:
    """The error that `error_json` was made of."""
    kind = getattr(errors, str(stored.get("kind", "")), errors.StudyError)
    if not (isinstance(kind, type) and issubclass(kind, errors.ImagematchError)):
        kind = errors.StudyError
    return kind(stored["what"], where=stored.get("where", ""), do=stored.get("do", ""))


def too_many_failures(trials: Iterable[FrozenTrial], settings: StudySettings, *, first: int, details: Path) -> int:
    """How many trials have failed, if those are so many that no more are begun; else 0.

    Args:
        trials: of the study.
        settings: of the study.
        first: the number of the first trial that counts: a resumed study starts anew.
        details: the file that says more.

    Raises:
        ImagematchError: of the images, the weights or the configuration, which other trials would meet too: it has come
            before any trial was finished, or three times.
        StudyError: several trials have failed, and none was finished.
    """
    trials = list(trials)
    any_finished = bool(attributes.counted(trials))
    failures = [t.user_attrs[attributes.FAILURE] for t in trials if t.number >= first and _has_failed(t)]
    equal = Counter((failure["what"], failure.get("where", "")) for failure in failures if failure.get("kind"))
    for failure in failures:
        times = equal[failure["what"], failure.get("where", "")]
        if failure.get("kind") and (not any_finished or times >= _EQUAL_ALLOWED):
            raise error_of(failure)
    if len(failures) >= _ALLOWED and not any_finished:
        raise errors.StudyError(
            f"no trial was finished, and {len(failures)} have failed, the last because {failures[-1]['what']}",
            where=settings.study_name,
            do=f"see {details}, change the configuration, and start again with --fresh",
        )
    return len(failures) if len(failures) >= max(_ALLOWED, settings.n_trials) else 0


def _has_failed(trial: FrozenTrial) -> bool:
    return trial.state.name == "FAIL" and attributes.FAILURE in trial.user_attrs
