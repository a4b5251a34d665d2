"""Opens a study for reports, and what is known of it and its trials; what was not stored is left out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.errors import StudyError
from imagematch.files import is_file
from imagematch.reporting.escaping import visible
from imagematch.tuning import (
    attributes,
    open_storage,
    rerun_study_names,
    rerun_study_of,
    shown_url,
    sqlite_url,
    storage_errors,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def read_study(database: str | Path, study_name: str | None = None) -> optuna.Study:
    """Opens an existing study of any Optuna program; nothing is created.

    Args:
        database: a SQLite file, or a storage URL.
        study_name: which one; None takes the only one there (studies of reruns aside).

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
    """Whether a text is meant as a URL, typos included: it may hold a password and must not be shown as a path."""
    return "://" in text or (bool({"@", ":"} & set(text)) and not is_file(Path(text)))


def storage_names(storage: optuna.storages.BaseStorage) -> list[str]:
    """The names of the studies in a storage, sorted."""
    return sorted(study.study_name for study in storage.get_all_studies())


def _only(names: list[str], reruns: set[str], where: str) -> str:
    own = [name for name in names if name not in reruns]
    if len(own) == 1:
        return own[0]
    raise StudyError(f"holds {len(own)} studies: {', '.join(own) or 'none'}", where=where, do="name one of them")


def rerun_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The finished reruns of the study's best trials, with other seeds; empty where there are none."""
    reruns = rerun_study_of(study.study_name, study._storage)
    trials = [] if reruns is None else reruns.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.value is not None]


def objective_name(study: optuna.Study, objective: int = 0) -> str:
    """What the study optimises: as it stores it, as Optuna does, else "objective"."""
    definition = study.user_attrs.get(attributes.DEFINITION)
    names = definition.get("objective") if isinstance(definition, Mapping) else None
    names = [names] if isinstance(names, str) else names
    if isinstance(names, list) and len(names) == len(study.directions):
        return str(names[objective])
    if study.metric_names and objective < len(study.metric_names):
        return str(study.metric_names[objective])
    return "objective" if len(study.directions) == 1 else f"objective {objective + 1}"


def maximises(study: optuna.Study) -> bool:
    """Whether larger values of the (first) objective are better."""
    return study.directions[0].name == "MAXIMIZE"


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The COMPLETE trials without duplicates, the best first; of several objectives the Pareto front, by the first."""
    return attributes.best_of(study.get_trials(deepcopy=False), study.directions)


def winning_trial(study: optuna.Study) -> FrozenTrial | None:
    """The winner as the study stores it, else the best by value; None where no trial is complete."""
    ranked = ranked_trials(study)
    number = study.user_attrs.get(attributes.WINNER)
    return next((trial for trial in ranked if trial.number == number), ranked[0] if ranked else None)


def what_happened(trial: FrozenTrial) -> str:
    """Why a trial is not simply complete: pruned where, failed why, duplicate or retry of which; empty if it is."""
    stored, parts = trial.user_attrs, []
    if attributes.is_duplicate(trial):
        parts.append(f"duplicates trial {stored[attributes.DUPLICATE_OF]}, whose value it has")
    elif attributes.OUTSIDE in stored:
        values = ", ".join(f"{visible(name)} {value}" for name, value in stored[attributes.OUTSIDE].items())
        parts.append(f"set aside: the search space has {visible(values, 200)} no more")
    elif attributes.OVER_LIMIT in stored:
        parts.append(visible(stored.get(attributes.REASON, "not trained"), 200))
    elif trial.state.name == "PRUNED":
        steps = trial.intermediate_values
        last = max(steps, default=None)
        parts.append("pruned" if last is None else f"pruned at step {last}, at {steps[last]:.4f}")
    elif trial.state.name == "FAIL":
        parts.append(f"failed: {visible(stored.get(attributes.REASON, 'no reason was stored'), 200)}")
    if attributes.RETRY_OF in stored:
        parts.append(f"retries trial {stored[attributes.RETRY_OF]}, which was cut off")
    return "; ".join(parts)


def trial_seconds(trial: FrozenTrial) -> float:
    """How long a trial took: as its worker measured it, else as Optuna's clock did; NaN where neither did,
    or where the clock was set back meanwhile."""
    seconds = trial.user_attrs.get(attributes.SECONDS)
    if isinstance(seconds, dict) and isinstance(seconds.get("total"), (int, float)):
        return float(seconds["total"])
    seconds = trial.duration.total_seconds() if trial.duration is not None else math.nan
    return seconds if seconds >= 0 else math.nan


def state_counts(study: optuna.Study) -> dict[str, int]:
    """How many trials are complete, pruned, failed, running, waiting, or why they do not count."""
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    marked = {
        attributes.DUPLICATE_OF: "duplicates",
        attributes.OUTSIDE: "set aside",
        attributes.OVER_LIMIT: "over max_parameters",
    }
    counts = dict.fromkeys((*names.values(), *marked.values()), 0)
    for trial in study.get_trials(deepcopy=False):
        counts[next((name for mark, name in marked.items() if mark in trial.user_attrs), names[trial.state.name])] += 1
    return counts
