"""Splits: which images train, select, calibrate and test. Seeded, and the same on every machine.

What is drawn depends on the seed and on each image's path or class name, never on the order of files or of a random
generator, so an image that is added leaves most of the others where they were.

Two rules keep the figures honest and computable:

- Byte-identical images never stand in two splits. By image they go together. Where classes or the data set's own
  split force them apart, the copies in test stay (else those in calibration, else in validation), the others are
  left out.
- A held-out split takes none or at least two images of a class, since a lone image makes no genuine pair.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.files import digest_bytes

SPLITS = ("train", "validation", "calibration", "test")
LEFT_OUT = ""
_KEEPING = (LEFT_OUT, "train", "validation", "calibration", "test")
"""Of copies in several splits, those in the last of these stay."""
_CLASSES_FOR_CALIBRATION_BY_CLASS = 8
MIN_CLASSES = 2
MIN_IMAGES = 2
_EPSILON = 1e-9


@dataclass(frozen=True)
class Images:
    """What splitting looks at, one item an image, sorted by path.

    Attributes:
        paths: unique ids.
        labels: class names.
        digests: of the content; equal means the same picture.
        groups: classes of one group stay together by class; "" is a group of its own.
        given: the source's own split of each image, "" where it has none.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    digests: Sequence[str]
    groups: Sequence[str]
    given: Sequence[str]


def split_images(
    images: Images,
    ratios: Sequence[float],
    split_by: str,
    calibration_share: float,
    seed: int,
) -> np.ndarray:
    """The split of every image.

    - `image`: every class is shared out by `ratios`; totals follow the ratios to within a few images.
    - `class`: no class is in two of train, validation (with calibration) and test. At least two classes each.
    - `predefined`: as the source says. Its test images are the test split; where it has validation but no test images
      and `ratios` ask for a test split, its validation images are. A missing validation split is cut from the
      training images in the proportion of the first two ratios.

    Calibration is `calibration_share` of validation: by image inside each class; by class where the split is by class
    and validation has at least 8 classes. Where that part would be too small to hold a genuine and an impostor pair,
    there is none.

    Args:
        images: what is split.
        ratios: train, validation and (where there is to be one) test; positive, of sum 1.
        split_by: how.
        calibration_share: of validation, 0 to under 1; 0 makes no calibration split.
        seed: changes what is drawn.

    Returns:
        (n,) str, a name of SPLITS or LEFT_OUT.

    Raises:
        DataError: a split would lack genuine or impostor pairs, or the source has no split of its own.
    """
    if split_by == "predefined":
        splits = _predefined(images, ratios, calibration_share, seed)
    elif split_by == "class":
        splits = _by_class(images, ratios, calibration_share, seed)
    else:
        splits = _by_image(images, range(len(images.paths)), _shares(ratios, calibration_share), seed)
    whole = list(splits)
    _leave_copies_out(images, splits)
    if lack(images.labels, splits, "calibration"):
        splits = ["validation" if split == "calibration" else split for split in splits]
    for split in SPLITS:
        wanted = split in splits or split in ("train", "validation") or (split == "test" and len(ratios) == 3)
        if wanted and (missing := lack(images.labels, splits, split)):
            raise _lacking(split, missing, split_by, whole, splits)
    return np.array(splits)


def _lacking(split: str, missing: str, split_by: str, whole: Sequence[str], splits: Sequence[str]) -> DataError:
    """Why a split cannot be used: what it lacks, and whether the source or copies in other splits are the cause."""
    do = "add images, or change split or split_by"
    if split_by == "predefined" and split not in whole:
        two = ", give `split` two numbers for no test" if split == "test" else ""
        return DataError(
            f"the data set's own split has no {split} images",
            where="split_by: predefined",
            do=f"add a {split} folder{two}, or use split_by: image",
        )
    if copies := sum(own == split != kept for own, kept in zip(whole, splits, strict=True)):
        missing += f", now that {copies:,} of its images are left out for a byte-identical one in another split"
        do = "remove the copies from the other split, or use split_by: image"
    return DataError(f"the {split} split {missing}", where="split", do=do)


def _shares(ratios: Sequence[float], calibration_share: float) -> dict[str, float]:
    shares = {"train": ratios[0], "validation": ratios[1] * (1 - calibration_share)}
    shares["calibration"] = ratios[1] * calibration_share
    if len(ratios) == 3:
        shares["test"] = ratios[2]
    return {split: share / sum(shares.values()) for split, share in shares.items() if share > 0}


def _by_image(images: Images, rows: Iterable[int], shares: Mapping[str, float], seed: int) -> list[str]:
    """Shares every class out; what rounding one class gives too much, the next gives less. Other rows: LEFT_OUT.

    The first of `shares` takes what the others, the held-out ones, leave.
    """
    splits = [LEFT_OUT] * len(images.paths)
    classes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        classes[images.labels[row]][images.digests[row]].append(row)
    sizes = {label: sum(map(len, copies.values())) for label, copies in classes.items()}
    remainder, *held_out = shares
    # In a very small data set validation and test get more than their share: enough for two classes of two images.
    enough = min(MIN_CLASSES * MIN_IMAGES / max(sum(sizes.values()), 1), 0.25)
    rates = {split: shares[split] if split == "calibration" else max(shares[split], enough) for split in held_out}
    owed = dict.fromkeys(held_out, 0.0)
    for label in sorted(classes, key=lambda label: draw(seed, label)):
        left = _takes(sizes[label], rates, owed)
        left[remainder] = sizes[label] - sum(left.values())
        for copies in sorted(classes[label].values(), key=lambda rows: (-len(rows), draw(seed, images.paths[rows[0]]))):
            split = max(left, key=left.__getitem__)
            left[split] -= len(copies)
            for row in copies:
                splits[row] = split
    _bring_copies_together(images, splits)
    return splits


def _takes(size: int, rates: Mapping[str, float], owed: dict[str, float]) -> dict[str, int]:
    """How many of a class's `size` images each held-out split takes: none, or two and more. Keeps account in `owed`."""
    takes = dict.fromkeys(rates, 0)
    room = size if size <= MIN_IMAGES else size - 1
    for split, rate in rates.items():
        owed[split] += rate * size
    for split in sorted(rates, key=lambda split: -owed[split]):
        take = math.floor(owed[split] + 0.5 + _EPSILON)
        if take < MIN_IMAGES:
            take = MIN_IMAGES if owed[split] > 1 - _EPSILON or rates[split] * size > MIN_IMAGES - _EPSILON else 0
        take = min(take, room)
        takes[split] = take if take >= MIN_IMAGES else 0
        room -= takes[split]
        owed[split] -= takes[split]
    return takes


def _by_class(images: Images, ratios: Sequence[float], calibration_share: float, seed: int) -> list[str]:
    shares = _shares(ratios, 0)
    sizes = Counter(images.labels)
    together: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(images.labels, images.groups, strict=True):
        together[f"group {group}" if group else f"class {label}"].add(label)
    waiting = [sorted(together[name]) for name in sorted(together, key=lambda name: draw(seed, name))]
    if len(waiting) < len(shares) or len(sizes) < MIN_CLASSES * len(shares):
        raise DataError(
            f"{len(sizes):,} classes in {len(waiting):,} groups are too few for class-disjoint splits",
            where="split_by",
            do=f"use split_by: image, or at least {MIN_CLASSES * len(shares)} classes",
        )
    split_of: dict[str, str] = {}
    classes = dict.fromkeys(shares, 0)
    wanted = {split: share * len(images.labels) for split, share in shares.items()}
    for labels in waiting:
        needy = [split for split in reversed(shares) if classes[split] < MIN_CLASSES]
        split = needy[0] if needy else max(reversed(wanted), key=wanted.__getitem__)
        split_of.update(dict.fromkeys(labels, split))
        classes[split] += len(labels)
        wanted[split] -= sum(sizes[label] for label in labels)
    splits = [split_of[label] for label in images.labels]
    validation = sorted(label for label, split in split_of.items() if split == "validation")
    if len(validation) < _CLASSES_FOR_CALIBRATION_BY_CLASS:
        return _with_calibration(images, splits, calibration_share, seed)
    count = max(MIN_CLASSES, round(calibration_share * len(validation))) if calibration_share else 0
    chosen = set(sorted(validation, key=lambda label: draw(seed, f"calibration {label}"))[:count])
    return ["calibration" if label in chosen else split for label, split in zip(images.labels, splits, strict=True)]


def _predefined(images: Images, ratios: Sequence[float], calibration_share: float, seed: int) -> list[str]:
    splits, given = list(images.given), set(images.given)
    if LEFT_OUT in given:
        raise DataError(
            "the data set has no split of its own",
            where="split_by: predefined",
            do="use split_by: image or class, or put the classes in train, val and test folders",
        )
    if "test" not in given and "validation" in given and len(ratios) == 3:
        splits = ["test" if split == "validation" else split for split in splits]
    if "validation" not in splits:
        training = [row for row, split in enumerate(splits) if split == "train"]
        cut = _by_image(images, training, _shares(ratios[:2], calibration_share), seed)
        return [new or old for new, old in zip(cut, splits, strict=True)]
    return splits if "calibration" in given else _with_calibration(images, splits, calibration_share, seed)


def _with_calibration(images: Images, splits: list[str], calibration_share: float, seed: int) -> list[str]:
    """Cuts the calibration part out of validation, by image inside each class."""
    if not calibration_share:
        return splits
    validation = [row for row, split in enumerate(splits) if split == "validation"]
    shares = {"validation": 1 - calibration_share, "calibration": calibration_share}
    cut = _by_image(images, validation, shares, seed)
    return [new or old for new, old in zip(cut, splits, strict=True)]


def _rows_of_copies(images: Images) -> list[list[int]]:
    """Rows with the same content, for each content that is there more than once."""
    times = Counter(images.digests)  # first, so that a million images without copies make no million lists
    rows: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(images.digests):
        if times[digest] > 1:
            rows[digest].append(row)
    return list(rows.values())


def _bring_copies_together(images: Images, splits: list[str]) -> None:
    """Copies under different labels follow the first of them."""
    for copies in _rows_of_copies(images):
        placed = [row for row in copies if splits[row] != LEFT_OUT]
        for row in placed:
            splits[row] = splits[placed[0]]


def _leave_copies_out(images: Images, splits: list[str]) -> None:
    for copies in _rows_of_copies(images):
        kept = max((splits[row] for row in copies), key=_KEEPING.index)
        for row in copies:
            if splits[row] != kept:
                splits[row] = LEFT_OUT


def lack(labels: Iterable[Hashable], splits: Iterable[str], split: str) -> str:
    """What a split lacks for there to be genuine and impostor pairs in it; "" where it lacks nothing."""
    sizes = Counter(label for label, own in zip(labels, splits, strict=True) if own == split)
    if not sizes:
        return "has no images"
    if len(sizes) < MIN_CLASSES:
        return "has images of one class only, so no impostor pair"
    if max(sizes.values()) < MIN_IMAGES:
        return "has no two images of one class, so no genuine pair"
    return ""


def draw(seed: int, name: str) -> str:
    """Orders names at random, the same way everywhere."""
    return digest_bytes(f"{seed} {name}".encode(errors="surrogateescape"))
