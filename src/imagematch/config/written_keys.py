"""The keys of a train file that no loss brings, each with all that is known about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, field_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import conditions, names, values
from imagematch.config.fields import REQUIRED, Affects, key, names_of
from imagematch.config.network_input import NETWORK_INPUT, checked_input
from imagematch.options import Option, choice, flag, number, whole
from imagematch.registry import KERASHUB_PREFIX, ONNX_PREFIX

_MAX_SEED = 2**32 - 1
_MAX_BLOCKS = 32
MAX_STAGES = 16
STAGES_FORM = "a list of mappings, as [{trainable: false, epochs: 10}, {trainable: 30, learning_rate: 1.0e-5}]"
_UNITS = {"type": "integer", "minimum": 1, "maximum": 65_536}
_PREFIXED = {"type": "string", "pattern": f"^({KERASHUB_PREFIX}|{ONNX_PREFIX})."}
_EXTRACTOR = {"anyOf": [{"enum": list(names.EXTRACTORS)}, _PREFIXED]}

_SEEDS = "rerun_seeds trains the best trials again with other seeds"
_NAME: Any = {"group": "name", "affects": Affects.NOTHING, "tunable": "the study names its trials"}
_DATA: Any = {"group": "data", "affects": Affects.DATA, "tunable": "trials on other data cannot be compared"}
_FACES: Any = {**_DATA, "condition": conditions.WITH_FACES}
_EXTRACTED: Any = {"group": "model", "affects": Affects.FEATURES, "tunable": True}
_HEAD: Any = {"group": "model", "affects": Affects.TRAINING, "tunable": True}
_TRAINING: Any = {"group": "training", "affects": Affects.TRAINING, "tunable": True}
_STAGE: Any = {**_TRAINING, "per_stage": True}
_BATCH: Any = {**_STAGE, "changes_val_loss": True}


class WrittenKeys(BaseModel):
    """The keys that no loss brings, each checked on its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    experiment_name: str = key(Option(REQUIRED, values.PATH, "Names the folders of the run.", expects="text"), **_NAME)
    seed: int = key(
        whole(0, 0, _MAX_SEED, "Fixes the splits, and every draw that `training_seed` does not."),
        group="name",
        affects=Affects.DATA,
        tunable=_SEEDS,
    )
    training_seed: int | None = key(
        whole(None, 0, _MAX_SEED, "Fixes the initial weights and the batches; by default `seed`."),
        group="name",
        affects=Affects.TRAINING,
        tunable=_SEEDS,
    )

    dataset: str = key(choice("tiny_imagenet", names.DATASETS, "Where the images come from."), **_DATA)
    data_dir: values.PathField | None = key(
        Option(
            None, values.PATH, "The folder or table of the images; by default the data set's own.", expects="a path"
        ),
        **{**_DATA, "affects": Affects.LOCATION},
    )
    split: values.Shares = key(
        Option(
            (0.7, 0.2, 0.1),
            values.SPLIT,
            "Shares of train, validation and test; two numbers: no test.",
            expects="two or three numbers over 0 that sum to 1",
        ),
        **_DATA,
    )
    split_by: str = key(
        choice("image", names.SPLITS_BY, "Splits images, or whole classes, or as the data set says."), **_DATA
    )
    calibration_share: float = key(
        number(0.25, 0, 1, "Share of validation that the threshold is chosen on.", above=True, below=True), **_DATA
    )
    min_images_per_class: int = key(whole(2, 1, 1_000_000, "Smaller classes are left out."), **_DATA)
    max_classes: int | None = key(
        whole(None, 2, 10_000_000, "Takes the most frequent classes alone; by default all."), **_DATA
    )
    layout: str = key(
        choice("auto", names.LAYOUTS, "What the folders say: by default known for certain, or refused."), **_DATA
    )
    missing_files: str = key(
        choice("error", names.MISSING_FILES, "Images that a table names and that are not there: stops, or goes on."),
        **_DATA,
    )
    near_duplicates: str = key(
        choice("together", names.NEAR_DUPLICATES, "Near duplicates of a class stay in one split, or where they fall."),
        **_DATA,
    )
    value_range: Annotated[Any, PlainValidator(values.checked_value_range)] = key(
        Option(
            "auto",
            values.VALUE_RANGE,
            "What becomes black and white in images of more than 8 bits, signed or floating: by default known from "
            "their values, the same in all of them; full: 0 and 65,535.",
            expects=values.VALUE_RANGE_FORMS,
        ),
        **_DATA,
    )
    max_megapixels: int = key(whole(500, 1, 4_295, "Larger images are left out, as corrupt ones are."), **_DATA)
    face_crop: str = key(choice("none", names.FACE_CROPS, "Cuts out the largest face with this detector."), **_DATA)
    face_margin: float = key(number(0.2, 0, 2, "Added on each side of the face, as a share of its own side."), **_FACES)
    face_align: bool = key(flag(False, "Turns the face so that the eyes are level."), **_FACES)
    face_missing: str = key(
        choice("whole", names.FACES_MISSING, "Without a face: takes the whole image, skips it, or stops."), **_FACES
    )
    image_size: int | None = key(
        whole(None, 8, 2_048, "Side of the square that images are scaled to; by default the extractor's own."),
        **{**_DATA, "tunable": True},
    )

    feature_extractor: str | values.Names = key(
        Option(
            "efficientnet",
            {"anyOf": [_EXTRACTOR, {"type": "array", "items": _EXTRACTOR, "minItems": 1, "uniqueItems": True}]},
            "The network, or a list of several, frozen, side by side; `kerashub:PRESET` and `onnx:PATH`, too.",
            expects=f"one of {', '.join(names.EXTRACTORS)}, or a list of several",
        ),
        **_EXTRACTED,
    )
    input: Annotated[Any, PlainValidator(checked_input)] = key(
        NETWORK_INPUT,
        **{**_EXTRACTED, "tunable": "it belongs to the network"},
        condition=conditions.WITH_A_NETWORK_FILE,
    )
    weights: values.PathText | values.PathTexts = key(
        Option(
            "imagenet",
            values.TEXT_OR_TEXTS,
            "imagenet, random or a weights file; a list: one for each extractor.",
            expects="imagenet, random or the path of a weights file; or a list of them, one an extractor",
        ),
        **_EXTRACTED,
        condition=conditions.WITH_A_NETWORK,
    )
    trainable: Annotated[Any, PlainValidator(values.checked_trainable)] = key(
        Option(False, values.TRAINABLE, "What of the extractor is trained.", expects=values.TRAINABLE_FORMS),
        **_EXTRACTED,
        per_stage=True,
        condition=conditions.WITH_A_NETWORK,
    )
    image_augmentation: bool = key(
        flag(False, "Zooms, flips, turns, shifts, brightens training images at random."), **_EXTRACTED, per_stage=True
    )
    augmented_views: int = key(
        whole(0, 0, 1_000, "Augmented copies of each image whose features are cached; 0: anew in every epoch."),
        **_EXTRACTED,
        per_stage=True,
        condition=conditions.WITH_AUGMENTATION,
    )
    feature_whitening: int | None = key(
        whole(None, 1, 65_536, "PCA-whitens the features to this length, fitted on the training images."),
        **_HEAD,
        condition=conditions.WITH_FROZEN_FEATURES,
    )
    intermediate_ff_block_units: values.Units = key(
        Option(
            (),
            {"type": "array", "items": _UNITS, "maxItems": _MAX_BLOCKS},
            "Units of each feed-forward block between features and embedding.",
            expects=f"a list of at most {_MAX_BLOCKS} whole numbers over 0, as [512, 256]",
        ),
        **_HEAD,
    )
    dropout: float = key(
        number(0.0, 0, 1, "Share of a block's outputs left out in training; a study searches it by default."),
        **_HEAD,
        condition=conditions.WITH_BLOCKS,
    )
    embedding_dim: int = key(whole(128, 1, 65_536, "Length of an embedding."), **_HEAD)

    engine: str = key(
        choice("auto", names.ENGINES, "What runs a frozen extractor."),
        group="features",
        affects=Affects.SPEED,
        tunable="it changes how fast features come, not what they are",
    )
    feature_precision: str = key(
        choice("auto", names.PRECISIONS, "The numbers a frozen extractor computes in."),
        group="features",
        affects=Affects.FEATURES,
        tunable="it belongs to the machine, not to the model",
    )
    feature_dir: values.PathField = key(
        Option(Path("exp/features"), values.PATH, "Where features are cached.", expects="a path"),
        group="features",
        affects=Affects.LOCATION,
        tunable="it changes where features lie, not what they are",
    )

    loss: str = key(
        choice("triplet_semihard", names.LOSSES, "What training minimises; its own options are listed with it."),
        **_TRAINING,
        changes_val_loss=True,
    )
    batch_classes: int = key(
        whole(64, 2, 65_536, "Classes of a batch; less where there are fewer."),
        **_BATCH,
        condition=conditions.WITH_BALANCED_BATCHES,
    )
    batch_images: int = key(
        whole(4, 1, 65_536, "Images of each class of a batch."), **_BATCH, condition=conditions.WITH_BALANCED_BATCHES
    )
    batch_size: int | None = key(
        whole(None, 2, 1_048_576, "Images of a batch that is drawn at random, instead of by classes."), **_BATCH
    )
    optimizer: str = key(choice("adam", names.OPTIMIZERS, "How weights follow the gradient."), **_STAGE)
    learning_rate: float = key(number(1e-3, 0, 100, "The highest learning rate.", above=True), **_STAGE)
    lr_schedule: str = key(
        choice(
            "constant",
            names.LR_SCHEDULES,
            "How the rate changes; bit_hyperrule also sets the number of steps, and mixes images where it can.",
        ),
        **_STAGE,
    )
    layer_decay: float = key(
        number(1.0, 0, 1, "Each trained layer learns at this share of the rate of the one above.", above=True),
        **_STAGE,
        condition=conditions.WITH_TRAINED_LAYERS,
    )
    weight_decay: float = key(number(0.0, 0, 10, "Decoupled weight decay."), **_STAGE)
    gradient_clipping: float | None = key(
        number(
            None, 0, 1_000_000, "Longest gradient of a step, over all weights; by default none is clipped.", above=True
        ),
        **_STAGE,
    )
    training_precision: str = key(
        choice("float32", names.TRAINING_PRECISIONS, "The numbers that training computes in."), **_TRAINING
    )
    epochs: int = key(
        whole(50, 1, 100_000, "The most passes over the training images."), **_STAGE, condition=conditions.WITH_EPOCHS
    )
    early_stopping_patience: int = key(
        whole(10, 0, 100_000, "Epochs without improvement after which a training, or its stage, ends."),
        **_STAGE,
        condition=conditions.WITH_EPOCHS,
    )
    stages: Any = key(  # checked by `TrainKeys`, whose keys a stage may have
        Option(
            (),
            {"type": "array", "items": {"type": "object"}, "maxItems": MAX_STAGES},
            "Trainings one after the other, each with values of its own.",
            expects=STAGES_FORM,
        ),
        **_TRAINING,
    )
    objective: str = key(
        choice("val_map_at_r", names.OBJECTIVES, "What the best epoch is chosen by; a study may name two."),
        group="training",
        affects=Affects.TRAINING,
        tunable="trials are ranked by one objective",
    )
    validation_max_images: int = key(
        whole(5_000, 2, 100_000_000, "Validation images that epochs are compared on."),
        **{**_TRAINING, "tunable": "trials on other data cannot be compared"},
    )

    test_time_flip: bool = key(
        flag(False, "Embeds an image as the mean of itself and its mirror image, once training is over."),
        group="matching",
        affects=Affects.VIEWS,
        tunable="trials are ranked without it",
    )
    threshold: Annotated[Any, PlainValidator(values.checked_threshold)] = key(
        Option(
            "balanced_accuracy",
            values.THRESHOLD,
            "What the distance under which two images match is chosen by.",
            expects=values.THRESHOLD_FORMS,
        ),
        group="matching",
        affects=Affects.MATCHING,
        tunable="it is chosen after training",
    )

    @field_validator("*")
    @classmethod
    def _is_a_known_name(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        known = names_of(cls, name)
        return values.checked_choice(name, value, known) if known and value is not None else value

    @field_validator("feature_extractor")
    @classmethod
    def _names_extractors(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return values.checked_extractors(value, names.EXTRACTORS)

    @field_validator("experiment_name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        return values.checked_run_name("experiment_name", value)

    @field_validator("split")
    @classmethod
    def _sums_to_one(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return values.checked_split(value)

    @field_validator("weights")
    @classmethod
    def _can_be_weights(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return values.checked_weights(value)
        checked = tuple(map(values.checked_weights, value))
        alone = len(checked) == 1 and isinstance(info.data.get("feature_extractor"), str)
        return checked[0] if alone else checked
