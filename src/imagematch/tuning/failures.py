"""When trials that fail end a search, or no more of them are begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagematch.config import StudySettings
from imagematch.errors import StudyError

_ALLOWED = 5
_ALIKE_ALLOWED = 3


class Failures:
    """Those that this process has seen.

    Args:
        settings: of the study.
        see: the file that says more.
    """

    def __init__(self, settings: StudySettings, see: Path) -> None:
        self._settings = settings
        self._see = see
        self._alike: Counter[tuple[str, str]] = Counter()
        self.count = 0

    @property
    def too_many(self) -> bool:
        """True once as many have failed as the study is to have."""
        return self.count >= max(_ALLOWED, self._settings.n_trials)

    def is_of_one_trial(self, error: Mapping[str, Any], *, any_worked: bool) -> bool:
        """False for an error that other trials would meet too: nothing has ever worked, or it has come thrice."""
        self._alike[error["what"], error["where"]] += 1
        return any_worked and self._alike[error["what"], error["where"]] < _ALIKE_ALLOWED

    def add(self, reason: str, *, any_worked: bool) -> None:
        """Counts a failed trial; raises StudyError where several have failed and none has worked."""
        self.count += 1
        if self.count >= _ALLOWED and not any_worked:
            raise StudyError(
                f"no trial has worked, and {self.count} have failed, the last because {reason}",
                where=self._settings.study_name,
                do=f"see {self._see}, change the configuration, and start again with --fresh",
            )
