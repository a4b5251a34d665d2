"""Studies: the search space, the plan, the workers that train its trials, recovery, and the reruns of the best."""

from __future__ import annotations

from imagematch.tuning.baseline import baseline_of, baseline_value
from imagematch.tuning.dashboard import artifacts_dir, serve_dashboard
from imagematch.tuning.extension import extend_study
from imagematch.tuning.locks import long_lock
from imagematch.tuning.reruns import choose_winner, rerun_study_names, rerun_study_of, rerun_values
from imagematch.tuning.storage import open_storage, sqlite_url, upgrade_database
from imagematch.tuning.storage_errors import shown_url, storage_errors
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
from imagematch.tuning.tables import StudyOverview, parameter_column, study_overviews, trials_table

__all__ = [
    "StudyOverview",
    "artifacts_dir",
    "baseline_of",
    "baseline_value",
    "choose_winner",
    "configuration_of",
    "delete_study",
    "extend_study",
    "lock_file",
    "long_lock",
    "not_worked_on",
    "open_storage",
    "open_study",
    "parameter_column",
    "rerun_study_names",
    "rerun_study_of",
    "rerun_values",
    "run_workers",
    "serve_dashboard",
    "shown_url",
    "sqlite_url",
    "storage_errors",
    "storage_url",
    "study_exists",
    "study_overviews",
    "trials_table",
    "upgrade_database",
    "with_study_precision",
    "working_on",
]
