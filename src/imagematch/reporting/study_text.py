"""A study in lines for a terminal: how it stands, the baseline, its best trials, and why others came to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imagematch.reporting.escaping import visible
from imagematch.reporting.study_facts import objective_name, ranked_trials, winning_trial
from imagematch.reporting.study_report import study_summary
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_BEST, _REASONS, _WIDTH = 5, 10, 160


def study_lines(study: optuna.Study) -> list[str]:
    """What `study show` prints; what was not noted is left out."""
    lines = [study_summary(study)]
    objective, kept = objective_name(study), study.user_attrs.get(BASELINE)
    for name, figures in kept.items() if isinstance(kept, Mapping) else ():
        if isinstance(figures, Mapping) and isinstance(figures.get(objective), (int, float)):
            lines.append(f"baseline {visible(name)}: {objective} {figures[objective]:.4f}")
    winner = winning_trial(study)
    for trial in ranked_trials(study)[:_BEST]:
        params = ", ".join(f"{name} {value}" for name, value in trial.params.items())
        marked = "  (the winner)" if winner is not None and trial.number == winner.number else ""
        lines.append(
            visible(f"trial {trial.number:>3}  {attributes.values_text(trial.values or ())}  {params}", _WIDTH) + marked
        )
    reasons = Counter(_reason(trial) for trial in study.get_trials(deepcopy=False))
    lines += [f"{count:,} x {reason}" for reason, count in reasons.most_common() if reason][:_REASONS]
    return lines


def _reason(trial: FrozenTrial) -> str:
    """Why a trial came to nothing, without what tells it from others that came to nothing for the same reason."""
    if attributes.is_duplicate(trial) or trial.state.name not in ("FAIL", "PRUNED"):
        return ""
    if attributes.OVER_LIMIT in trial.user_attrs:
        return "not trained: over max_parameters"
    if trial.state.name == "PRUNED":
        return "pruned"
    return f"failed: {visible(trial.user_attrs.get(attributes.REASON, 'no reason was kept'), _WIDTH)}"
