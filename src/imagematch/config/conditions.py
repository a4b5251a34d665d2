"""Which field counts under which values of others: the one table of conditional fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imagematch.config.loss_fields import LOSS_FIELDS, OPTION_FIELDS, losses_with
from imagematch.config.names import FROM_SCRATCH, KERASHUB, OFFLINE_LOSSES, TRIPLET_LOSSES

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """When a field counts.

    Attributes:
        depends_on: the fields that `holds` reads.
        holds: whether the field counts under these values.
        otherwise: what to tell a user who gives the field where it does not count; None, in place of it or as its
            answer, lets the field pass, without effect.
    """

    depends_on: tuple[str, ...]
    holds: Callable[[Values], bool]
    otherwise: Callable[[Values], str | None] | None = None


def _of_loss(field: str) -> Condition:
    def otherwise(values: Values) -> str:
        loss = values["loss"]
        if field in LOSS_FIELDS[loss]:
            return "margin has no effect with triplet_hinge: softplus"
        own = ", ".join(f"`{name}`" for name in LOSS_FIELDS[loss])
        return f"{field} belongs to {', '.join(_families(losses_with(field)))}; {loss} has {own}"

    if field == "margin":  # softplus takes the margin's place: Hermans et al. 2017
        return Condition(("loss", "triplet_hinge"), _has_margin, otherwise)
    return Condition(("loss",), lambda values: field in LOSS_FIELDS[values["loss"]], otherwise)


def _families(losses: tuple[str, ...]) -> list[str]:
    """The losses' names in order; the triplet losses as one, if they are all there."""
    triplets = {*TRIPLET_LOSSES, *OFFLINE_LOSSES}
    if not triplets <= set(losses):
        return list(losses)
    return list(dict.fromkeys("triplet" if loss in triplets else loss for loss in losses))


def _has_margin(values: Values) -> bool:
    loss = values["loss"]
    softplus = "triplet_hinge" in LOSS_FIELDS[loss] and values["triplet_hinge"] == "softplus"
    return "margin" in LOSS_FIELDS[loss] and not softplus


def _balanced_batches(field: str) -> Condition:
    def otherwise(values: Values) -> str:
        if values["loss"] in OFFLINE_LOSSES:
            return f"{field} does not go with {values['loss']}, which draws its own triplets: give batch_size"
        return f"{field} does not go with batch_size: give batch_classes x batch_images, or batch_size"

    return Condition(
        ("batch_size", "loss"),
        lambda values: values["batch_size"] is None and values["loss"] not in OFFLINE_LOSSES,
        otherwise,
    )


def _in_stages(field: str, values: Values) -> list[Any]:
    """What a field is in each stage; without stages its one value."""
    return [stage.get(field, values[field]) for stage in values["stages"]] or [values[field]]


def starts_untrained(values: Values) -> bool:
    """Whether the extractor begins without learnt weights, so that all of it is trained where `trainable` is false."""
    return values["feature_extractor"] in FROM_SCRATCH and values["weights"] in ("imagenet", "random")


def _trained_parts(values: Values) -> list[Any]:
    """What of the extractor is trained in each stage, False for nothing; pixels have nothing to train."""
    if values["feature_extractor"] == "pixels":
        return [False]
    return [part or starts_untrained(values) for part in _in_stages("trainable", values)]


def _decays(values: Values) -> bool:
    return not _is_preset(values) and any(part is not False for part in _trained_parts(values))


def _no_decay(values: Values) -> str | None:
    if values["feature_extractor"] == "pixels":
        return None
    if _is_preset(values):
        return f"layer_decay does not reach into {values['feature_extractor']}, whose layers are hidden inside"
    return "layer_decay has no effect where nothing of the extractor is trained: give trainable"


def _not_frozen(values: Values) -> str:
    frozen = "weights: PATH" if starts_untrained(values) else "trainable: false"
    return f"feature_whitening needs a frozen extractor ({frozen})"


def _is_preset(values: Values) -> bool:
    return str(values["feature_extractor"]).startswith(KERASHUB)


def _of_faces(field: str) -> Condition:
    return Condition(
        ("face_crop",),
        lambda values: values["face_crop"] != "none",
        lambda _: f"{field} has no effect without face_crop: haar",
    )


def _of_length(field: str) -> Condition:
    return Condition(
        ("lr_schedule", "stages"),
        lambda values: any(schedule != "bit_hyperrule" for schedule in _in_stages("lr_schedule", values)),
        lambda _: f"{field} does not go with lr_schedule: bit_hyperrule, which trains for a number of steps of its own",
    )


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "face_margin": _of_faces("face_margin"),
        "face_align": _of_faces("face_align"),
        "face_missing": _of_faces("face_missing"),
        "dropout": Condition(
            ("intermediate_ff_block_units",), lambda values: len(values["intermediate_ff_block_units"]) > 0
        ),
        "weights": Condition(("feature_extractor",), lambda values: values["feature_extractor"] != "pixels"),
        "trainable": Condition(("feature_extractor",), lambda values: values["feature_extractor"] != "pixels"),
        "layer_decay": Condition(("feature_extractor", "weights", "trainable", "stages"), _decays, _no_decay),
        "augmented_views": Condition(
            ("image_augmentation", "stages"),
            lambda values: any(_in_stages("image_augmentation", values)),
            lambda _: "augmented_views has no effect without image_augmentation: true",
        ),
        "feature_whitening": Condition(
            ("feature_extractor", "weights", "trainable", "stages"),
            lambda values: all(part is False for part in _trained_parts(values)),
            _not_frozen,
        ),
        "batch_classes": _balanced_batches("batch_classes"),
        "batch_images": _balanced_batches("batch_images"),
        "epochs": _of_length("epochs"),
        "early_stopping_patience": _of_length("early_stopping_patience"),
        **{field: _of_loss(field) for field in OPTION_FIELDS},
    }
)
"""Field -> when it counts; a field that is not here always does."""


def is_active(field: str, values: Values) -> bool:
    """Whether `field` counts under `values`, which must hold every train field."""
    condition = CONDITIONS.get(field)
    return condition is None or condition.holds(values)


def refusal(field: str, values: Values) -> str | None:
    """Why giving `field` under `values` is refused; None where it counts or is let pass."""
    condition = CONDITIONS.get(field)
    if condition is None or condition.otherwise is None or condition.holds(values):
        return None
    return condition.otherwise(values)
