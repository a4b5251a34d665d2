"""The settings of one training run: checked, and resolved to the values that count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

from imagematch.config.names import OFFLINE_LOSSES
from imagematch.config.problems import shown, validation_error
from imagematch.config.rules import broken_rules
from imagematch.config.train_keys import DEFAULTS, KEYS, TrainKeys, is_active
from imagematch.config.values import JOIN_DEFAULTS
from imagematch.config.yaml_files import to_yaml
from imagematch.registry import LOSS_REGISTRY, SOURCE_REGISTRY


class TrainSettings(TrainKeys):
    """What `train.py` runs: every key of a train file, flat, in the file's words.

    What a file leaves open is decided here, once: `training_seed`, `data_dir` (None for embedded data) and the options
    of the loss have the values that count; an option that the loss does not have is None, or its plain default. Which
    keys were given stays known (`model_fields_set`).
    """

    if TYPE_CHECKING:  # what resolution settles, and the options that rooms other than `losses` read
        training_seed: int
        margin: float | None
        proxy_rate: float

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Self:
        if problems := list(broken_rules(dict(self), self.model_fields_set)):
            raise validation_error(*problems)
        resolved = _resolved(dict(self))
        self.model_fields_set.difference_update(key for key in resolved if getattr(self, key) is None)
        self.__dict__.update(resolved)  # the model is frozen for everybody else
        return self

    @property
    def loss_options(self) -> dict[str, Any]:
        """The loss's own options with their values; one that another option rules out is left out."""
        return {
            option: getattr(self, option)
            for option in LOSS_REGISTRY.all()[self.loss].options
            if is_active(option, dict(self))
        }

    @property
    def joined(self) -> Mapping[str, Any] | None:
        """The options of `join`, its defaults where nothing is trained; None where nothing is joined.

        Parallel heads are joined too, without half-whitened features where `join` is none, and always reduced.
        """
        if self.join == "none" and not self.parallel_heads:
            return JOIN_DEFAULTS if self.trains_nothing else None
        join = {**JOIN_DEFAULTS, "weight": math.inf} if self.join == "none" else dict(self.join)
        return {**join, "reduce": True} if self.parallel_heads else join

    @property
    def trains_nothing(self) -> bool:
        """Whether half-whitened features alone are the matcher."""
        return self.epochs == 0

    @property
    def images_per_batch(self) -> int:
        """Images of a training batch, where there are as many: `batch_size`, or `batch_classes` x `batch_images`."""
        return self.batch_size or self.batch_classes * self.batch_images

    @property
    def stage_settings(self) -> tuple[Self, ...]:
        """The settings of each stage; without stages these settings alone."""
        if not self.stages:
            return (self,)
        return tuple(self.model_copy(update={"stages": (), **stage}) for stage in self.stages)

    @property
    def shared_values(self) -> tuple[Any, ...]:
        """What data and features depend on: trainings that are equal in it can share them."""
        shared = [key for key, facts in KEYS.items() if facts.affects.shared]
        whole = [getattr(self, key) for key in shared if not KEYS[key].per_stage]
        return (
            *whole,
            *(getattr(stage, key) for stage in self.stage_settings for key in shared if KEYS[key].per_stage),
        )

    @property
    def trained_values(self) -> dict[str, Any]:
        """What decides the outcome of a training, as JSON values: the keys off their default that can change it."""
        changed = {key for key in self.changed if KEYS[key].affects.trained}
        return self.model_dump(mode="json", include=changed)

    @property
    def changed(self) -> dict[str, Any]:
        """The given keys that differ from their default, the name apart."""
        given = self.model_fields_set
        return {key: value for key, value in self if key in given and key in DEFAULTS and value != DEFAULTS[key]}

    def to_yaml(self) -> str:
        """A file that `train.py` accepts as it is: the name and what differs from the defaults."""
        return to_yaml({"experiment_name": self.experiment_name, **self.changed})

    def describe(self) -> list[str]:
        """What would run, as lines of text."""
        blocks = list(self.intermediate_ff_block_units)
        parallel = "".join(f" and {list(units)}" for units in self.parallel_heads)
        options = ", ".join(f"{name} {value}" for name, value in self.loss_options.items())
        source = f"{self.dataset}{f' in {self.data_dir}' if self.data_dir else ''}"
        faces = [] if self.face_crop == "none" else [self._describe_faces()]
        return [
            f"experiment {self.experiment_name}: {source}, by {self.split_by}",
            *faces,
            f"{_joined(self.feature_extractor)} ({_joined(self.weights)}), blocks {blocks}{parallel}, "
            f"embedding_dim {self.embedding_dim}",
            f"{self.loss}{f' ({options})' if options else ''}, batches of {self._describe_batch()}",
            *(
                stage._describe_training(f"stage {n}: " if self.stages else "")
                for n, stage in enumerate(self.stage_settings, 1)
            ),
        ]

    def _describe_batch(self) -> str:
        if self.loss in OFFLINE_LOSSES:
            return f"{self.images_per_batch // 3} triplets"
        return f"{self.batch_size} images" if self.batch_size else f"{self.batch_classes} classes x {self.batch_images}"

    def _describe_training(self, prefix: str) -> str:
        part = "" if self.trainable is False else f", trainable {shown(self.trainable)}"
        return f"{prefix}{self._describe_length()} of {self.optimizer}{part}, the best by {self.objective}"

    def _describe_length(self) -> str:
        if self.lr_schedule == "bit_hyperrule":
            return "the BiT-HyperRule's steps"
        if self.trains_nothing:
            return "no epoch"
        return f"at most {self.epochs} epoch{'' if self.epochs == 1 else 's'}"

    def _describe_faces(self) -> str:
        missing = {"whole": "the whole image", "skip": "left out", "error": "an error"}[self.face_missing]
        level = "eyes level" if self.face_crop == "haar" else "aligned by five points"
        aligned = f", {level}" if self.face_align else ""
        return (
            f"faces cut out ({self.face_crop}) with a margin of {self.face_margin:g}{aligned}; without one: {missing}"
        )


def _resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that are left open and can be known from the others."""
    found: dict[str, Any] = {}
    if values["training_seed"] is None:
        found["training_seed"] = values["seed"]
    folders = list(map(Path, SOURCE_REGISTRY.all()[values["dataset"]].folders))
    if values["data_dir"] is None and folders:
        found["data_dir"] = next((folder for folder in folders if folder.is_dir()), folders[-1])
    spec = LOSS_REGISTRY.all()[values["loss"]]
    random_batches = spec.kind == "pair" and values["batch_size"] is not None
    for name, option in spec.options.items():
        if values[name] is None and is_active(name, values):
            own = random_batches and option.random_batches is not None
            found[name] = option.random_batches if own else option.default
    return found


def _joined(names: str | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else " + ".join(names)
