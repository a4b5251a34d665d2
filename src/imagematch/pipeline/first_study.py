"""A study file for images that are there: what depends on their number, size and layout is derived from them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagematch.config import parse_study, to_yaml
from imagematch.data import decode
from imagematch.errors import DataError
from imagematch.sources import ImageRow, Source, SourceOptions, open_source

_MANY_CLASSES = 30
"""From so many on the error rates of classes that were not seen can be measured."""
_BATCH = 256
_SAMPLED = 40
_SIZES = ((160, 224), (112, 160), (0, 96))
"""Shorter side of the typical image, at least -> image_size."""
_FEW_IMAGES = 600


@dataclass(frozen=True)
class FirstStudy:
    """A study file and what it was derived from.

    Attributes:
        text: the file.
        notes: how the folder was read, in lines.
    """

    text: str
    notes: tuple[str, ...]


def first_study(
    name: str, dataset: str, data_dir: Path, *, layout: str = "auto", extractor: str = "mobilenet_v2", schema: str = ""
) -> FirstStudy:
    """A commented study file for a folder of images, which validates as it is.

    Args:
        name: of the study.
        dataset: of the folder, one of those of `imagematch data list`.
        data_dir: the folder, or the table of `csv`.
        layout: how a folder is read; auto finds it out.
        extractor: the network whose features are used.
        schema: the JSON schema that the first line names; none without.

    Raises:
        ConfigError: there is no such data set, or the name or the extractor cannot be used.
        DataError: the folder cannot be read, or holds fewer than two classes of two images.
    """
    source = open_source(dataset, data_dir, SourceOptions(layout=layout))
    listing = source.listing()
    counts = Counter(row.label for row in listing.rows if row.label)
    usable = [count for count in counts.values() if count > 1]
    if len(usable) < 2:
        what = f"{len(counts):,} classes, of which {len(usable):,} have two images or more; two such classes are needed"
        raise DataError(what, where=str(data_dir), do="put the images of each class in a folder of its own")
    values, comments = _derived(source, listing.rows, usable)
    given = {"dataset": dataset, "data_dir": str(data_dir), **({} if layout == "auto" else {"layout": layout})}
    each = f"{min(usable):,}" if min(usable) == max(usable) else f"{min(usable):,} to {max(usable):,}"
    sections: dict[str, dict[str, Any]] = {
        f"{sum(counts.values()):,} images of {len(usable):,} classes, {each} in each": {
            "study_name": name,
            "seed": 0,
            **given,
        },
        comments[0]: {"split_by": values["split_by"], **values["split"]},
        "The network whose features are used, once for each image; weights: PATH for a file of your own": {
            "feature_extractor": extractor,
            **({} if extractor == "pixels" else {"image_size": values["image_size"]}),
        },
        "What is searched: each combination is a head on those features": {
            "loss_grid": values["losses"],
            "embedding_dim_grid": [64, 128, 256],
            "intermediate_ff_block_units_grid": [[], [512]],
            "dropout_grid": [0.2, 0.4],
            "learning_rate_grid": [0.001, 0.003],
        },
        comments[1]: {"batch_classes": values["batch_classes"], "batch_images": values["batch_images"]},
        "How long": {
            "lr_schedule": "cosine",
            "epochs": 30,
            "early_stopping_patience": 10,
            "n_trials": 15,
            **({"folds": 3} if values["few"] else {}),
        },
        "The matcher calls two images the same where at most 1 in 100 pairs of different classes is called so": {
            "threshold": {"far": 0.01}
        },
    }
    if values["split_by"] == "class":
        sections["Keeps what the network knew of classes that are not trained on"] = {"join": "whitened"}
    lines = [f"# yaml-language-server: $schema={schema}"] if schema else []
    for comment, keys in sections.items():
        lines += [f"# {comment}.", to_yaml(keys)]
    parse_study({key: value for keys in sections.values() for key, value in keys.items()}, where="the study file")
    return FirstStudy("\n".join(lines), listing.notes)


def _derived(source: Source, rows: Sequence[ImageRow], usable: Sequence[int]) -> tuple[dict[str, Any], list[str]]:
    """What follows from the images, and two comments: on the split and on the batches."""
    own_split = {"train", "test"} <= {row.split for row in rows if row.label}
    many = len(usable) >= _MANY_CLASSES
    split_by = "predefined" if own_split else "class" if many else "image"
    if own_split:
        comment = "As the folders or the table say; image or class: split anew"
    elif many:
        comment = "Test classes are none of those trained on, as when new ones come up in use; image: the same classes"
    else:
        comment = f"{len(usable)} classes are too few to leave some out: the test has other images of the same ones"
    training = max(2, int(0.4 * len(usable))) if split_by == "class" else len(usable)  # folds leave out more
    images = max(2, min(16, int(0.7 * statistics.median(usable))))
    classes = max(2, min(64, training, _BATCH // images))
    thin = split_by == "image" and 0.1 * statistics.median(usable) < 2
    split = [0.5, 0.2, 0.3] if split_by == "class" else [0.5, 0.25, 0.25] if thin else None
    values = {
        "split_by": split_by,
        "split": {} if split is None else {"split": split},
        "losses": ["triplet_semihard", "multi_similarity" if images > 2 else "nt_xent"],
        "batch_classes": classes,
        "batch_images": images,
        "image_size": _image_size(source, rows),
        "few": len(rows) < _FEW_IMAGES and not own_split,
    }
    return values, [comment, f"A batch: {classes} classes with {images} images each; the typical class has more"]


def _image_size(source: Source, rows: Sequence[ImageRow]) -> int:
    """By the shorter side of some images: nothing is gained by seeing small ones larger."""
    sides = []
    for row in rows[:: max(1, len(rows) // _SAMPLED)]:
        try:
            sides.append(min(decode(source.read(row.source_file), 224).shape[:2]))
        except DataError:  # `data check` names it
            continue
    typical = statistics.median(sides) if sides else 224
    return next(size for least, size in _SIZES if typical >= least)
