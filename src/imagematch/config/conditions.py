"""Under which values of others a key counts, and what a user reads who gives it where it does not."""

from __future__ import annotations

from typing import Any

from imagematch.config.fields import Condition, Values
from imagematch.config.names import FROM_SCRATCH, OFFLINE_LOSSES
from imagematch.registry import KERASHUB_PREFIX, LOSS_REGISTRY, ONNX_PREFIX


def of_losses(option: str) -> Condition:
    """The key counts where the loss has this option, and no other option rules it out."""
    specs = LOSS_REGISTRY.all()
    having = {name: spec.options[option] for name, spec in specs.items() if option in spec.options}
    rivals = dict.fromkeys(own.unless[0] for own in having.values() if own.unless)

    def ruled_out(values: Values) -> str:
        own = having[values["loss"]]
        if own.unless is None or values[own.unless[0]] != own.unless[1]:
            return ""
        return "{}: {}".format(*own.unless)

    def otherwise(values: Values) -> str:
        loss = values["loss"]
        if loss in having:
            return f"has no effect with {ruled_out(values)}"
        own = ", ".join(f"`{name}`" for name in specs[loss].options)
        return f"belongs to {', '.join(_families(tuple(having)))}; {loss} has {own}"

    return Condition(
        "with a loss that has it",
        ("loss", *rivals),
        lambda values: values["loss"] in having and not ruled_out(values),
        otherwise,
    )


def _families(losses: tuple[str, ...]) -> list[str]:
    """The losses in order; those over triplets as one, if they are all there."""
    triplets = {name for name in LOSS_REGISTRY.all() if name.startswith("triplet_")}
    if not triplets <= set(losses):
        return list(losses)
    return list(dict.fromkeys("triplet" if loss in triplets else loss for loss in losses))


def _not_balanced(values: Values) -> str:
    if values["loss"] in OFFLINE_LOSSES:
        return f"does not go with {values['loss']}, which draws its own triplets: give batch_size"
    return "does not go with batch_size: give batch_classes x batch_images, or batch_size"


def in_stages(key: str, values: Values) -> list[Any]:
    """The value of a key in each stage; without stages its one value."""
    return [stage.get(key, values[key]) for stage in values["stages"]] or [values[key]]


def starts_untrained(values: Values) -> bool:
    """Whether the extractor begins without learnt weights, so that all of it is trained where `trainable` is false."""
    return values["feature_extractor"] in FROM_SCRATCH and values["weights"] in ("imagenet", "random")


def _trained_parts(values: Values) -> list[Any]:
    """The part of the extractor that each stage trains, False for none; `pixels` has nothing to train."""
    if values["feature_extractor"] == "pixels":
        return [False]
    return [part or starts_untrained(values) for part in in_stages("trainable", values)]


def _is_preset(values: Values) -> bool:
    return str(values["feature_extractor"]).startswith(KERASHUB_PREFIX)


def _names(values: Values) -> tuple[str, ...]:
    names = values["feature_extractor"]
    return (names,) if isinstance(names, str) else tuple(names)


def _decays(values: Values) -> bool:
    return not _is_preset(values) and any(part is not False for part in _trained_parts(values))


def _no_decay(values: Values) -> str | None:
    if values["feature_extractor"] == "pixels":
        return None
    if _is_preset(values):
        return f"does not reach into {values['feature_extractor']}, whose layers are hidden inside"
    return "has no effect where nothing of the extractor is trained: give trainable"


def _not_frozen(values: Values) -> str:
    frozen = "weights: PATH" if starts_untrained(values) else "trainable: false"
    return f"needs a frozen extractor ({frozen})"


_WHAT_TRAINS = ("feature_extractor", "weights", "trainable", "stages")

WITH_FACES = Condition(
    "with a face_crop",
    ("face_crop",),
    lambda values: values["face_crop"] != "none",
    lambda _: "has no effect without face_crop: haar",
)
WITH_BLOCKS = Condition(
    "with feed-forward blocks",
    ("intermediate_ff_block_units", "parallel_heads"),
    lambda values: len(values["intermediate_ff_block_units"]) > 0 or any(values["parallel_heads"]),
)
WITH_A_NETWORK = Condition(
    "without pixels as the extractor", ("feature_extractor",), lambda values: values["feature_extractor"] != "pixels"
)
WITH_A_NETWORK_FILE = Condition(
    "with a network file as the extractor",
    ("feature_extractor",),
    lambda values: any(name.startswith(ONNX_PREFIX) for name in _names(values)),
    lambda _: "has no effect without feature_extractor: onnx:PATH",
)
WITH_TRAINED_LAYERS = Condition("where layers of the extractor are trained", _WHAT_TRAINS, _decays, _no_decay)
WITH_AUGMENTATION = Condition(
    "with image_augmentation: true",
    ("image_augmentation", "stages"),
    lambda values: any(in_stages("image_augmentation", values)),
    lambda _: "has no effect without image_augmentation: true",
)
WITH_FROZEN_FEATURES = Condition(
    "with a frozen extractor",
    _WHAT_TRAINS,
    lambda values: all(part is False for part in _trained_parts(values)),
    _not_frozen,
)
WITH_BALANCED_BATCHES = Condition(
    "without batch_size",
    ("batch_size", "loss"),
    lambda values: values["batch_size"] is None and values["loss"] not in OFFLINE_LOSSES,
    _not_balanced,
)
WITH_EPOCHS = Condition(
    "without lr_schedule: bit_hyperrule",
    ("lr_schedule", "stages"),
    lambda values: any(schedule != "bit_hyperrule" for schedule in in_stages("lr_schedule", values)),
    lambda _: "does not go with lr_schedule: bit_hyperrule, which trains for a number of steps of its own",
)
WITHOUT_STAGES = Condition(
    "without stages",
    ("stages",),
    lambda values: not values["stages"],
    lambda _: "does not go with stages, of which each ends by validation",
)
