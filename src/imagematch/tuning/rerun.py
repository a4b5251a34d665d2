"""The best trials run again with other seeds: the winner is the best by mean, not by luck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import StudySettings
from imagematch.events import RunLog
from imagematch.tuning import records
from imagematch.tuning.search import Search
from imagematch.tuning.siblings import RERUN_OF, open_sibling

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SEED_NUMBER = "seed_number"
"""Trial attribute in the sibling study: which of the other seeds, from 1."""
WINNER = "winner"
"""Study attribute: number of the winning trial."""
COMPARED = "compared"
"""Study attribute: the numbers of the trials whose repeated runs the winner was chosen by, and with how many seeds."""


def rank_again(
    ranked: Sequence[FrozenTrial], study: optuna.Study, search: Search, settings: StudySettings, log: RunLog
) -> FrozenTrial:
    """Runs the first `rerun_top_k` of `ranked` again, `rerun_seeds` times each, and returns the best by mean.

    All workers take part.

    The runs are kept in a sibling study, so that a resumed study does none of them twice. The trial's own value does
    not count in the mean: it is what it was chosen by.
    """
    top = list(ranked[: settings.rerun_top_k])
    if len(top) < 2 or not settings.rerun_seeds:
        winner, compared = ranked[0], {"trials": [], "seeds": 0}
    else:
        sibling = open_sibling(study)
        _run_missing(top, sibling, search, settings, log)
        compared = {"trials": [trial.number for trial in top], "seeds": settings.rerun_seeds}
        values = kept_runs(sibling.get_trials(deepcopy=False), compared)
        means = {number: float(np.mean(runs)) for number, runs in values.items()}
        sign = 1.0 if study.directions[0].name == "MAXIMIZE" else -1.0
        winner = max(top, key=lambda trial: sign * means.get(trial.number, -sign * float("inf")))
        if winner.number in means:
            runs = values[winner.number]
            spread = float(np.std(runs, ddof=1)) if len(runs) > 1 else None
            seeds = "1 other seed" if spread is None else f"{len(runs)} other seeds (spread {spread:.4f})"
            log.event(
                "winner",
                f"winner: trial {winner.number}, {settings.objectives[0]} {means[winner.number]:.4f} by mean of "
                f"{seeds}; {winner.values[0]:.4f} in the search",
                trial=winner.number,
                mean=means[winner.number],
                spread=spread,
            )
    study.set_user_attr(COMPARED, compared)
    study.set_user_attr(WINNER, winner.number)
    return winner


def kept_runs(runs: Iterable[FrozenTrial], compared: Mapping[str, Any] | None = None) -> dict[int, list[float]]:
    """Trial -> what its configuration came to with the other seeds, in their order; runs that failed are left out.

    Args:
        runs: of the sibling study; of two with the same seed, which two processes may have trained, the later counts.
        compared: the study's attribute COMPARED: only its trials and seeds are looked at. None looks at all.
    """
    values: dict[int, dict[int, float]] = {}
    for run in runs:
        trial, seed = run.user_attrs.get(RERUN_OF), run.user_attrs.get(SEED_NUMBER, 0)
        wanted = compared is None or (trial in compared["trials"] and seed <= compared["seeds"])
        if trial is not None and run.value is not None and wanted:
            values.setdefault(trial, {})[seed] = float(run.value)
    return {trial: [by_seed[seed] for seed in sorted(by_seed)] for trial, by_seed in values.items()}


def _run_missing(
    top: Sequence[FrozenTrial], sibling: optuna.Study, search: Search, settings: StudySettings, log: RunLog
) -> None:
    """Trains what is not kept yet, and keeps it; a run that fails is kept as that, and not tried again."""
    done = {(t.user_attrs.get(RERUN_OF), t.user_attrs.get(SEED_NUMBER)) for t in sibling.get_trials(deepcopy=False)}
    seeds = range(1, settings.rerun_seeds + 1)
    missing = [(trial, number) for trial in top for number in seeds if (trial.number, number) not in done]
    for which, answer in search.call_all([_task(trial, number, search, settings) for trial, number in missing]):
        trial, number = missing[which]
        _keep(trial, number, answer, sibling, log)


def _task(trial: FrozenTrial, number: int, search: Search, settings: StudySettings) -> dict[str, Any]:
    place = trial.user_attrs[records.PLACE]
    train = search.plan.settings_of(settings.values_of(trial.params), place, repetition=number)
    return search.training_task(train, f"rerun-{place}-{number}")


def _keep(trial: FrozenTrial, number: int, answer: Mapping[str, Any], sibling: optuna.Study, log: RunLog) -> None:
    import optuna

    failed = answer["event"] == "failed"
    value = None if failed else float(answer["values"][0])
    told = {records.REASON: answer["reason"]} if failed else {records.FIGURES: answer["figures"]}
    sibling.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
            params=trial.params,
            distributions=trial.distributions,
            value=value,
            user_attrs={RERUN_OF: trial.number, SEED_NUMBER: number, **told},
        )
    )
    again = f"trial {trial.number:>3} again, seed {number}: "
    if value is None:
        log.event("rerun_failed", f"{again}{answer['reason']}", trial=trial.number, seed_number=number)
    else:
        log.event("rerun", f"{again}{value:.4f}", trial=trial.number, seed_number=number, value=value)
