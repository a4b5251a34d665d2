"""The frozen extractor alone, which stands beside every trial: measured once for each network, kept with the study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import Choices, StudySettings
from imagematch.errors import StudyError
from imagematch.events import RunLog
from imagematch.training import StopRequest
from imagematch.tuning import records
from imagematch.tuning.importing import importing
from imagematch.tuning.locks import long_lock, storage_of
from imagematch.tuning.search import Search
from imagematch.tuning.space import labels_at
from imagematch.tuning.study import (
    BASELINE,
    DATA,
    DEFINITION,
    NETWORK_PARAMETERS,
    PRECISIONS,
    as_begun,
    extractor_label,
    network_label,
)

if TYPE_CHECKING:
    import optuna

_FIELDS = ("feature_extractor", "weights", "image_size")
"""What decides the features of a frozen extractor, where it is searched."""
_AT = "at"
"""In the kept figures: which values of those fields they were measured at, as the trials have them."""
_KEPT_TOO = ("extraction_s", "images_through_network", "network_digest")


def measure_baselines(
    study: optuna.Study, search: Search, settings: StudySettings, folder: Path, *, log: RunLog, stop: StopRequest
) -> None:
    """Measures each extractor of the search, at its first point and wherever else a trial is complete.

    One process measures and the others wait, so that it is known from the first on which images the study is about.

    Args:
        study: keeps the figures.
        search: whose children measure.
        settings: what is searched.
        folder: of the study's files, for the lock.
        log: told each baseline.
        stop: ends the wait.

    Raises:
        InterruptedRunError: `stop` asked for it.
        StudyError: it cannot be measured, or the images are others than the study's.
    """
    with long_lock(storage_of(study), study.study_name, folder / ".baseline.lock", stop):
        for params in _points(study, settings):
            if baseline_of(study.user_attrs, params) is None:
                _measure(study, search, settings, params, log)


def baseline_of(attributes: Mapping[str, Any], params: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The kept figures of the extractor that a trial builds on; None where there are none.

    Args:
        attributes: the user attributes of any study.
        params: the trial's parameters.
    """
    kept = attributes.get(BASELINE)
    at = _at(params)
    for label, figures in kept.items() if isinstance(kept, Mapping) else ():
        if not isinstance(figures, Mapping):
            continue
        older = {"feature_extractor": label} if "feature_extractor" in at else {}  # kept by extractor alone
        if figures.get(_AT, older) == at:
            return figures
    return None


def baseline_value(attributes: Mapping[str, Any], params: Mapping[str, Any]) -> float | None:
    """The (first) objective of the extractor that a trial builds on; None where it was not measured. Args as above."""
    definition, figures = attributes.get(DEFINITION), baseline_of(attributes, params)
    if figures is None or not isinstance(definition, Mapping):
        return None
    objective = definition.get("objective")
    value = figures.get(objective[0] if isinstance(objective, list) and objective else str(objective))
    return float(value) if isinstance(value, (int, float)) else None


def _at(params: Mapping[str, Any]) -> dict[str, Any]:
    return {field: params[field] for field in _FIELDS if field in params}


def _points(study: optuna.Study, settings: StudySettings) -> Iterator[Mapping[str, Any]]:
    """The parameters of the first point of each extractor, then those of the complete trials."""
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    extractors = settings.space.get("feature_extractor")
    options: Iterable[Any] = extractors.options if isinstance(extractors, Choices) else (None,)
    for option in options:
        yield labels_at(settings, first if option is None else {**first, "feature_extractor": option})
    for trial in records.counted(study.get_trials(deepcopy=False)):
        if trial.state.name == "COMPLETE":
            yield trial.params


def _measure(
    study: optuna.Study, search: Search, settings: StudySettings, params: Mapping[str, Any], log: RunLog
) -> None:
    train = settings.settings_for(settings.values_of(params))
    task = {
        "task": "baseline",
        "folds": settings.folds,
        "objectives": settings.objectives,
        "limited": settings.max_parameters is not None,
        "data": study.user_attrs.get(DATA, {}).get("digest"),
        "settings": as_begun(study, train).model_dump(mode="json", exclude_unset=True),
    }
    with importing("scipy.stats"):  # which most samplers' first draw needs
        ((_, answer),) = search.call_all([task])
    if answer["event"] == "failed":  # for want of memory, perhaps: a new process has a second try
        log.event("baseline_failed", f"measuring the baseline failed ({answer['reason']}): trying once more")
        ((_, answer),) = search.call_all([task])
    if answer["event"] == "failed":
        raise StudyError(f"the baseline cannot be measured: {answer['reason']}", where=settings.study_name)
    at, figures = _at(params), answer["figures"]
    extractor = extractor_label(train)
    label = ", ".join([extractor, *(f"{field} {at[field]}" for field in _FIELDS[1:] if field in at)])
    if answer["network_parameters"] is not None:
        sizes = study.user_attrs.get(NETWORK_PARAMETERS, {})
        study.set_user_attr(NETWORK_PARAMETERS, {**sizes, extractor: answer["network_parameters"]})
    precisions = study.user_attrs.get(PRECISIONS, {})
    if network_label(train) not in precisions:
        study.set_user_attr(PRECISIONS, {**precisions, network_label(train): answer["precision"]})
    if DATA not in study.user_attrs:
        study.set_user_attr(DATA, answer["dataset"])
    kept = {**figures, _AT: at, **{key: answer[key] for key in _KEPT_TOO}}
    study.set_user_attr(BASELINE, {**study.user_attrs.get(BASELINE, {}), label: kept})
    told = f"val_roc_auc {figures['val_roc_auc']:.4f}, val_map_at_r {figures['val_map_at_r']:.4f}"
    log.event("baseline", f"baseline ({label} without a head): {told}", extractor=label, **figures)
