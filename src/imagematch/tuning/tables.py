"""The trials of a study as one table, for `trials.csv` and `study show --json`, and all studies in a line each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.errors import StudyError
from imagematch.events import printable
from imagematch.files import Layout
from imagematch.tuning import attributes, optuna_internals
from imagematch.tuning.baseline import baseline_value
from imagematch.tuning.reruns import rerun_study_names
from imagematch.tuning.storage import open_storage, sqlite_url
from imagematch.tuning.storage_errors import storage_errors

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.study._frozen import FrozenStudy

    from imagematch.tuning.sound_storage import SoundStorage

_DESCRIBED = (attributes.TRIAL_INDEX, attributes.DUPLICATE_OF, attributes.RETRY_OF, attributes.REASON)
_COUNTED = (attributes.DUPLICATE_OF, attributes.OVER_LIMIT, attributes.OUTSIDE)
_SHOWN = 100
"""Characters of a name, which SQLite does not limit."""


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row a trial: number, state, value, the baseline's, what it duplicates or retries, parameters and metrics."""
    import pandas as pd

    of_study, trials = study.user_attrs, study.get_trials(deepcopy=False)
    of_folds = (attributes.FOLD_VALUES, attributes.FOLD_SPREAD) if any(_is_folded(t) for t in trials) else ()
    one = len(study.directions) == 1
    rows = []
    for trial in trials:
        stored = trial.user_attrs
        before: dict[str, Any] = {
            "number": trial.number,
            "state": trial.state.name,
            "value": None if trial.values is None else trial.values[0],
            **({} if one else {"second_value": None if trial.values is None else trial.values[1]}),
            "baseline": baseline_value(of_study, trial.params),
            **{name: stored.get(name) for name in _DESCRIBED},
        }
        after = {
            attributes.BEST_EPOCH: stored.get(attributes.BEST_EPOCH),
            "trained_epochs": stored.get(attributes.EPOCHS),
            attributes.PARAMETERS: stored.get(attributes.PARAMETERS),
            **{name: stored.get(name) for name in of_folds},
            "seconds": stored.get(attributes.SECONDS, {}).get("total"),
            **stored.get(attributes.TRIAL_METRICS, {}),
        }
        noted = {*before, *after}
        params = {parameter_column(name, noted): value for name, value in trial.params.items()}
        rows.append({**before, **params, **after})
    return pd.DataFrame(rows)


def parameter_column(name: str, noted: Collection[str]) -> str:
    """The column of a parameter: its name, marked as Optuna does it where a column that is `noted` has the name."""
    return f"params_{name}" if name in noted else name


def _is_folded(trial: optuna.trial.FrozenTrial) -> bool:
    return attributes.FOLD_VALUES in trial.user_attrs


@dataclass(frozen=True)
class StudyOverview:
    """One study.

    Attributes:
        name: the study's.
        finished: COMPLETE and PRUNED trials, duplicates excluded.
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


def study_overviews(layout: Layout, storage: str | None = None) -> list[StudyOverview]:
    """Every study in `exp/`, the files that cannot be read among them; or every one in a database.

    Rerun studies are left out.

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
            found.append(StudyOverview(path.stem, problem=str(error)))
    return found


def _in_database(url: str) -> list[StudyOverview]:
    storage = open_storage(url, create=False)
    with storage_errors(url):  # `outlined_trials` is no call of Optuna's
        reruns = rerun_study_names(storage)
        studies = sorted(storage.get_all_studies(), key=lambda study: study.study_name)
        return [_overview(study, storage) for study in studies if study.study_name not in reruns]


def _overview(study: FrozenStudy, storage: SoundStorage) -> StudyOverview:
    trials = storage.outlined_trials(optuna_internals.study_id(study), _COUNTED)
    best = attributes.best_of(trials, study.directions)
    value = best[0].values[0] if best else None
    return StudyOverview(study.study_name, len(attributes.counted(trials)), len(trials), value)
