"""Cross-validation: the images that train and select, cut into folds. Calibration and test stay as they are.

As in `splits`, what is drawn depends on the seed and on names, and neither byte-identical images nor those of a group
train one fold's model and measure it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace

import numpy as np

from imagematch.data.dataset import Dataset
from imagematch.data.stratified import LEFT_OUT, MIN_CLASSES, MIN_IMAGES, DisjointSets, draw, lack
from imagematch.errors import DataError


def fold_datasets(dataset: Dataset, folds: int, seed: int) -> list[Dataset]:
    """The data set once for each fold: that fold of the train and validation images is `validation`, the rest `train`.

    Class-disjoint where the data set's own train and validation splits share no class (by class, or predefined so):
    whole classes, or groups of them, are dealt out. Else stratified: each class is dealt out evenly, and a fold has
    none or at least two images of a class.

    Args:
        dataset: as it was split.
        folds: how many, 2 or more.
        seed: changes what is drawn.

    Raises:
        DataError: a fold would lack genuine or impostor pairs.
    """
    pool = np.flatnonzero(np.isin(dataset.splits, ("train", "validation")))
    fold_of = (
        _by_class(dataset, pool, folds, seed) if class_disjoint(dataset) else _by_image(dataset, pool, folds, seed)
    )
    units_of = dataset.digests if dataset.groups is None else dataset.groups
    made = []
    for fold in range(folds):
        splits = dataset.splits.astype(object)
        splits[pool] = np.where(fold_of == fold, "validation", "train")
        held_out = set(units_of[pool[fold_of == fold]])
        copies = [row for row in pool[fold_of != fold] if units_of[row] in held_out]
        splits[copies] = LEFT_OUT
        for split in ("train", "validation"):
            if missing := lack(dataset.labels.tolist(), splits.tolist(), split):
                raise DataError(
                    f"fold {fold + 1} of {folds}: the {split} part {missing}", where="folds", do="ask for fewer folds"
                )
        made.append(replace(dataset, splits=splits.astype(str)))
    return made


def class_disjoint(dataset: Dataset) -> bool:
    """Whether the train and validation images have no class in common, because they were split so."""
    if dataset.split_by == "predefined":
        train, validation = (set(dataset.labels[dataset.rows(split)]) for split in ("train", "validation"))
        return not train & validation
    return dataset.split_by == "class"


def _by_class(dataset: Dataset, pool: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(len(pool),) fold of each row: in a random order, each group of classes goes where the fewest images are."""
    above = dataset.superclasses or ("",) * len(dataset.class_names)
    tied = DisjointSets(len(dataset.class_names))
    for rows in () if dataset.groups is None else _grouped(dataset.groups[pool]).values():
        for row in rows:
            tied.join(int(dataset.labels[pool[rows[0]]]), int(dataset.labels[pool[row]]))
    together: dict[str, set[int]] = defaultdict(set)
    for label in np.unique(dataset.labels[pool]):
        first = tied.of(int(label))
        together[f"group {above[first]}" if above[first] else f"class {dataset.class_names[first]}"].add(int(label))
    sizes = np.bincount(dataset.labels[pool], minlength=len(dataset.class_names))
    fold_of_label = np.full(len(dataset.class_names), -1)
    classes, images = [0] * folds, [0] * folds
    for name in sorted(together, key=lambda name: draw(seed, f"fold {name}")):
        fold = min(range(folds), key=lambda fold: (min(classes[fold], MIN_CLASSES), images[fold]))
        for label in together[name]:
            fold_of_label[label] = fold
            classes[fold] += 1
            images[fold] += int(sizes[label])
    return fold_of_label[dataset.labels[pool]]


def _by_image(dataset: Dataset, pool: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(len(pool),) fold of each row: every class is dealt out, what belongs together at once, to the emptiest folds."""
    fold_of = np.full(len(pool), -1)
    filled = np.zeros(folds, dtype=np.int64)
    units_of = dataset.digests if dataset.groups is None else dataset.groups
    for members in _grouped(dataset.labels[pool]).values():
        takers = max(1, min(folds, len(members) // MIN_IMAGES))
        open_folds = np.argsort(filled, kind="stable")[:takers]
        taken = dict.fromkeys(open_folds.tolist(), 0)
        units = _grouped(units_of[pool[members]]).values()
        for unit in sorted(
            units, key=lambda unit: (-len(unit), draw(seed, f"fold {dataset.paths[pool[members[unit[0]]]]}"))
        ):
            fold = min(taken, key=taken.__getitem__)
            fold_of[members[unit]] = fold
            taken[fold] += len(unit)
            filled[fold] += len(unit)
    return fold_of


def _grouped(values: Iterable[Hashable]) -> dict[Hashable, np.ndarray]:
    """Value -> the indices where it stands, in order of first appearance."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position, value in enumerate(values):
        found[value].append(position)
    return {value: np.array(indices) for value, indices in found.items()}
