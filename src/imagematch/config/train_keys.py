"""Every key of a train file, the losses' options among them, and what follows from what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, create_model, field_validator

from imagematch.config import conditions
from imagematch.config.fields import Affects, Condition, KeyFacts, Values, facts_of, key
from imagematch.config.problems import Problem, did_you_mean, invalid, problems_of, shown, validation_error
from imagematch.config.written_keys import MAX_STAGES, STAGES_FORM, WrittenKeys
from imagematch.errors import ConfigError
from imagematch.options import Option
from imagematch.registry import LOSS_REGISTRY


def _checked_stages(value: Any) -> tuple[dict[str, Any], ...]:
    """The stages with their values as keys take them, else raises a validation error."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(stage, Mapping) for stage in value):
        raise invalid(f"stages must be {STAGES_FORM}, not {shown(value)}")
    if len(value) > MAX_STAGES:
        raise invalid(f"there are {len(value)} stages, over {MAX_STAGES}")
    stages, problems = [], []
    for number, stage in enumerate(value, 1):
        known = {name: given for name, given in stage.items() if name in STAGE_KEYS}
        wrong = [_not_of_a_stage(str(name)) for name in stage if name not in STAGE_KEYS]
        try:
            checked = TrainKeys.model_validate({"experiment_name": "x", **known})
            stages.append({name: getattr(checked, name) for name in known})
        except ValidationError as error:
            wrong += problems_of(error, TrainKeys)
        problems += [Problem(stage_key(number, p.key), f"stage {number}: {p.what}", p.do) for p in wrong]
    if problems:
        raise validation_error(*problems)
    return tuple(stages)


def _not_of_a_stage(name: str) -> Problem:
    near = did_you_mean(name, STAGE_KEYS)
    return Problem(name, f"{name!r} is not a field of a stage", near or f"a stage has {', '.join(STAGE_KEYS)}")


def stage_key(number: int, key: str) -> str:
    """The name of a key of a stage, counted from 1, in errors and among the lines of a file."""
    return f"stages[{number}].{key}"


_TYPES = {"number": float, "integer": int, "boolean": bool, "string": str}


def _keys_of_losses() -> dict[str, Any]:
    """The losses' options as fields of a model; None stands for the default that the loss in use has."""
    specs = LOSS_REGISTRY.all()
    fields: dict[str, Any] = {}
    for name, option in LOSS_REGISTRY.options().items():
        having = tuple(loss for loss, spec in specs.items() if name in spec.options)
        if name in WrittenKeys.model_fields:
            raise ConfigError(f"the option {name!r} of {having[0]} is a key already", where=_origins(having))
        meanings = {specs[loss].options[name].description for loss in having}
        description = option.description if len(meanings) == 1 else "Its meaning depends on the loss."
        own = option if option.common else Option(None, option.schema, description)
        kind: Any = _TYPES[option.schema["type"]]
        facts: Any = {"changes_val_loss": option.scales, "losses": having, "condition": conditions.of_losses(name)}
        about = key(own, group="loss", affects=Affects.TRAINING, tunable=True, **facts)
        fields[name] = (kind if option.common else kind | None, about)
    return fields


def _origins(losses: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(map(LOSS_REGISTRY.origin_of, losses)))


if TYPE_CHECKING:
    TrainKeys = WrittenKeys
else:
    TrainKeys = create_model(
        "TrainKeys",
        __base__=WrittenKeys,
        __module__=__name__,
        __validators__={"check_stages": field_validator("stages", mode="plain")(_checked_stages)},
        **_keys_of_losses(),
    )

KEYS: Mapping[str, KeyFacts] = MappingProxyType(facts_of(TrainKeys))
"""Key -> what is known about it."""
TRAIN_KEYS: tuple[str, ...] = tuple(KEYS)
"""Every key of a train file."""
DEFAULTS: dict[str, Any] = {
    name: field.default for name, field in TrainKeys.model_fields.items() if not field.is_required()
}
"""Key -> its default, for every key that has one."""
CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {name: facts.condition for name, facts in KEYS.items() if facts.condition is not None}
)
"""Key -> when it counts; a key that is not here always does."""
TUNABLE: tuple[str, ...] = tuple(name for name, facts in KEYS.items() if facts.tunable is True)
"""The keys that may vary between trials; those of kind int and float also as a range."""
STAGE_KEYS: tuple[str, ...] = tuple(name for name, facts in KEYS.items() if facts.per_stage)
"""The keys that a stage may have of its own; else it has what the file says."""


def is_active(name: str, given: Values) -> bool:
    """Whether a key counts under these values, which must hold every train key."""
    condition = CONDITIONS.get(name)
    return condition is None or condition.holds(given)


def idle_reason(name: str, given: Values) -> str | None:
    """Why a key has no effect under these values; None where it counts, or may be given all the same."""
    condition = CONDITIONS.get(name)
    if condition is None or condition.otherwise is None or condition.holds(given):
        return None
    what = condition.otherwise(given)
    return f"{name} {what}" if what else None
