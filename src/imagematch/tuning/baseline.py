"""The baseline, the frozen extractor alone: measured once for each network, and stored with the study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import Choices, StudySettings, TrainSettings
from imagematch.errors import ImagematchError, StudyError
from imagematch.events import RunLog
from imagematch.interruption import StopRequest
from imagematch.tuning import attributes
from imagematch.tuning.attributes import BASELINE, DATA, DEFINITION, FEATURE_PRECISIONS, NETWORK_PARAMETERS
from imagematch.tuning.locks import database_of, long_lock
from imagematch.tuning.space import labels_at
from imagematch.tuning.study import extractor_label, network_label, with_study_precision

if TYPE_CHECKING:
    import optuna

_FIELDS = ("feature_extractor", "weights", "image_size")
"""What decides the features of a frozen extractor, where it is searched."""
_AT = "at"
"""In the stored metrics: the values of those fields that they were measured at, as the trials have them."""
_STORED_TOO = ("whitened", "extraction_s", "images_through_network", "network_digest")


Measure = Callable[[TrainSettings], dict[str, Any]]
"""Measures the extractor of some settings; `Trainer.measure_baseline` says what it returns."""


def measure_baselines(
    study: optuna.Study, measure: Measure, settings: StudySettings, folder: Path, *, log: RunLog, stop: StopRequest
) -> None:
    """Measures each extractor of the search, at its first configuration and wherever else a trial is complete.

    One worker measures and the others wait, so that every later one knows the images that the study is about.

    Args:
        study: stores the metrics.
        measure: see `Measure`.
        settings: what is searched.
        folder: of the study's files, for the lock.
        log: where each baseline is logged.
        stop: ends the wait.

    Raises:
        InterruptedRunError: `stop` requested it.
        ImagematchError: it cannot be measured, or the images are not the study's.
    """
    if not missing_baselines(study, settings):
        return
    with long_lock(database_of(study), study.study_name, folder / ".baseline.lock", stop):
        for params in missing_baselines(study, settings):
            if baseline_of(study.user_attrs, params) is None:
                _measure(study, measure, settings, params, log)


def missing_baselines(study: optuna.Study, settings: StudySettings) -> list[Mapping[str, Any]]:
    """The parameters at which a baseline is still to be measured; some may have the same one."""
    stored = study.user_attrs
    return [params for params in _configurations(study, settings) if baseline_of(stored, params) is None]


def baseline_of(study_attributes: Mapping[str, Any], params: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The stored metrics of the extractor that a trial builds on; None where there are none.

    Args:
        study_attributes: the user attributes of any study.
        params: the trial's parameters.
    """
    stored = study_attributes.get(BASELINE)
    at = _at(params)
    for label, metrics in stored.items() if isinstance(stored, Mapping) else ():
        if not isinstance(metrics, Mapping):
            continue
        older = {"feature_extractor": label} if "feature_extractor" in at else {}  # stored by extractor alone
        if metrics.get(_AT, older) == at:
            return metrics
    return None


def baseline_value(study_attributes: Mapping[str, Any], params: Mapping[str, Any]) -> float | None:
    """The (first) objective of the extractor that a trial builds on; None where it was not measured. Args as above."""
    definition, metrics = study_attributes.get(DEFINITION), baseline_of(study_attributes, params)
    if metrics is None or not isinstance(definition, Mapping):
        return None
    objective = definition.get("objective")
    value = metrics.get(objective[0] if isinstance(objective, list) and objective else str(objective))
    return float(value) if isinstance(value, (int, float)) else None


def _at(params: Mapping[str, Any]) -> dict[str, Any]:
    return {field: params[field] for field in _FIELDS if field in params}


def _configurations(study: optuna.Study, settings: StudySettings) -> Iterator[Mapping[str, Any]]:
    """The parameters of the first configuration of each extractor, then those of the complete trials."""
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    extractors = settings.space.get("feature_extractor")
    options: Iterable[Any] = extractors.options if isinstance(extractors, Choices) else (None,)
    for option in options:
        yield labels_at(settings, first if option is None else {**first, "feature_extractor": option})
    for trial in attributes.counted(study.get_trials(deepcopy=False)):
        if trial.state.name == "COMPLETE":
            yield trial.params


def _measure(
    study: optuna.Study, measure: Measure, settings: StudySettings, params: Mapping[str, Any], log: RunLog
) -> None:
    train = settings.settings_for(settings.values_of(params))
    try:
        measured = measure(with_study_precision(study, train))
    except (ImagematchError, MemoryError, ImportError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StudyError(f"the baseline cannot be measured: {reason}", where=settings.study_name) from error
    at, metrics = _at(params), measured["metrics"]
    extractor = extractor_label(train)
    label = ", ".join([extractor, *(f"{field} {at[field]}" for field in _FIELDS[1:] if field in at)])
    if measured["network_parameters"] is not None:
        sizes = study.user_attrs.get(NETWORK_PARAMETERS, {})
        study.set_user_attr(NETWORK_PARAMETERS, {**sizes, extractor: measured["network_parameters"]})
    precisions = study.user_attrs.get(FEATURE_PRECISIONS, {})
    if network_label(train) not in precisions:
        study.set_user_attr(FEATURE_PRECISIONS, {**precisions, network_label(train): measured["precision"]})
    if DATA not in study.user_attrs:
        study.set_user_attr(DATA, measured["dataset"])
    stored = {**metrics, _AT: at, **{key: measured[key] for key in _STORED_TOO}}
    study.set_user_attr(BASELINE, {**study.user_attrs.get(BASELINE, {}), label: stored})
    shown = f"val_roc_auc {metrics['val_roc_auc']:.4f}, val_map_at_r {metrics['val_map_at_r']:.4f}"
    if measured["whitened"] is not None:
        shown += f"; half-whitened val_map_at_r {measured['whitened']['val_map_at_r']:.4f}"
    log.event("baseline", f"baseline ({label} without a head): {shown}", extractor=label, **metrics)
