"""The trials of a study as one table, which `trials.csv` and `study show --json` give to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.tuning import records
from imagematch.tuning.baseline import baseline_value

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row a trial: number, state, value, the baseline's, what it repeats or does again, parameters and figures."""
    import pandas as pd

    of_study, trials = study.user_attrs, study.get_trials(deepcopy=False)
    of_folds = (records.FOLD_VALUES, records.FOLD_SPREAD) if any(_is_folded(t) for t in trials) else ()
    one = len(study.directions) == 1
    told = (records.PLACE, records.DUPLICATE_OF, records.RETRY_OF, records.REASON)
    rows = []
    for trial in trials:
        attributes = trial.user_attrs
        rows.append(
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": None if trial.values is None else trial.values[0],
                **({} if one else {"second_value": None if trial.values is None else trial.values[1]}),
                "baseline": baseline_value(of_study, trial.params),
                **{name: attributes.get(name) for name in told},
                **trial.params,
                **{name: attributes.get(name) for name in (records.BEST_EPOCH, records.EPOCHS, records.PARAMETERS)},
                **{name: attributes.get(name) for name in of_folds},
                "seconds": attributes.get(records.SECONDS, {}).get("total"),
                **attributes.get(records.FIGURES, {}),
            }
        )
    return pd.DataFrame(rows)


def _is_folded(trial: optuna.trial.FrozenTrial) -> bool:
    return records.FOLD_VALUES in trial.user_attrs
