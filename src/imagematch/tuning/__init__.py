"""Studies: the search space, the trials, the workers that train them, recovery, and the repeated runs of the best."""

from __future__ import annotations

from imagematch.tuning.rerun import rank_again
from imagematch.tuning.search import Search
from imagematch.tuning.study import delete_study, open_study, owned, refuse_if_worked_on, study_exists

__all__ = [
    "Search",
    "delete_study",
    "open_study",
    "owned",
    "rank_again",
    "refuse_if_worked_on",
    "study_exists",
]
