"""Splits: which images train, select, calibrate and test. Seeded, and the same on every machine.

What is drawn depends on the seed and on each image's path or class name, never on the order of files or of a random
generator. An image that was placed before (`placed`, by its content) stays where it is: only new ones are drawn.

Three rules keep the metrics honest and computable:

- Images of one group, near duplicates and byte-identical images never stand in two splits. By image they go together.
  Where classes or the data set's own split force byte-identical ones apart, the copies in test stay (else those in
  calibration, else in validation), the others are left out.
- A held-out split takes none or at least two images of a class, since a lone image makes no genuine pair.
- Every split has images of two classes, and two images of one class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.data.stratified import (
    LEFT_OUT,
    MIN_CLASSES,
    SPLITS,
    DisjointSets,
    SplitImages,
    draw,
    lack,
    share_out,
    together,
)
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.sources import ImageRow

Pairs = Sequence[tuple[int, int]]
"""Rows of near duplicates."""
_PRECEDENCE = (LEFT_OUT, "train", "validation", "calibration", "test")
"""Of copies in several splits, those in the last of these stay."""
_CLASSES_FOR_CALIBRATION_BY_CLASS = 8


@dataclass(frozen=True)
class SplitRules:
    """How images are split.

    Attributes:
        ratios: train, validation and (where there is to be one) test; positive, of sum 1.
        split_by: image, class or predefined.
        calibration_share: of validation, 0 to under 1; 0 makes no calibration split.
        seed: changes what is drawn.
    """

    ratios: Sequence[float]
    split_by: str
    calibration_share: float
    seed: int


def split_images(
    rows: Sequence[ImageRow],
    rules: SplitRules,
    *,
    placed: Mapping[str, str] | None = None,
    near: Iterable[tuple[int, int]] = (),
) -> np.ndarray:
    """The split of every image.

    - `image`: every class is shared out by the ratios; totals follow them to within a few images.
    - `class`: no class is in two of train, validation (with calibration) and test. At least two classes each.
    - `predefined`: as the source says. Its test images are the test split; where it has validation but no test images
      and the ratios ask for a test split, its validation images are. A missing validation split is cut from the
      training images in the proportion of the first two ratios.

    Calibration is a share of validation: by image inside each class; by class where the split is by class and
    validation has at least 8 classes. Where that part would be too small to hold a genuine and an impostor pair, there
    is none.

    Args:
        rows: the images, sorted by path; path, label, digest, group, superclass and split count.
        rules: how they are split.
        placed: digest -> split of images that were split before.
        near: rows of near duplicates, pair by pair: they go together, or are left out as copies are.

    Returns:
        (n,) str, a name of SPLITS or LEFT_OUT.

    Raises:
        DataError: a split would lack genuine or impostor pairs, or the source has no split of its own.
    """
    near = list(near)
    before = placed or {}
    images = SplitImages(rows, together(rows, near), [before.get(row.digest, "") for row in rows])
    if rules.split_by == "predefined":
        splits = _predefined(images, rules)
    elif rules.split_by == "class":
        splits = _by_class(images, rules)
    else:
        splits = share_out(images, range(len(rows)), _shares(rules.ratios, rules.calibration_share), rules.seed)
    whole = list(splits)
    _leave_copies_out([row.digest for row in rows], splits)
    if rules.split_by == "predefined" and near:
        _leave_copies_out(together([row._replace(group="") for row in rows], near), splits)
    if lack(images.labels, splits, "calibration"):
        splits = ["validation" if split == "calibration" else split for split in splits]
    for split in SPLITS:
        wanted = split in splits or split in ("train", "validation") or (split == "test" and len(rules.ratios) == 3)
        if wanted and (missing := lack(images.labels, splits, split)):
            raise _lacking(split, missing, rules.split_by, whole, splits)
    return np.array(splits)


def first_possible_split(
    rows: Sequence[ImageRow],
    rules: SplitRules,
    attempts: Sequence[tuple[Mapping[str, str], Pairs]],
    log: RunLog,
) -> tuple[np.ndarray, Pairs]:
    """The split by the first of these earlier splits and near duplicates that leaves pairs in every split."""
    for number, (before, near) in enumerate(attempts):
        try:
            splits = split_images(rows, rules, placed=before, near=near)
        except DataError:
            if number + 1 == len(attempts):
                raise
            continue
        if attempts[0][0] and not before:
            log.event(
                "split_anew", "too few images are left of the earlier split: all are split again", level="warning"
            )
        if attempts[0][1] and not near:
            log.event(
                "near_duplicates_apart",
                "near duplicates cannot stay in one split: nearly all images of a class are linked by them, as "
                "frames of a video are. Give a group for each sitting, or split_by: class",
            )
        return splits, near
    raise AssertionError("there is an attempt")


def _lacking(split: str, missing: str, split_by: str, whole: Sequence[str], splits: Sequence[str]) -> DataError:
    """Why a split is unusable: what it lacks, and whether the source or copies in other splits are the cause."""
    do = "add images, or change split or split_by"
    if split_by == "predefined" and split not in whole:
        two = ", give `split` two numbers for no test" if split == "test" else ""
        return DataError(
            f"the data set's own split has no {split} images",
            where="split_by: predefined",
            do=f"add a {split} folder{two}, or use split_by: image",
        )
    if copies := sum(own == split != left for own, left in zip(whole, splits, strict=True)):
        missing += f", now that {copies:,} of its images are left out for a byte-identical one in another split"
        do = "remove the copies from the other split, or use split_by: image"
    return DataError(f"the {split} split {missing}", where="split", do=do)


def _shares(ratios: Sequence[float], calibration_share: float) -> dict[str, float]:
    shares = {"train": ratios[0], "validation": ratios[1] * (1 - calibration_share)}
    shares["calibration"] = ratios[1] * calibration_share
    if len(ratios) == 3:
        shares["test"] = ratios[2]
    return {split: share / sum(shares.values()) for split, share in shares.items() if share > 0}


def _by_class(images: SplitImages, rules: SplitRules) -> list[str]:
    shares = _shares(rules.ratios, 0)
    sizes = Counter(images.labels)
    bunches = _bunches(images, by_superclass=True)
    above = {row.label: f"group {row.superclass}" for row in images.rows if row.superclass}
    names = [above.get(bunch[0], f"class {bunch[0]}") for bunch in bunches]
    order = sorted(range(len(bunches)), key=lambda number: draw(rules.seed, names[number]))
    waiting = [bunches[number] for number in order]
    if len(waiting) < len(shares) or len(sizes) < MIN_CLASSES * len(shares):
        raise DataError(
            f"{len(sizes):,} classes in {len(waiting):,} groups are too few for class-disjoint splits",
            where="split_by",
            do=f"use split_by: image, or at least {MIN_CLASSES * len(shares)} classes",
        )
    placed = _placed_classes(images)
    split_of: dict[str, str] = {}
    classes = dict.fromkeys(shares, 0)
    wanted = {split: share * len(images.labels) for split, share in shares.items()}

    def place(labels: Sequence[str], split: str) -> None:
        split_of.update(dict.fromkeys(labels, split))
        classes[split] += len(labels)
        wanted[split] -= sum(sizes[label] for label in labels)

    for labels in waiting:
        parts = sum((placed[label] for label in labels if label in placed), Counter[str]())
        if known := {part: count for part, count in parts.items() if part in shares}:
            place(labels, max(known, key=known.__getitem__))
    for labels in waiting:
        if labels[0] not in split_of:
            needy = [split for split in reversed(shares) if classes[split] < MIN_CLASSES]
            place(labels, needy[0] if needy else max(reversed(wanted), key=wanted.__getitem__))
    splits = [split_of[label] for label in images.labels]
    return _calibration_by_class(images, rules, splits, {label for label, s in split_of.items() if s == "validation"})


def _calibration_by_class(
    images: SplitImages, rules: SplitRules, splits: list[str], validation: Collection[str]
) -> list[str]:
    """Cuts the calibration part out of validation, by class where that has enough of them; else by image."""
    share, placed = rules.calibration_share, _placed_classes(images, calibration=True)
    both = any({"validation", "calibration"} <= set(placed.get(label, ())) for label in validation)
    if both or len(validation) < _CLASSES_FOR_CALIBRATION_BY_CLASS:
        return _with_calibration(images, splits, share, rules.seed)
    count = max(MIN_CLASSES, round(share * len(validation))) if share else 0
    chosen: set[str] = set()
    waiting: list[list[str]] = []
    for bunch in _bunches(images, by_superclass=False):
        if bunch[0] in validation:
            parts = {part for label in bunch for part in placed.get(label, ())}
            chosen.update(bunch if "calibration" in parts else ())
            waiting += [bunch] if not parts & {"validation", "calibration"} else []
    for bunch in sorted(waiting, key=lambda bunch: draw(rules.seed, f"calibration {bunch[0]}")):
        if len(chosen) < count:
            chosen.update(bunch)
    return ["calibration" if label in chosen else split for label, split in zip(images.labels, splits, strict=True)]


def _placed_classes(images: SplitImages, *, calibration: bool = False) -> dict[str, Counter[str]]:
    """Class -> how many of its images were placed in which split; calibration is a part of validation otherwise."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label, split in zip(images.labels, images.placed, strict=True):
        if split:
            found[label]["validation" if split == "calibration" and not calibration else split] += 1
    return found


def _bunches(images: SplitImages, *, by_superclass: bool) -> list[list[str]]:
    """Classes that stay together, sorted: those of a superclass, and those that have images of one group."""
    labels = sorted(set(images.labels))
    number = {label: place for place, label in enumerate(labels)}
    first: dict[tuple[str, str], int] = {}
    sets = DisjointSets(len(labels))
    for row in images.rows:
        if row.group:
            sets.join(first.setdefault(("group", row.group), number[row.label]), number[row.label])
        if row.superclass and by_superclass:
            sets.join(first.setdefault(("superclass", row.superclass), number[row.label]), number[row.label])
    found: dict[int, list[str]] = defaultdict(list)
    for label in labels:
        found[sets.of(number[label])].append(label)
    return list(found.values())


def _predefined(images: SplitImages, rules: SplitRules) -> list[str]:
    splits = [row.split for row in images.rows]
    given = set(splits)
    if LEFT_OUT in given:
        raise DataError(
            "the data set has no split of its own",
            where="split_by: predefined",
            do="use split_by: image or class, or put the classes in train, val and test folders",
        )
    if "test" not in given and "validation" in given and len(rules.ratios) == 3:
        splits = ["test" if split == "validation" else split for split in splits]
    if "validation" not in splits:
        training = [row for row, split in enumerate(splits) if split == "train"]
        cut = share_out(images, training, _shares(rules.ratios[:2], rules.calibration_share), rules.seed)
        return [new or old for new, old in zip(cut, splits, strict=True)]
    return splits if "calibration" in given else _with_calibration(images, splits, rules.calibration_share, rules.seed)


def _with_calibration(images: SplitImages, splits: list[str], calibration_share: float, seed: int) -> list[str]:
    """Cuts the calibration part out of validation, by image inside each class."""
    if not calibration_share:
        return splits
    validation = [row for row, split in enumerate(splits) if split == "validation"]
    shares = {"validation": 1 - calibration_share, "calibration": calibration_share}
    cut = share_out(images, validation, shares, seed)
    return [new or old for new, old in zip(cut, splits, strict=True)]


def _leave_copies_out(ids: Sequence[Hashable], splits: list[str]) -> None:
    """Of images with one id in several splits those in the last of _PRECEDENCE stay."""
    times = Counter(ids)  # first, so that a million images without copies make no million lists
    copies: dict[Hashable, list[int]] = defaultdict(list)
    for row, own in enumerate(ids):
        if times[own] > 1:
            copies[own].append(row)
    for rows in copies.values():
        stays = max((splits[row] for row in rows), key=_PRECEDENCE.index)
        for row in rows:
            if splits[row] != stays:
                splits[row] = LEFT_OUT
