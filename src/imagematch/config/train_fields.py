"""Every key of a train file, each with its type, range and default, checked on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import names
from imagematch.config.field_types import (
    THRESHOLD_FORMS,
    TRAINABLE_FORMS,
    Names,
    PathField,
    PathText,
    PathTexts,
    Shares,
    Units,
    checked_choice,
    checked_extractors,
    checked_split,
    checked_threshold,
    checked_trainable,
    checked_weights,
    flag,
    name,
    number,
    whole,
)
from imagematch.config.metrics import OBJECTIVES
from imagematch.config.problems import Problem, problems_of, told
from imagematch.config.stages import STAGES_FORM, Stages, checked_stages
from imagematch.errors import ConfigError
from imagematch.files import checked_name

_CHOICES = {
    "dataset": names.DATASETS,
    "split_by": names.SPLITS_BY,
    "face_crop": names.FACE_CROPS,
    "face_missing": names.FACES_MISSING,
    "engine": names.ENGINES,
    "feature_precision": names.PRECISIONS,
    "loss": names.LOSSES,
    "loss_distance": names.LOSS_DISTANCES,
    "triplet_hinge": names.TRIPLET_HINGES,
    "optimizer": names.OPTIMIZERS,
    "lr_schedule": names.LR_SCHEDULES,
    "training_precision": names.TRAINING_PRECISIONS,
    "objective": OBJECTIVES,
}
_MAX_SEED = 2**32 - 1
_MAX_BLOCKS = 32


def checked_run_name(key: str, value: str) -> str:
    """`value` if it can name a folder, else raises what pydantic shows."""
    try:
        return checked_name(value, where=key)
    except ConfigError as error:
        raise told(f"{key}: {error.what}", error.do) from error


def _checked_stages(value: Any) -> Stages:
    def check(stage: dict[str, Any]) -> tuple[dict[str, Any], Problem | None]:
        try:
            fields = TrainFields.model_validate({"experiment_name": "x", **stage})
        except ValidationError as error:
            return {}, problems_of(error, TrainFields)[0]
        return {key: getattr(fields, key) for key in stage}, None

    return checked_stages(value, check)


class TrainFields(BaseModel):
    """The keys of a train file. What depends on several of them is checked by `TrainSettings`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # name
    experiment_name: str = Field(description="text")
    seed: int = whole(0, 0, _MAX_SEED)
    training_seed: int | None = whole(None, 0, _MAX_SEED)
    # data
    dataset: str = name("tiny_imagenet", names.DATASETS)
    data_dir: PathField | None = Field(None, description="a path")
    split: Shares = Field((0.7, 0.2, 0.1), description="two or three numbers over 0 that sum to 1")
    split_by: str = name("image", names.SPLITS_BY)
    calibration_share: float = Field(0.25, gt=0, lt=1, description="a number between 0 and 1")
    min_images_per_class: int = whole(2, 1, 1_000_000)
    max_classes: int | None = whole(None, 2, 10_000_000)
    face_crop: str = name("none", names.FACE_CROPS)
    face_margin: float = number(0.2, 0, 2)
    face_align: bool = flag(False)
    face_missing: str = name("whole", names.FACES_MISSING)
    image_size: int | None = whole(None, 8, 2_048)
    # model
    feature_extractor: str | Names = Field(
        "efficientnet", description=f"one of {', '.join(names.EXTRACTORS)}, or a list of several"
    )
    weights: PathText | PathTexts = Field(
        "imagenet", description="imagenet, random or the path of a weights file; or a list of them, one an extractor"
    )
    trainable: Annotated[Any, PlainValidator(checked_trainable)] = Field(False, description=TRAINABLE_FORMS)
    image_augmentation: bool = flag(False)
    augmented_views: int = whole(0, 0, 1_000)
    feature_whitening: int | None = whole(None, 1, 65_536)
    intermediate_ff_block_units: Units = Field(
        (), max_length=_MAX_BLOCKS, description=f"a list of at most {_MAX_BLOCKS} whole numbers over 0, as [512, 256]"
    )
    dropout: float = number(0.0, 0, 1)
    embedding_dim: int = whole(128, 1, 65_536)
    # features
    engine: str = name("auto", names.ENGINES)
    feature_precision: str = name("auto", names.PRECISIONS)
    feature_dir: PathField = Field(Path("exp/features"), description="a path")
    # training: the fields that belong to a loss are None for its published default (see LOSS_FIELDS)
    loss: str = name("triplet_semihard", names.LOSSES)
    margin: float | None = number(None, 0, 100)
    loss_distance: str = name("euclidean", names.LOSS_DISTANCES)
    triplet_hinge: str = name("hinge", names.TRIPLET_HINGES)
    scale: float | None = number(None, 0, 10_000, above=True)
    temperature: float | None = number(None, 0, 1_000, above=True)
    angle: float | None = number(None, 0, 1.57)
    relaxation: float | None = Field(None, ge=0, lt=1, description="a number from 0 to less than 1")
    alpha: float | None = number(None, 0, 10_000, above=True)
    beta: float | None = number(None, 0, 10_000, above=True)
    base: float | None = number(None, -2, 2)
    cross_batch_memory: int = whole(0, 0, 10_000_000)
    proxy_rate: float = number(1.0, 0, 10_000, above=True)
    batch_classes: int = whole(64, 2, 65_536)
    batch_images: int = whole(4, 1, 65_536)
    batch_size: int | None = whole(None, 2, 1_048_576)
    optimizer: str = name("adam", names.OPTIMIZERS)
    learning_rate: float = number(1e-3, 0, 100, above=True)
    lr_schedule: str = name("constant", names.LR_SCHEDULES)
    layer_decay: float = number(1.0, 0, 1, above=True)
    weight_decay: float = number(0.0, 0, 10)
    gradient_clipping: float | None = number(None, 0, 1_000_000, above=True)
    training_precision: str = name("float32", names.TRAINING_PRECISIONS)
    epochs: int = whole(50, 1, 100_000)
    early_stopping_patience: int = whole(10, 0, 100_000)
    stages: Annotated[Any, PlainValidator(_checked_stages)] = Field((), description=STAGES_FORM)
    objective: str = name("val_map_at_r", OBJECTIVES)
    validation_max_images: int = whole(5_000, 2, 100_000_000)
    # matching
    test_time_flip: bool = flag(False)
    threshold: Annotated[Any, PlainValidator(checked_threshold)] = Field(
        "balanced_accuracy", description=THRESHOLD_FORMS
    )

    @field_validator(*_CHOICES)
    @classmethod
    def _is_a_known_name(cls, value: str, info: ValidationInfo) -> str:
        field = str(info.field_name)
        return checked_choice(field, value, _CHOICES[field])

    @field_validator("feature_extractor")
    @classmethod
    def _names_extractors(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return checked_extractors(value, names.EXTRACTORS)

    @field_validator("experiment_name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        return checked_run_name("experiment_name", value)

    @field_validator("split")
    @classmethod
    def _sums_to_one(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return checked_split(value)

    @field_validator("weights")
    @classmethod
    def _can_be_weights(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return checked_weights(value)
        checked = tuple(map(checked_weights, value))
        alone = len(checked) == 1 and isinstance(info.data.get("feature_extractor"), str)
        return checked[0] if alone else checked


TRAIN_KEYS: tuple[str, ...] = tuple(TrainFields.model_fields)
"""Every key of a train file, in the order of the documentation."""
DEFAULTS: dict[str, Any] = {
    key: field.default for key, field in TrainFields.model_fields.items() if not field.is_required()
}
"""Key -> its default, for every key that has one."""
