"""What a study tries first: shipped recipes, the winners of other studies, and train files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagematch.config.loading import load_train
from imagematch.config.names import RECIPES_KEYWORD
from imagematch.config.problems import shown
from imagematch.config.space import with_lists
from imagematch.config.study_settings import StudySettings
from imagematch.config.train_keys import DEFAULTS
from imagematch.files import Layout

_UNSEEN = {"split_by": "class", "trainable": False, "intermediate_ff_block_units": (), "learning_rate": 3e-4}
_SEEN = {"split_by": "image", "trainable": False, "intermediate_ff_block_units": (512,), "learning_rate": 3e-3}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "by_class_nt_xent": {**_UNSEEN, "loss": "nt_xent"},
    "by_class_triplet": {**_UNSEEN, "loss": "triplet_semihard"},
    "by_image_nt_xent": {**_SEEN, "loss": "nt_xent", "dropout": 0.4},
    "by_image_triplet": {**_SEEN, "loss": "triplet_semihard", "dropout": 0.4},
}
"""Heads that were good in searches on frozen features, by name; docs/recipes.md has the figures."""


@dataclass(frozen=True)
class StartingPoint:
    """A configuration known to be good.

    Attributes:
        name: as `start_from` gives it, or a recipe's.
        values: searched field -> its value.
        outside: searched field -> a value that the search space does not have.
    """

    name: str
    values: Mapping[str, Any]
    outside: Mapping[str, Any]

    @property
    def line(self) -> str:
        """For people."""
        if not self.values:
            return f"start_from {self.name}: nothing of it is in the search space ({_listed(self.outside)})"
        left_out = f"; not in the search space, so drawn: {_listed(self.outside)}" if self.outside else ""
        return f"tried first: {self.name} ({_listed(self.values)}){left_out}"


def starting_points(study: StudySettings) -> list[StartingPoint]:
    """What `start_from` names. Of the shipped recipes only those of which nothing is outside of the study's space.

    Raises:
        ConfigError: a file cannot be read, or is no train file.
    """
    points = []
    for name in () if study.sampler == "grid" else study.start_from:
        if name == RECIPES_KEYWORD:
            points += [_point(study, one, RECIPES[one]) for one in RECIPES if _holds(study, RECIPES[one])]
        elif name in RECIPES:
            points.append(_point(study, name, RECIPES[name]))
        else:
            is_path = "/" in name or name.endswith((".yaml", ".yml"))
            settings = load_train(Path(name) if is_path else Layout().study_dir(name) / "best_config.yaml")
            points.append(_point(study, name, {field: getattr(settings, field) for field in study.space}))
    return points


def starting_lines(study: StudySettings) -> Iterator[str]:
    """What `start_from` comes to, for people; raises as `starting_points`."""
    if study.sampler == "grid" and set(study.start_from) - {RECIPES_KEYWORD}:
        yield "start_from has no effect: sampler grid tries every configuration in an order of its own"
    for point in starting_points(study):
        yield point.line


def _point(study: StudySettings, name: str, given: Mapping[str, Any]) -> StartingPoint:
    searched = {field: given[field] for field in study.space if field in given}
    inside = {field: value for field, value in searched.items() if study.space[field].contains(value)}
    values = {field: study.space[field].canonical(value) for field, value in inside.items()}
    return StartingPoint(name, values, {field: searched[field] for field in searched if field not in inside})


def _holds(study: StudySettings, recipe: Mapping[str, Any]) -> bool:
    """Whether the study's space has the recipe: what is searched has its values, what is fixed is equal to them."""
    fixed = {**DEFAULTS, **study.fixed}
    return any(field in study.space for field in recipe) and all(
        study.space[field].contains(value) if field in study.space else fixed[field] == value
        for field, value in recipe.items()
    )


def _listed(values: Mapping[str, Any]) -> str:
    texts = {field: value if isinstance(value, str) else shown(with_lists(value)) for field, value in values.items()}
    return ", ".join(f"{field} {text}" for field, text in texts.items())
