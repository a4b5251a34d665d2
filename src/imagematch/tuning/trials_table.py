"""The trials of a study as one table, which `trials.csv` and `study show --json` give to programs."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from imagematch.tuning import records
from imagematch.tuning.baseline import baseline_value

if TYPE_CHECKING:
    import optuna
    import pandas as pd

_TOLD = (records.PLACE, records.DUPLICATE_OF, records.RETRY_OF, records.REASON)


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row a trial: number, state, value, the baseline's, what it repeats or does again, parameters and figures."""
    import pandas as pd

    of_study, trials = study.user_attrs, study.get_trials(deepcopy=False)
    of_folds = (records.FOLD_VALUES, records.FOLD_SPREAD) if any(_is_folded(t) for t in trials) else ()
    one = len(study.directions) == 1
    rows = []
    for trial in trials:
        attributes = trial.user_attrs
        before: dict[str, Any] = {
            "number": trial.number,
            "state": trial.state.name,
            "value": None if trial.values is None else trial.values[0],
            **({} if one else {"second_value": None if trial.values is None else trial.values[1]}),
            "baseline": baseline_value(of_study, trial.params),
            **{name: attributes.get(name) for name in _TOLD},
        }
        after = {
            records.BEST_EPOCH: attributes.get(records.BEST_EPOCH),
            "trained_epochs": attributes.get(records.EPOCHS),
            records.PARAMETERS: attributes.get(records.PARAMETERS),
            **{name: attributes.get(name) for name in of_folds},
            "seconds": attributes.get(records.SECONDS, {}).get("total"),
            **attributes.get(records.FIGURES, {}),
        }
        noted = {*before, *after}
        params = {parameter_column(name, noted): value for name, value in trial.params.items()}
        rows.append({**before, **params, **after})
    return pd.DataFrame(rows)


def parameter_column(name: str, noted: Collection[str]) -> str:
    """The column of a parameter: its name, marked as Optuna does it where a column that is `noted` has the name."""
    return f"params_{name}" if name in noted else name


def _is_folded(trial: optuna.trial.FrozenTrial) -> bool:
    return records.FOLD_VALUES in trial.user_attrs
