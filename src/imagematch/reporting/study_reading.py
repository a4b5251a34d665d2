"""Opens a study for looking at it, and makes the copy that figures are drawn from."""

from __future__ import annotations

import contextlib
import html
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import StudyError
from imagematch.events import printable
from imagematch.files import is_file
from imagematch.tuning import attributes, optuna_internals
from imagematch.tuning.reruns import rerun_study_names, rerun_study_of
from imagematch.tuning.storage import open_storage, sqlite_url
from imagematch.tuning.storage_errors import shown_url, storage_errors

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def read_study(database: str | Path, study_name: str | None = None) -> optuna.Study:
    """Opens an existing study of any Optuna program; nothing is created.

    Args:
        database: a SQLite file, or a storage URL.
        study_name: which one; None takes the only one there (siblings of repeated runs aside).

    Raises:
        StudyError: there is no such file or study, or the storage cannot be opened.
    """
    import optuna

    url = database if isinstance(database, str) and _is_meant_as_url(database) else sqlite_url(Path(database))
    if url.startswith("sqlite:///") and not is_file(Path(url.removeprefix("sqlite:///"))):
        path = Path(url.removeprefix("sqlite:///"))
        others: list[str] = []
        with contextlib.suppress(OSError):  # a folder whose name is too long
            others = sorted(file.stem for file in path.parent.glob("*.db"))
        known = f"; there are: {', '.join(others)}" if others else ""
        raise StudyError(
            f"there is no such study{known}", where=str(path), do="run: python hpt.py --hpt-config-filepath FILE"
        )
    storage = open_storage(url, create=False)
    with storage_errors(url):
        names = storage_names(storage)
        chosen = study_name if study_name is not None else _only(names, rerun_study_names(storage), shown_url(url))
        if chosen not in names:
            raise StudyError(f"holds no study {chosen!r}; it holds: {', '.join(names) or 'none'}", where=shown_url(url))
        return optuna.load_study(study_name=chosen, storage=storage)


def _is_meant_as_url(text: str) -> bool:
    """Whether a text is a URL, or one with a typo: what may hold a password is never taken for a path and shown."""
    return "://" in text or (bool({"@", ":"} & set(text)) and not is_file(Path(text)))


def storage_names(storage: optuna.storages.BaseStorage) -> list[str]:
    """The names of the studies in a storage, sorted."""
    return sorted(study.study_name for study in storage.get_all_studies())


def _only(names: list[str], siblings: set[str], where: str) -> str:
    own = [name for name in names if name not in siblings]
    if len(own) == 1:
        return own[0]
    raise StudyError(f"holds {len(own)} studies: {', '.join(own) or 'none'}", where=where, do="name one of them")


def sibling_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The repeated runs of the study's best trials; empty where there are none."""
    sibling = rerun_study_of(study.study_name, optuna_internals.storage_of(study))
    trials = [] if sibling is None else sibling.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.value is not None]


def drawable_copy(study: optuna.Study, *, repeats: bool = False, bare: bool = False) -> optuna.Study:
    """A copy in memory for drawing: numbers, values, times and parameters, with harmless names and no attributes.

    Names and choices are escaped, since plotly interprets tags in them. Trials keep their numbers.

    Args:
        study: stays as it is.
        repeats: whether trials that only copied an earlier value keep it; else they stand as waiting, which no figure
            draws, so that no point counts twice.
        bare: without parameters and intermediate values, which take most of the time.
    """
    trials = study.get_trials(deepcopy=False)
    return _copied(study, [None if not repeats and attributes.is_duplicate(trial) else trial for trial in trials], bare)


def sampled_copy(study: optuna.Study, at_most: int) -> optuna.Study:
    """As `drawable_copy`, but only so many trials, drawn at random with a fixed seed; the others stand as waiting.

    The best trial in each objective is always among them.
    """
    kept = [trial for trial in study.get_trials(deepcopy=False) if not attributes.is_duplicate(trial)]
    complete = [trial for trial in kept if trial.state.name == "COMPLETE" and trial.values is not None]
    drawn = set()
    for objective, direction in enumerate(study.directions):
        sign = 1.0 if direction.name == "MAXIMIZE" else -1.0
        if complete:
            drawn.add(max(complete, key=lambda t: sign * t.values[objective]).number)
    others = [trial.number for trial in kept if trial.number not in drawn]
    drawn |= set(random.Random(0).sample(others, min(at_most - len(drawn), len(others))))
    trials = study.get_trials(deepcopy=False)
    return _copied(study, [trial if trial.number in drawn else None for trial in trials], bare=False)


def _copied(study: optuna.Study, trials: Sequence[FrozenTrial | None], bare: bool) -> optuna.Study:
    import optuna

    from imagematch.reporting.shown_storage import ShownStorage

    distributions: dict[str, dict[str, BaseDistribution]] = {}
    shown = [_hidden(n) if trial is None else _harmless(trial, distributions, bare) for n, trial in enumerate(trials)]
    return optuna.create_study(directions=study.directions, storage=ShownStorage(shown))


def _hidden(number: int) -> FrozenTrial:
    import optuna

    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING)
    trial.number = number
    return trial


def _harmless(trial: FrozenTrial, seen: dict[str, dict[str, BaseDistribution]], bare: bool) -> FrozenTrial:
    from optuna.trial import FrozenTrial

    params, kinds = {}, {}
    for name, value in () if bare else trial.params.items():
        shown = escaped_choice(name)
        kinds[shown] = _same(seen, shown, _escaped_distribution(trial.distributions[name]))
        params[shown] = escaped_choice(value)
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=list(trial.values) if trial.values is not None else None,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=params,
        distributions=kinds,
        user_attrs={attributes.SECONDS: trial.user_attrs.get(attributes.SECONDS)},
        system_attrs={},
        intermediate_values={} if bare else dict(trial.intermediate_values),
        trial_id=optuna_internals.trial_id(trial),
    )


def _same(seen: dict[str, dict[str, BaseDistribution]], name: str, kind: BaseDistribution) -> BaseDistribution:
    """One object for equal distributions: a study of thousands of trials stays small."""
    return seen.setdefault(name, {}).setdefault(repr(kind), kind)


def _escaped_distribution(kind: BaseDistribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    if not isinstance(kind, CategoricalDistribution):
        return kind
    return CategoricalDistribution(tuple(escaped_choice(choice) for choice in kind.choices))


def escaped_choice(value: Any) -> Any:
    """A name or choice as figures show it: text escaped, but with its quotes (lists are JSON strings) kept."""
    if not isinstance(value, str):
        return (
            value
            if isinstance(value, (int, float, bool)) or value is None
            else html.escape(json.dumps(value, default=str))
        )
    return html.escape(printable(value).replace("\n", "\\n").replace("\t", "\\t"), quote=False)
