"""The sibling of a study: a second study beside it, which holds the repeated runs of its best trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.config import RERUN_SUFFIX
from imagematch.errors import StudyError

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

RERUN_OF = "rerun_of"
"""Trial attribute in the sibling study: number of the trial that was run again."""
_REPEATS = "repeats_trials_of"
"""Study attribute of a sibling: the name of the study whose trials it runs again."""


def _rerun_name(study_name: str) -> str:
    """The name of a study's sibling."""
    return f"{study_name}{RERUN_SUFFIX}"


def sibling_of(study_name: str, storage: BaseStorage) -> optuna.Study | None:
    """The sibling of a study; None where there is none, or another study has its name."""
    import optuna

    try:
        found = optuna.load_study(study_name=_rerun_name(study_name), storage=storage)
    except KeyError:
        return None
    return found if _repeats_trials(found) else None


def sibling_names(storage: BaseStorage) -> set[str]:
    """The names of all siblings in a storage."""
    found = [sibling_of(study.study_name, storage) for study in storage.get_all_studies()]
    return {sibling.study_name for sibling in found if sibling is not None}


def open_sibling(study: optuna.Study) -> optuna.Study:
    """The sibling of a study, created where there is none. Raises StudyError where another study has its name."""
    import optuna

    refuse_another(study.study_name, study._storage)
    sibling = optuna.create_study(
        study_name=_rerun_name(study.study_name),
        storage=study._storage,
        direction=study.directions[0],
        load_if_exists=True,
    )
    sibling.set_user_attr(_REPEATS, study.study_name)
    return sibling


def refuse_another(study_name: str, storage: BaseStorage) -> None:
    """Raises StudyError where another study has the name that the sibling of `study_name` would have."""
    name = _rerun_name(study_name)
    taken = any(other.study_name == name for other in storage.get_all_studies())
    if taken and sibling_of(study_name, storage) is None:
        raise StudyError(
            f"another study is called {name}, where the repeated runs of the best trials would be kept",
            where=study_name,
            do="choose another study_name, or rerun_top_k: 0",
        )


def _repeats_trials(study: optuna.Study) -> bool:
    """Whether a study is marked as a sibling, or, as those of older versions, holds nothing but repeated runs."""
    marked = _REPEATS in study.user_attrs or all(RERUN_OF in t.user_attrs for t in study.get_trials(deepcopy=False))
    return marked and len(study.directions) == 1
