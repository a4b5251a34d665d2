"""Trials for drawing as an Optuna storage that hands them out as they are: figures ask for all of them many times."""

from __future__ import annotations

from collections.abc import Container, Sequence

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState


class ShownStorage(InMemoryStorage):
    """Holds one study, whose trials are given, and never copied: nobody changes them.

    Args:
        trials: by number.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._shown = list(trials)

    def get_all_trials(  # the arguments are Optuna's
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials themselves, whatever `deepcopy` says."""
        return [trial for trial in self._shown if states is None or trial.state in states]
