"""The settings of one training run, checked and typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from imagematch.config.conditions import is_active
from imagematch.config.loss_fields import LOSS_FIELDS, RANDOM_BATCH_MARGIN
from imagematch.config.names import OFFLINE_LOSSES, TRIPLET_LOSSES
from imagematch.config.problems import shown, told
from imagematch.config.rules import broken_rules
from imagematch.config.train_fields import DEFAULTS, TrainFields
from imagematch.config.yaml_writer import to_yaml

_DATA_DIRS: dict[str, tuple[str, ...]] = {
    "tiny_imagenet": ("tiny-imagenet-200", "data/tiny-imagenet-200"),
    "celeba": ("data/celeba",),
    "omniglot": ("data/omniglot",),
    "flowers": ("data/flowers5", "data/flower_photos"),
}


class TrainSettings(TrainFields):
    """What `train.py` runs: every key of a train file, flat, in the file's words.

    A field that belongs to some losses only is None (or its plain default) where it was not given; `loss_options` has
    the values that count.
    """

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        for problem in broken_rules(dict(self), self.model_fields_set):
            raise told(problem.what, problem.do, key=problem.key)
        return self

    @property
    def loss_options(self) -> dict[str, Any]:
        """The loss's own fields with their values: what was given, else the published default (see LOSS_FIELDS).

        `margin` is left out where `triplet_hinge` is softplus, which has none.
        """
        values = dict(self)
        defaults = dict(LOSS_FIELDS[self.loss])
        if self.loss in TRIPLET_LOSSES and self.batch_size is not None:
            defaults["margin"] = RANDOM_BATCH_MARGIN
        return {
            field: default if values[field] is None else values[field]
            for field, default in defaults.items()
            if is_active(field, values)
        }

    @property
    def images_per_batch(self) -> int:
        """Images of a training batch, where there are as many: `batch_size`, or `batch_classes` x `batch_images`."""
        return self.batch_size or self.batch_classes * self.batch_images

    @property
    def effective_training_seed(self) -> int:
        """The seed of the initial weights and of the batches: `training_seed`, or `seed` where it is not given.

        `seed` alone cuts the splits, so that runs which differ in `training_seed` can be compared.
        """
        return self.seed if self.training_seed is None else self.training_seed

    @property
    def stage_settings(self) -> tuple[TrainSettings, ...]:
        """The settings of each stage; without stages these settings alone."""
        if not self.stages:
            return (self,)
        return tuple(self.model_copy(update={"stages": (), **stage}) for stage in self.stages)

    @property
    def effective_margin(self) -> float | None:
        """The margin that counts; None where the loss has none."""
        return self.loss_options.get("margin")

    @property
    def resolved_data_dir(self) -> Path | None:
        """`data_dir`, or the data set's own folder: the first that exists, else the last; None for embedded data."""
        if self.data_dir is not None or self.dataset not in _DATA_DIRS:
            return self.data_dir
        candidates = [Path(folder) for folder in _DATA_DIRS[self.dataset]]
        return next((folder for folder in candidates if folder.is_dir()), candidates[-1])

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that differ from their default, the name apart."""
        return {field: value for field, value in self if field in DEFAULTS and value != DEFAULTS[field]}

    def to_yaml(self) -> str:
        """A file that `train.py` accepts as it is: the name and what differs from the defaults."""
        return to_yaml({"experiment_name": self.experiment_name, **self.changed})

    def describe(self) -> list[str]:
        """What would run, in lines for people."""
        blocks = list(self.intermediate_ff_block_units)
        options = ", ".join(f"{field} {value}" for field, value in self.loss_options.items())
        folder = self.resolved_data_dir
        faces = [] if self.face_crop == "none" else [self._describe_faces()]
        return [
            f"experiment {self.experiment_name}: {self.dataset}{f' in {folder}' if folder else ''}, by {self.split_by}",
            *faces,
            f"{_joined(self.feature_extractor)} ({_joined(self.weights)}), blocks {blocks}, "
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
        return "the BiT-HyperRule's steps" if self.lr_schedule == "bit_hyperrule" else f"at most {self.epochs} epochs"

    def _describe_faces(self) -> str:
        missing = {"whole": "the whole picture", "skip": "left out", "error": "an error"}[self.face_missing]
        aligned = ", eyes level" if self.face_align else ""
        return (
            f"faces cut out ({self.face_crop}) with a margin of {self.face_margin:g}{aligned}; without one: {missing}"
        )


def _joined(names: str | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else " + ".join(names)
