"""Folds: every image is held out once, classes or copies are never on both sides, calibration and test stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imagematch.config import parse_train
from imagematch.data import Dataset, class_disjoint, fold_datasets, open_dataset
from imagematch.errors import DataError


def dataset(
    sizes: Sequence[int], *, by: str = "image", splits: Sequence[str] = (), groups: Sequence[str] = (), copies: int = 0
) -> Dataset:
    """Classes of these sizes, all train where no `splits` are given; the first image of each of `copies` classes is
    the same."""
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    n = len(labels)
    digests = [f"d{row}" for row in range(n)]
    for label in range(copies):
        digests[int(np.flatnonzero(labels == label)[0])] = "copy"
    ones = np.ones(n, dtype=np.int32)
    return Dataset(
        name="made",
        class_names=tuple(f"c{number:03d}" for number in range(len(sizes))),
        paths=np.array([f"p{row:05d}" for row in range(n)]),
        labels=labels,
        splits=np.array(splits or ["train"] * n),
        digests=np.array(digests),
        widths=ones,
        heights=ones,
        modes=np.array(["L"] * n),
        split_by=by,
        superclasses=tuple(groups),
    )


def held_out(made: list[Dataset]) -> list[set[int]]:
    return [set(one.rows("validation").tolist()) for one in made]


@pytest.mark.parametrize("by", ["image", "class"])
@pytest.mark.parametrize("folds", [2, 4, 5])
def test_every_image_is_held_out_once_and_trained_on_in_the_other_folds(by: str, folds: int) -> None:
    of = dataset([20] * 12, by=by)
    made = fold_datasets(of, folds, seed=3)
    assert sorted(row for rows in held_out(made) for row in rows) == list(range(240))
    for one, rows in zip(made, held_out(made), strict=True):
        assert set(one.rows("train").tolist()) == set(range(240)) - rows
        assert abs(len(rows) - 240 / folds) <= 20


def test_by_class_no_class_is_on_both_sides() -> None:
    for one in fold_datasets(dataset([3, 9, 5, 20, 2, 8, 4, 11, 6, 7], by="class"), 4, seed=0):
        train, judged = (set(one.labels[one.rows(split)]) for split in ("train", "validation"))
        assert not train & judged
        assert len(judged) >= 2


def test_groups_of_classes_stay_together() -> None:
    groups = [f"g{number // 3}" for number in range(18)]
    for one in fold_datasets(dataset([6] * 18, by="class", groups=groups), 3, seed=1):
        judged = {groups[label] for label in one.labels[one.rows("validation")]}
        assert not judged & {groups[label] for label in one.labels[one.rows("train")]}


def test_by_image_every_class_is_dealt_out_evenly() -> None:
    for one in fold_datasets(dataset([20, 21, 22, 40]), 4, seed=0):
        counts = np.bincount(one.labels[one.rows("validation")])
        assert counts.tolist()[0] == 5
        assert counts.tolist()[3] == 10
        assert {5, 6} >= set(counts.tolist()[1:3])


def test_by_image_a_fold_has_none_or_two_images_of_a_class() -> None:
    for one in fold_datasets(dataset([2, 3, 4, 5, 7, 9, 30, 30]), 5, seed=0):
        counts = np.bincount(one.labels[one.rows("validation")])
        assert not (counts == 1).any()


@pytest.mark.parametrize("by", ["image", "class"])
def test_copies_never_train_and_judge_in_one_fold(by: str) -> None:
    of = dataset([10] * 8, by=by, copies=8)
    for one in fold_datasets(of, 4, seed=0):
        train, judged = (set(of.digests[one.rows(split)]) for split in ("train", "validation"))
        assert not train & judged


def test_calibration_and_test_stay() -> None:
    splits = np.array((["train"] * 6 + ["validation"] * 4 + ["calibration"] * 2 + ["test"] * 3) * 4)
    of = dataset([15] * 4, splits=splits.tolist())
    for one in fold_datasets(of, 3, seed=0):
        for split in ("calibration", "test"):
            assert one.rows(split).tolist() == of.rows(split).tolist()


def test_predefined_splits_decide_by_themselves() -> None:
    shared = dataset([4, 4], by="predefined", splits=["train", "train", "validation", "validation"] * 2)
    apart = dataset([4, 4], by="predefined", splits=["train"] * 4 + ["validation"] * 4)
    assert not class_disjoint(shared)
    assert class_disjoint(apart)


def test_the_seed_decides_what_is_drawn() -> None:
    of = dataset([20] * 6)
    assert held_out(fold_datasets(of, 3, seed=0)) == held_out(fold_datasets(of, 3, seed=0))
    assert held_out(fold_datasets(of, 3, seed=0)) != held_out(fold_datasets(of, 3, seed=1))


def test_too_many_folds_are_refused_in_words() -> None:
    with pytest.raises(DataError, match=r"fold 4 of 4: the validation part has images of one class only"):
        fold_datasets(dataset([20] * 7, by="class"), 4, seed=0)


def test_one_half_in_folds_the_other_half_test(tmp_path: Path) -> None:
    """Class-disjoint cross-validation over one half of the classes; the other half is never touched."""
    settings = parse_train(
        {"experiment_name": "x", "dataset": "digits", "split_by": "class", "split": [0.4, 0.2, 0.4], "seed": 1}
    )
    of = open_dataset(settings, manifest_dir=tmp_path)
    test = set(of.labels[of.rows("test")])
    for one in fold_datasets(of, 3, seed=1):
        assert not test & set(one.labels[np.isin(one.splits, ("train", "validation"))])
