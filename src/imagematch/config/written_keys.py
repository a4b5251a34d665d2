"""The keys of a train file that say what is trained and how, less the losses' own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator, field_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import conditions, names, values
from imagematch.config.data_keys import DataKeys
from imagematch.config.fields import Affects, key, names_of
from imagematch.config.network_input import NETWORK_INPUT, checked_input
from imagematch.options import Option, choice, flag, number, whole
from imagematch.registry import KERASHUB_PREFIX, ONNX_PREFIX

_MAX_BLOCKS = 32
MAX_STAGES = 16
STAGES_FORM = "a list of mappings, as [{trainable: false, epochs: 10}, {trainable: 30, learning_rate: 1.0e-5}]"
_UNITS = {"type": "integer", "minimum": 1, "maximum": 65_536}
_PREFIXED = {"type": "string", "pattern": f"^({KERASHUB_PREFIX}|{ONNX_PREFIX})."}
_EXTRACTOR = {"anyOf": [{"enum": list(names.EXTRACTORS)}, _PREFIXED]}

_EXTRACTED: Any = {"group": "model", "affects": Affects.FEATURES, "tunable": True}
_HEAD: Any = {"group": "model", "affects": Affects.TRAINING, "tunable": True}
_TRAINING: Any = {"group": "training", "affects": Affects.TRAINING, "tunable": True}
_STAGE: Any = {**_TRAINING, "per_stage": True}
_BATCH: Any = {**_STAGE, "changes_val_loss": True}


class WrittenKeys(DataKeys):
    """The keys that no loss brings, each checked on its own."""

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
    feature_dropout: float = key(
        number(0.0, 0, 1, "Share of the features left out in training, in front of the head.", below=True), **_HEAD
    )
    join: Annotated[Any, PlainValidator(values.checked_join)] = key(
        Option(
            "none",
            values.JOIN,
            "Puts half-whitened features beside the head's embedding; `weight` multiplies the head, auto: by "
            "validation; `reduce` shortens all to embedding_dim.",
            expects=values.JOIN_FORMS,
        ),
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
    parallel_heads: values.Heads = key(
        Option(
            (),
            {"type": "array", "items": {"type": "array", "items": _UNITS, "maxItems": _MAX_BLOCKS}, "maxItems": 8},
            "Further heads on the same features, each a list of its blocks' units, side by side with the first; "
            "together they are reduced to embedding_dim.",
            expects="a list of at most 8 lists of units, as [[], [1024]]",
        ),
        **_HEAD,
        condition=conditions.WITH_FROZEN_FEATURES,
    )
    dropout: float = key(
        number(
            0.0,
            0,
            1,
            "Share of a block's outputs left out in training; a study of heads with blocks searches it by default.",
        ),
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
        choice(
            "auto",
            names.PRECISIONS,
            "The numbers a frozen extractor computes in; auto: lower ones where they are faster here and rank as well.",
        ),
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
        whole(50, 0, 100_000, "The most passes over the training images; 0: half-whitened features alone."),
        **_STAGE,
        condition=conditions.WITH_EPOCHS,
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

    refit: str = key(
        choice(
            "none",
            names.REFITS,
            "Trains again on train and validation images, for the best epochs; a study does so with its winner.",
        ),
        group="training",
        affects=Affects.MATCHING,
        tunable="the winner alone is trained again",
        condition=conditions.WITHOUT_STAGES,
    )

    test_time_flip: Annotated[Any, PlainValidator(values.checked_flip)] = key(
        Option(
            False,
            {"enum": [False, True, "auto"]},
            "Embeds an image as the mean of itself and its mirror image, once training is over; auto: by validation.",
            expects=values.FLIP_FORMS,
        ),
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

    callbacks: values.Names = key(
        Option(
            ("tensorboard",),
            {"type": "array", "items": {"enum": list(names.CALLBACKS)}, "uniqueItems": True},
            "What is told how it goes on.",
            expects=f"a list of {', '.join(names.CALLBACKS)}",
        ),
        group="training",
        affects=Affects.NOTHING,
        tunable="it is told of trials, and changes none",
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

    @field_validator("callbacks")
    @classmethod
    def _name_callbacks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values.checked_choice("callbacks", name, names.CALLBACKS) for name in value))

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
