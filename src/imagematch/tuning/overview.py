"""All studies of a place in a few words each."""

from __future__ import annotations

from dataclasses import dataclass

from imagematch.files import Layout
from imagematch.tuning import records
from imagematch.tuning.refusals import storage_errors
from imagematch.tuning.storage import open_storage, sqlite_url


@dataclass(frozen=True)
class Overview:
    """One study.

    Attributes:
        name: the study's.
        finished: COMPLETE and PRUNED trials, repeats excluded.
        trials: all trials.
        best: the best value of the (first) objective; None where no trial is complete.
    """

    name: str
    finished: int
    trials: int
    best: float | None

    @property
    def line(self) -> str:
        """For people."""
        best = "none complete" if self.best is None else f"best {self.best:.4f}"
        return f"{self.name}  {self.finished} finished of {self.trials} trials  {best}"


def overviews(layout: Layout, storage: str | None = None) -> list[Overview]:
    """Every study in `exp/`, or in a database.

    Raises:
        StudyError: a database cannot be opened.
    """
    import optuna

    if storage is not None:
        urls = [storage]
    else:
        urls = [sqlite_url(path) for path in sorted(layout.study_database("x").parent.glob("*.db"))]
    found = []
    for url in urls:
        opened = open_storage(url)
        with storage_errors(url):
            for name in sorted(optuna.get_all_study_names(opened)):
                study = optuna.load_study(study_name=name, storage=opened)
                trials = study.get_trials(deepcopy=False)
                best = records.best_of(trials, study.directions)
                value = best[0].values[0] if best else None
                found.append(Overview(name, len(records.counted(trials)), len(trials), value))
    return found
