"""The settings of a study: what is fixed, what is searched, and what a trial of it is."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, SkipValidation, ValidationError, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import names
from imagematch.config.fields import REQUIRED, Affects, facts_of, key, names_of
from imagematch.config.problems import invalid, problems_of, refuse, shown
from imagematch.config.space import DEFAULT_DROPOUT, Choices, Dimension, with_lists
from imagematch.config.train_keys import CONDITIONS, DEFAULTS, KEYS, is_active
from imagematch.config.train_settings import TrainSettings
from imagematch.config.values import Names, checked_choice, checked_run_name
from imagematch.errors import ConfigError
from imagematch.files import digest_json
from imagematch.options import Option, choice, whole

_MAX_COMBINATIONS = 1_000_000
_URL = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S+")
RERUN_SUFFIX = "-rerun"
"""Ends the name under which a study's reruns are stored beside it."""

_STUDY: Any = {"group": "study", "affects": Affects.NOTHING, "tunable": "it is about the study"}
_METRIC = {"type": "string", "enum": list(names.SECOND_OBJECTIVES)}


class StudyKeys(BaseModel):
    """What a study file says about the study itself, and the two keys it shares with a train file (seed, objective)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    study_name: str = key(
        Option(REQUIRED, {"type": "string"}, "Names the study, and its winner.", expects="text"),
        **{**_STUDY, "group": "name"},
    )
    seed: int = key(whole(0, 0, 2**32 - 1, "Fixes the splits, the draws and the seeds of all trials."), **_STUDY)
    n_trials: int = key(whole(30, 1, 10_000_000, "Distinct finished trials, whoever ran them."), **_STUDY)
    sampler: str = key(choice("tpe", names.SAMPLERS, "How configurations are drawn."), **_STUDY)
    pruner: str = key(choice("median", names.PRUNERS, "How hopeless trials are ended early."), **_STUDY)
    folds: int = key(whole(1, 1, 100, "Cross-validation inside a trial, over train and validation."), **_STUDY)
    rerun_top_k: int = key(whole(3, 0, 1_000, "The best trials that are trained again."), **_STUDY)
    rerun_seeds: int = key(whole(3, 0, 1_000, "Other seeds that each of them is trained with."), **_STUDY)
    stop_after_stagnation: int | None = key(
        whole(None, 1, 1_000_000, "Ends after so many trials without a better one."), **_STUDY
    )
    start_from: Names = key(
        Option(
            (names.RECIPES_KEYWORD,),
            {"type": "array", "items": {"type": "string"}},
            "Tried first: shipped recipes that lie in the search space, winners of studies, train files.",
            expects="a list of recipes, names of studies and paths of train files",
        ),
        **_STUDY,
    )
    storage: str | None = key(
        Option(None, {"type": "string"}, "The database; by default SQLite in exp/.", expects="the URL of a database"),
        secret=True,  # it may hold a password
        **_STUDY,
    )
    objective: str | Names = key(
        Option(
            "val_map_at_r",
            {"anyOf": [_METRIC, {"type": "array", "items": _METRIC, "minItems": 2, "maxItems": 2}]},
            "What trials are ranked by; two: a Pareto front, of which the first chooses epochs and the winner.",
            expects="the name of a metric, or a list of two",
        ),
        **_STUDY,
    )
    max_parameters: int | None = key(
        whole(None, 1, 10**12, "Larger models are not trained and do not count."), **_STUDY
    )

    @field_validator("*")
    @classmethod
    def _is_a_known_name(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        known = names_of(cls, name)
        return checked_choice(name, value, known) if known else value

    @field_validator("objective")
    @classmethod
    def _are_metrics(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return checked_choice("objective", value, names.OBJECTIVES)
        if len(value) != 2 or value[0] == value[1]:
            raise invalid(f"objective must be one metric or two different ones, not {shown(list(value))}")
        checked_choice("the first objective", value[0], names.OBJECTIVES)
        checked_choice("the second objective", value[1], names.SECOND_OBJECTIVES)
        return value

    @field_validator("study_name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if value.endswith(RERUN_SUFFIX):
            what = f"study_name may not end in {RERUN_SUFFIX}, as the reruns of another study do"
            raise invalid(what, "choose another study_name")
        return checked_run_name("study_name", value)

    @field_validator("storage")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):  # never shown: it may hold a password
            example = "sqlite:///exp/hpt_studies/NAME.db or postgresql+psycopg://USER@HOST/DATABASE"
            raise invalid("storage must be the URL of a database", f"write it as {example}")
        return value


STUDY_FACTS = facts_of(StudyKeys)
"""Key -> what is known about it."""
_IMPLIED = " (not written: of heads with blocks it is searched)"
STUDY_KEYS: tuple[str, ...] = tuple(STUDY_FACTS)
"""Every key that is about the study itself."""


class StudySettings(StudyKeys):
    """What `hpt.py` runs; its `pruner` is none where there are two objectives, of which a step has but one.

    Attributes:
        fixed: train field -> the value that all trials have.
        space: train field -> its dimension, in the file's order.
    """

    fixed: Annotated[dict[str, Any], SkipValidation]
    space: Annotated[dict[str, Dimension], SkipValidation]

    @property
    def objectives(self) -> tuple[str, ...]:
        """One or two metrics. The first selects each training's best epoch, and the winner."""
        return (self.objective,) if isinstance(self.objective, str) else self.objective

    @property
    def refits(self) -> bool:
        """Whether the winner is trained again on train and validation images."""
        return self.fixed.get("refit") != "none"

    @model_validator(mode="after")
    def _resolves(self) -> Self:
        if len(self.objectives) > 1:
            self.__dict__["pruner"] = "none"  # the model is frozen for everybody else
        return self

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a study stores (labels of choices, numbers) as field values, without rounding errors."""
        return {
            field: dimension.value_of(params[field])
            if isinstance(dimension, Choices)
            else dimension.canonical(params[field])
            for field, dimension in self.space.items()
            if field in params
        }

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that count: canonical, in the file's order, without fields that have no effect beside the others.

        Two trials are duplicates iff this is the same for both. A value missing from `values` is its
        field's default.
        """
        every = self._every(values)
        return {
            field: dimension.canonical(values[field])
            for field, dimension in self.space.items()
            if field in values and is_active(field, every)
        }

    def settings_for(
        self, values: Mapping[str, Any], *, experiment_name: str | None = None, training_seed: int | None = None
    ) -> TrainSettings:
        """The settings of the trial that has these values.

        Args:
            values: field -> value, for the fields of the search space; one that is missing has its default.
            experiment_name: the study's name where it is None.
            training_seed: the trial's own seed; the data are split by the study's seed in every trial.

        Raises:
            ConfigError: a value is none that its field takes.
        """
        every = self._every(values)
        try:
            given = {
                field: self.space[field].canonical(value) if field in self.space else value
                for field, value in (self.fixed | dict(values)).items()
                if is_active(field, every)
            }
            given["experiment_name"] = self.study_name if experiment_name is None else experiment_name
            if training_seed is not None:
                given["training_seed"] = training_seed
            return TrainSettings.model_validate({**given, "seed": self.seed, "objective": self.objectives[0]})
        except ValidationError as error:
            refuse(problems_of(error, TrainSettings), lambda _: (0, f"study {self.study_name}"))
            raise
        except ValueError as error:
            raise ConfigError(f"a value outside the search space: {error}", where=f"study {self.study_name}") from error

    def _every(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return DEFAULTS | self.fixed | dict(values)

    def _counts_always(self, field: str) -> bool:
        """Whether a field is a range that no other searched field can make inactive."""
        dimension, condition = self.space[field], CONDITIONS.get(field)
        drivers = condition.depends_on if condition is not None else ()
        varied = any(driver in self.space and self.space[driver].size != 1 for driver in drivers)
        return not isinstance(dimension, Choices) and dimension.size != 1 and not varied

    @property
    def grid_points(self) -> int | None:
        """The number of distinct trials, inactive fields not counted; None where a range has no step.

        Over a million combinations of fields that others depend on, it is the plain product, an upper bound.
        """
        sizes = {field: dimension.size for field, dimension in self.space.items()}
        if any(size is None for size in sizes.values()):
            return None
        counts = {field: size for field, size in sizes.items() if size is not None}
        if math.prod(counts[field] for field in self._drivers) > _MAX_COMBINATIONS:
            return math.prod(counts.values())
        return sum(math.prod(counts[field] for field in counting) for _, counting in self.branches())

    def branches(self) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """The distinct combinations of the fields that others depend on; these must have a finite number of values.

        Yields:
            the values of those fields, and which of the rest count beside them.
        """
        drivers, seen = self._drivers, set()
        for combination in itertools.product(*(self.space[field].values() for field in drivers)):
            values = dict(zip(drivers, combination, strict=True))
            every = self._every(values)
            key = tuple((field, repr(every[field])) for field in drivers if is_active(field, every))
            if key not in seen:
                seen.add(key)
                yield values, [field for field in self.space if field not in drivers and is_active(field, every)]

    @property
    def _drivers(self) -> list[str]:
        """The searched fields that others depend on."""
        return [f for f in self.space if any(f in condition.depends_on for condition in CONDITIONS.values())]

    def space_json(self) -> dict[str, Any]:
        """What trials must share, as JSON: objectives, limit, seed, folds, space, fixed values off their default."""
        fixed = {
            field: str(value) if not isinstance(value, (str, int, float, bool, tuple, dict)) else value
            for field, value in self.fixed.items()
            if KEYS[field].affects.compared and value != DEFAULTS[field]
        }
        return {
            "objective": self.objective if isinstance(self.objective, str) else list(self.objective),
            **({} if self.max_parameters is None else {"max_parameters": self.max_parameters}),
            "seed": self.seed,
            "folds": self.folds,
            "fixed": {key: with_lists(value) for key, value in fixed.items()},
            "space": {field: dimension.to_json() for field, dimension in self.space.items()},
        }

    @property
    def digest(self) -> str:
        """Digest of `space_json`: equal iff the trials of two files can stand in one study."""
        return digest_json(self.space_json())

    def describe(self) -> list[str]:
        """What would run, as lines of text, without the storage's password."""
        points, trials = self.grid_points, f"{self.n_trials} trials" if self.n_trials != 1 else "1 trial"
        if points is None:
            trials += " out of an endless space"
        else:
            trials = f"all {points} grid points" if points <= self.n_trials else f"{trials} out of {points} grid points"
        pruner = self.pruner + (" (two objectives)" if len(self.objectives) > 1 else "")
        folds = f"; mean over {self.folds} folds" if self.folds > 1 else ""
        limit = "" if self.max_parameters is None else f"; at most {self.max_parameters:,} parameters"
        objectives = " and ".join(f"{name} ({names.direction_of(name)})" for name in self.objectives)
        lines = [
            f"study {self.study_name}: {trials}; sampler {self.sampler}, pruner {pruner}, seed {self.seed}",
            f"objective {objectives}{folds}{limit}",
            *(f"searched {field}: {one}{_IMPLIED * (one is DEFAULT_DROPOUT)}" for field, one in self.space.items()),
        ]
        if self.sampler == "cmaes":
            moved = [field for field in self.space if self._counts_always(field)]
            named = f"{', '.join(moved) or 'none'}{'' if len(moved) > 1 else ', too few for CMA-ES, so TPE draws all'}"
            lines.append(f"cmaes moves ranges that always count ({named}); TPE draws the rest")
        if self.fixed:
            lines.append("fixed " + ", ".join(f"{field} {_plain(value)}" for field, value in self.fixed.items()))
        if self.rerun_top_k and self.rerun_seeds:
            lines.append(f"then the best {self.rerun_top_k} again with {self.rerun_seeds} other seeds each")
        if self.refits:
            lines.append("then the winner again on train and validation images")
        return lines


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return shown(with_lists(value))
    return value if isinstance(value, str) else shown(value) if value is None or isinstance(value, bool) else str(value)
