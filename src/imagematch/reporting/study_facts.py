"""What can be said of a study and its trials in a value or a sentence; what was not noted is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imagematch.reporting.escaping import visible
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION, WINNER

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def objective_name(study: optuna.Study, objective: int = 0) -> str:
    """What the study optimises: as we noted it, as Optuna was told, else "objective"."""
    definition = study.user_attrs.get(DEFINITION)
    noted = definition.get("objective") if isinstance(definition, Mapping) else None
    noted = [noted] if isinstance(noted, str) else noted
    if isinstance(noted, list) and len(noted) == len(study.directions):
        return str(noted[objective])
    names = study.metric_names
    if names and objective < len(names):
        return str(names[objective])
    return "objective" if len(study.directions) == 1 else f"objective {objective + 1}"


def maximises(study: optuna.Study) -> bool:
    """Whether larger values of the (first) objective are better."""
    return study.directions[0].name == "MAXIMIZE"


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The COMPLETE trials without repeats, the best first; of several objectives the Pareto front, by the first."""
    return attributes.best_of(study.get_trials(deepcopy=False), study.directions)


def winning_trial(study: optuna.Study) -> FrozenTrial | None:
    """The winner as the study noted it, else the best by value; None where no trial is complete."""
    ranked = ranked_trials(study)
    number = study.user_attrs.get(WINNER)
    return next((trial for trial in ranked if trial.number == number), ranked[0] if ranked else None)


def what_happened(trial: FrozenTrial) -> str:
    """Why a trial is not simply complete: pruned where, failed why, repeat or retry of which; empty if it is."""
    stored, parts = trial.user_attrs, []
    if attributes.is_duplicate(trial):
        parts.append(f"duplicates trial {stored[attributes.DUPLICATE_OF]}, whose value it has")
    elif attributes.OVER_LIMIT in stored:
        parts.append(visible(stored.get(attributes.REASON, "not trained"), 200))
    elif trial.state.name == "PRUNED":
        steps = trial.intermediate_values
        last = max(steps, default=None)
        parts.append("pruned" if last is None else f"pruned at step {last}, at {steps[last]:.4f}")
    elif trial.state.name == "FAIL":
        parts.append(f"failed: {visible(stored.get(attributes.REASON, 'no reason was stored'), 200)}")
    if attributes.RETRY_OF in stored:
        parts.append(f"retries trial {stored[attributes.RETRY_OF]}, which was cut off")
    return "; ".join(parts)


def trial_seconds(trial: FrozenTrial) -> float:
    """How long a trial took: as its worker measured it, else as Optuna's clock did; NaN where nobody did."""
    seconds = trial.user_attrs.get(attributes.SECONDS)
    if isinstance(seconds, dict) and isinstance(seconds.get("total"), (int, float)):
        return float(seconds["total"])
    return trial.duration.total_seconds() if trial.duration is not None else math.nan


def state_counts(study: optuna.Study) -> dict[str, int]:
    """How many trials are complete, pruned, failed, running, waiting, only repeat another, or were too large."""
    trials = study.get_trials(deepcopy=False)
    counts = dict.fromkeys(("complete", "pruned", "failed", "running", "waiting", "repeated", "over max_parameters"), 0)
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    for trial in trials:
        untrained = "repeated" if attributes.is_duplicate(trial) else "over max_parameters"
        trained = not attributes.is_duplicate(trial) and attributes.OVER_LIMIT not in trial.user_attrs
        counts[names[trial.state.name] if trained else untrained] += 1
    return counts


def feature_store_text(study: optuna.Study) -> str:
    """What keeping the features saved, in a sentence; empty where it was not measured.

    What all of them cost is not known where some were kept before the study.
    """
    kept, data = study.user_attrs.get(BASELINE), study.user_attrs.get(DATA)
    if not isinstance(kept, Mapping) or not isinstance(data, Mapping):
        return ""
    measured = [f for f in kept.values() if isinstance(f, Mapping) and f.get("extraction_s")]
    trained = [t for t in study.get_trials(deepcopy=False) if attributes.SECONDS in t.user_attrs]
    if not measured or len(trained) < 2 or any("images_through_network" not in f for f in measured):
        return ""
    images, computed = int(data.get("images", 0)), [int(f["images_through_network"]) for f in measured]
    seconds = sum(float(f["extraction_s"]) for f in measured)
    if not any(computed):
        return f"The features were found kept, and used by {len(trained):,} trials: no image went through the network."
    if min(computed) < images:
        return (
            f"{sum(computed):,} of {images * len(measured):,} images went through the network, in {seconds:,.1f} s: "
            f"the features of the others were kept, or are those of identical files. {len(trained):,} trials used them."
        )
    saved = seconds / len(measured) * len(trained) - seconds
    return (
        f"The features were computed once, in {seconds:,.1f} s, and used by {len(trained):,} trials: computing "
        f"them in every trial would have taken about {max(saved, 0.0):,.0f} s more."
    )


def data_text(study: optuna.Study) -> str:
    """What the study was run on, in a sentence; empty where it was not noted."""
    data = study.user_attrs.get(DATA)
    if not isinstance(data, Mapping):
        return ""
    splits = data.get("splits") if isinstance(data.get("splits"), Mapping) else {}
    counts = ", ".join(f"{visible(name)} {split.get('images', 0):,}" for name, split in (splits or {}).items())
    return (
        f"Data: {visible(data.get('dataset', 'unknown'))}, {int(data.get('images', 0)):,} images of "
        f"{int(data.get('classes', 0)):,} classes, split by {visible(data.get('split_by', 'unknown'))} ({counts})."
    )
