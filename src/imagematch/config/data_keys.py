"""The keys of a train file that name a run and its images, each with all that is known about it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator

from imagematch.config import conditions, names, values
from imagematch.config.fields import REQUIRED, Affects, key
from imagematch.options import Option, choice, flag, number, whole

_MAX_SEED = 2**32 - 1
_SEEDS = "rerun_seeds trains the best trials again with other seeds"
_NAME: Any = {"group": "name", "affects": Affects.NOTHING, "tunable": "the study names its trials"}
_DATA: Any = {"group": "data", "affects": Affects.DATA, "tunable": "trials on other data cannot be compared"}
_FACES: Any = {**_DATA, "condition": conditions.WITH_FACES}


class DataKeys(BaseModel):
    """Name, seeds and images of a run, each checked on its own; `WrittenKeys` has the names checked."""

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
    corrections: values.PathField | None = key(
        Option(
            None,
            values.PATH,
            "What people said of the images, a table: other labels, images to leave out, pairs to compare matchers on.",
            expects="a path",
        ),
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
    face_crop: Annotated[str, AfterValidator(values.checked_face_crop)] = key(
        Option(
            "none",
            {"anyOf": [{"enum": list(names.FACE_CROPS)}, {"type": "string", "pattern": f"^{names.YUNET_PREFIX}."}]},
            "Cuts out the largest face with this detector; `yunet:PATH`, too.",
            expects=f"one of {', '.join(names.FACE_CROPS)}, or {names.YUNET_PREFIX}PATH",
        ),
        **_DATA,
    )
    face_margin: float = key(number(0.2, 0, 2, "Added on each side of the face, as a share of its own side."), **_FACES)
    face_align: bool = key(
        flag(False, "Brings eyes, nose and mouth to where face networks expect them; haar: the eyes level."), **_FACES
    )
    face_missing: str = key(
        choice("whole", names.FACES_MISSING, "Without a face: takes the whole image, skips it, or stops."), **_FACES
    )
    image_size: int | None = key(
        whole(None, 8, 2_048, "Side of the square that images are scaled to; by default the extractor's own."),
        **{**_DATA, "tunable": True},
    )
