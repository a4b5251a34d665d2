"""Studies: the search space, the plan, the workers that train its trials, recovery, and the reruns of the best."""

from __future__ import annotations

from imagematch.tuning.baseline import baseline_of, baseline_value
from imagematch.tuning.locks import long_lock
from imagematch.tuning.reruns import choose_winner
from imagematch.tuning.study import (
    configuration_of,
    delete_study,
    lock_file,
    not_worked_on,
    open_study,
    storage_url,
    study_exists,
    with_study_precision,
    working_on,
)
from imagematch.tuning.supervisor import run_workers
from imagematch.tuning.tables import trials_table

__all__ = [
    "baseline_of",
    "baseline_value",
    "choose_winner",
    "configuration_of",
    "delete_study",
    "lock_file",
    "long_lock",
    "not_worked_on",
    "open_study",
    "run_workers",
    "storage_url",
    "study_exists",
    "trials_table",
    "with_study_precision",
    "working_on",
]
