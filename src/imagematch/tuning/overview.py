"""All studies of a place in a few words each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagematch.errors import StudyError
from imagematch.events import printable
from imagematch.files import Layout
from imagematch.tuning import records
from imagematch.tuning.refusals import storage_errors
from imagematch.tuning.siblings import sibling_names
from imagematch.tuning.storage import open_storage, sqlite_url

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy

    from imagematch.tuning.sound_storage import SoundStorage

_SHOWN = 100
"""Characters of a name, which SQLite does not limit."""


@dataclass(frozen=True)
class Overview:
    """One study.

    Attributes:
        name: the study's.
        finished: COMPLETE and PRUNED trials, repeats excluded.
        trials: all trials.
        best: the best value of the (first) objective; None where no trial is complete.
        problem: why its database cannot be read; then nothing else is known.
    """

    name: str
    finished: int = 0
    trials: int = 0
    best: float | None = None
    problem: str = ""

    @property
    def line(self) -> str:
        """For people."""
        name = printable(self.name[:_SHOWN]).replace("\n", "\\n") + ("…" if len(self.name) > _SHOWN else "")
        if self.problem:
            return f"{name}  cannot be read: {printable(self.problem)}"
        best = "none complete" if self.best is None else f"best {self.best:.4f}"
        return f"{name}  {self.finished} finished of {self.trials} trials  {best}"


def overviews(layout: Layout, storage: str | None = None) -> list[Overview]:
    """Every study in `exp/`, the files that cannot be read among them; or every one in a database.

    Siblings that hold the repeated runs of a study are left out.

    Raises:
        StudyError: the database of `storage` cannot be opened, or is a file that is not there.
    """
    if storage is not None:
        return _in_database(storage)
    found = []
    for path in sorted(layout.study_database("x").parent.glob("*.db")):
        try:
            found += _in_database(sqlite_url(path))
        except StudyError as error:
            found.append(Overview(path.stem, problem=str(error)))
    return found


def _in_database(url: str) -> list[Overview]:
    storage = open_storage(url, create=False)
    with storage_errors(url):
        siblings = sibling_names(storage)
        studies = sorted(storage.get_all_studies(), key=lambda study: study.study_name)
        return [_overview(study, storage) for study in studies if study.study_name not in siblings]


def _overview(study: FrozenStudy, storage: SoundStorage) -> Overview:
    trials = storage.outlined_trials(study._study_id, (records.DUPLICATE_OF, records.OVER_LIMIT))
    best = records.best_of(trials, study.directions)
    value = best[0].values[0] if best else None
    return Overview(study.study_name, len(records.counted(trials)), len(trials), value)
