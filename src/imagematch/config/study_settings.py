"""The settings of a study: what is fixed, what is searched, and what a trial of it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import SkipValidation, ValidationError

from imagematch.config.conditions import CONDITIONS, is_active
from imagematch.config.metrics import direction_of
from imagematch.config.problems import problems_of, refuse, shown
from imagematch.config.space import Choices, Dimension
from imagematch.config.study_fields import StudyFields
from imagematch.config.train_fields import DEFAULTS
from imagematch.config.train_settings import TrainSettings
from imagematch.errors import ConfigError
from imagematch.files import digest_json

LARGEST_GRID = 100_000
"""The most points of a space that are listed one by one."""
_MAX_COMBINATIONS = 1_000_000
_NEUTRAL = ("data_dir", "feature_dir", "engine", "test_time_flip", "threshold")
"""Fields that change where and how fast a trial runs, or what is done after it, but not its result."""


class StudySettings(StudyFields):
    """What `hpt.py` runs.

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
    def effective_pruner(self) -> str:
        """The pruner that is used: none where there are two objectives, of which a step has but one."""
        return self.pruner if len(self.objectives) == 1 else "none"

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

        Two trials are repeats of each other iff this is the same for both. A value missing from `values` is its
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
            if field not in _NEUTRAL and value != DEFAULTS[field]
        }
        return {
            "objective": self.objective if isinstance(self.objective, str) else list(self.objective),
            **({} if self.max_parameters is None else {"max_parameters": self.max_parameters}),
            "seed": self.seed,
            "folds": self.folds,
            "fixed": {key: list(value) if isinstance(value, tuple) else value for key, value in fixed.items()},
            "space": {field: dimension.to_json() for field, dimension in self.space.items()},
        }

    @property
    def digest(self) -> str:
        """Digest of `space_json`: equal iff the trials of two files can stand in one study."""
        return digest_json(self.space_json())

    def describe(self) -> list[str]:
        """What would run, in lines for people; the storage's password is not among it."""
        points = self.grid_points
        trials = f"{self.n_trials} trials" if self.n_trials != 1 else "1 trial"
        if points is None:
            trials += " out of an endless space"
        else:
            trials = f"all {points} grid points" if points <= self.n_trials else f"{trials} out of {points} grid points"
        pruner = self.effective_pruner + (" (two objectives)" if self.effective_pruner != self.pruner else "")
        folds = f"; mean over {self.folds} folds" if self.folds > 1 else ""
        limit = "" if self.max_parameters is None else f"; at most {self.max_parameters:,} parameters"
        lines = [
            f"study {self.study_name}: {trials}; sampler {self.sampler}, pruner {pruner}, seed {self.seed}",
            f"objective {' and '.join(f'{name} ({direction_of(name)})' for name in self.objectives)}{folds}{limit}",
            *(f"searched {field}: {dimension}" for field, dimension in self.space.items()),
        ]
        if self.sampler == "cmaes":
            moved = [field for field in self.space if self._counts_always(field)]
            few = "" if len(moved) > 1 else ", too few for CMA-ES, so TPE draws all"
            lines.append(
                f"cmaes moves ranges that always count ({', '.join(moved) or 'none'}{few}); TPE draws the rest"
            )
        fixed = ", ".join(f"{field} {_plain(value)}" for field, value in self.fixed.items())
        if fixed:
            lines.append(f"fixed {fixed}")
        if self.rerun_top_k and self.rerun_seeds:
            lines.append(f"then the best {self.rerun_top_k} again with {self.rerun_seeds} other seeds each")
        return lines


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return shown(list(value))
    return value if isinstance(value, str) else shown(value) if value is None or isinstance(value, bool) else str(value)


def space_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two `space_json`, one readable line for each difference; empty where nothing does."""
    lines = [
        f"{key}: {shown(old.get(key))} became {shown(new.get(key))}"
        for key in ("objective", "max_parameters", "seed", "folds")
        if old.get(key) != new.get(key)
    ]
    before, after = _by_field(old), _by_field(new)
    for field in dict.fromkeys((*before, *after)):
        was, now = before.get(field, "the default"), after.get(field, "the default")
        if was != now:
            lines.append(f"{field}: {was} became {now}")
    return lines


def _by_field(space: Mapping[str, Any]) -> dict[str, str]:
    texts = {field: f"fixed {_plain_json(value)}" for field, value in space.get("fixed", {}).items()}
    for field, dimension in space.get("space", {}).items():
        if "choices" in dimension:
            texts[field] = "choices " + ", ".join(_plain_json(choice) for choice in dimension["choices"])
        else:
            manner = f" step {dimension['step']:g}" if dimension["step"] else " log" if dimension["log"] else ""
            texts[field] = f"range {dimension['low']:g} to {dimension['high']:g}{manner}"
    return texts


def _plain_json(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, (list, dict)) else shown(value)
