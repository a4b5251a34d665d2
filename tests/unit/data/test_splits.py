"""Splits: totals, pairs, disjointness, copies, determinism."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagematch.data import SPLITS
from imagematch.data.splits import SplitRules, split_images
from imagematch.data.stratified import LEFT_OUT, draw
from imagematch.errors import DataError
from imagematch.sources import ImageRow

RATIOS = (0.7, 0.2, 0.1)


@dataclass
class Images:
    """The columns that splitting looks at; `groups` are those of classes."""

    paths: Sequence[str]
    labels: Sequence[str]
    digests: Sequence[str]
    groups: Sequence[str]
    given: Sequence[str]

    def rows(self) -> list[ImageRow]:
        columns = zip(self.paths, self.labels, self.digests, self.groups, self.given, strict=True)
        return [ImageRow(path, label, own, digest=d, superclass=group) for path, label, d, group, own in columns]


def images(sizes: Sequence[int], *, groups: int = 0, given: str = "", digests: dict[int, str] | None = None) -> Images:
    """Classes of these sizes; every `groups` classes one group; `given` splits all alike; `digests` by row."""
    labels = [f"c{number:03d}" for number, size in enumerate(sizes) for _ in range(size)]
    paths = [f"{label}/{row:05d}" for row, label in enumerate(labels)]
    own = [(digests or {}).get(row, f"d{row}") for row in range(len(labels))]
    grouped = [f"g{int(label[1:]) // groups}" if groups else "" for label in labels]
    return Images(paths, labels, own, grouped, [given] * len(labels))


def split(
    of: Images, by: str = "image", ratios: Sequence[float] = RATIOS, share: float = 0.25, seed: int = 0
) -> np.ndarray:
    return split_images(of.rows(), SplitRules(ratios, by, share, seed))


def counts(splits: np.ndarray) -> list[int]:
    return [int(np.count_nonzero(splits == name)) for name in SPLITS]


def classes_of(of: Images, splits: np.ndarray, *names: str) -> set[str]:
    return {label for label, own in zip(of.labels, splits, strict=True) if own in names}


class TestByImage:
    def test_each_class_is_shared_out_exactly_where_it_can_be(self) -> None:
        of = images([100] * 7)
        splits = split(of)
        for label in set(of.labels):
            assert counts(splits[np.array(of.labels) == label]) == [70, 15, 5, 10]

    @pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 10, 13, 20])
    def test_totals_follow_the_ratios_whatever_the_size_of_classes(self, size: int) -> None:
        of = images([size] * (1000 // size))
        total = len(of.labels)
        expected = np.array([0.7, 0.15, 0.05, 0.1]) * total
        assert np.abs(np.array(counts(split(of))) - expected).max() <= 0.01 * total + 2

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 40), min_size=20, max_size=60), st.integers(0, 5))
    def test_no_lone_image_is_held_out(self, sizes: list[int], seed: int) -> None:
        of = images([*sizes, 40, 40])
        splits = split(of, seed=seed)
        for name in SPLITS[1:]:
            kept = Counter(label for label, own in zip(of.labels, splits, strict=True) if own == name)
            if name != "validation":  # what calibration leaves of a class of three may be one
                assert 1 not in kept.values()
            assert max(kept.values(), default=2) >= 2
        assert LEFT_OUT not in splits

    def test_a_large_enough_class_is_in_every_split(self) -> None:
        of = images([40, 41, 57, 99, 173, 400])
        for name in SPLITS:
            assert len(classes_of(of, split(of), name)) == 6

    def test_small_data_sets_still_have_pairs(self) -> None:
        of = images([5] * 4)
        splits = split(of)
        for name in ("train", "validation", "test"):
            assert len(classes_of(of, splits, name)) >= 2

    def test_independent_of_file_order_and_stable_against_new_files(self) -> None:
        of = images([30, 40, 50])
        order = np.random.default_rng(3).permutation(len(of.labels))
        columns = [of.paths, of.labels, of.digests, of.groups, of.given]
        shuffled = Images(*([column[row] for row in order] for column in columns))
        assert np.array_equal(split(shuffled), split(of)[order])

    def test_known_answer_on_every_platform(self) -> None:
        letters = {"train": ".", "validation": "v", "calibration": "c", "test": "t"}
        known = "v.vv.v....t.....t...v....tv..t"
        assert "".join(letters[name] for name in split(images([10, 10, 10]))) == known

    def test_seeds_differ(self) -> None:
        of = images([20] * 5)
        assert not np.array_equal(split(of, seed=0), split(of, seed=1))
        assert np.array_equal(split(of, seed=1), split(of, seed=1))

    def test_copies_stay_together(self) -> None:
        of = images(
            [20] * 6, digests={row: f"same{row // 3}" for row in range(60)} | {70: "two labels", 100: "two labels"}
        )
        for seed in range(5):
            splits = split(of, seed=seed)
            for digest in set(of.digests):
                assert len({own for own, d in zip(splits, of.digests, strict=True) if d == digest}) == 1
            assert LEFT_OUT not in splits

    def test_two_ratios_make_no_test_split(self) -> None:
        assert counts(split(images([20] * 10), ratios=(0.8, 0.2))) == [160, 30, 10, 0]

    def test_no_calibration_share(self) -> None:
        assert counts(split(images([20] * 10), share=0)) == [140, 40, 0, 20]

    def test_calibration_too_small_for_pairs_stays_in_validation(self) -> None:
        assert counts(split(images([10] * 3), share=0.01))[2] == 0

    def test_one_image_a_class(self) -> None:
        with pytest.raises(DataError, match="the train split has no two images of one class, so no genuine pair"):
            split(images([1] * 50))


class TestByClass:
    def test_disjoint_classes_and_totals(self) -> None:
        of = images([10] * 100)
        splits = split(of, "class")
        assert counts(splits) == [700, 150, 50, 100]
        parts = [classes_of(of, splits, name) for name in SPLITS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 100

    def test_totals_follow_images_where_classes_differ_in_size(self) -> None:
        of = images(np.random.default_rng(0).integers(5, 200, 120).tolist())
        shares = np.array(counts(split(of, "class"))) / len(of.labels)
        assert np.allclose(shares, [0.7, 0.15, 0.05, 0.1], atol=0.03)

    def test_few_classes_have_two_in_every_split_and_calibration_by_image(self) -> None:
        of = images([40] * 10)
        splits = split(of, "class")
        parts = [classes_of(of, splits, name) for name in SPLITS]
        assert list(map(len, parts)) == [6, 2, 2, 2]
        assert parts[1] == parts[2]
        assert not parts[0] & (parts[1] | parts[3])
        assert not parts[1] & parts[3]

    @settings(deadline=None)
    @given(st.lists(st.integers(2, 30), min_size=6, max_size=40), st.integers(1, 2), st.integers(0, 5))
    def test_against_a_naive_loop(self, sizes: list[int], in_group: int, seed: int) -> None:
        of = images(sizes, groups=in_group)
        of_group: dict[str, list[str]] = {}
        for label, group in dict(zip(of.labels, of.groups, strict=True)).items():
            of_group.setdefault(group, []).append(label)
        wanted = {"train": 0.6 * sum(sizes), "validation": 0.25 * sum(sizes), "test": 0.15 * sum(sizes)}
        placed: dict[str, str] = {}
        for group in sorted(of_group, key=lambda group: draw(seed, f"group {group}")):
            few = [name for name in ("test", "validation", "train") if list(placed.values()).count(name) < 2]
            name = few[0] if few else max(("test", "validation", "train"), key=wanted.__getitem__)
            placed.update(dict.fromkeys(of_group[group], name))
            wanted[name] -= sum(label in of_group[group] for label in of.labels)
        splits = split(of, "class", ratios=(0.6, 0.25, 0.15), share=0, seed=seed)
        assert splits.tolist() == [placed[label] for label in of.labels]

    def test_groups_stay_whole(self) -> None:
        of = images([6] * 60, groups=4)
        splits = split(of, "class")
        for names in (("train",), ("validation", "calibration"), ("test",)):
            others = set(SPLITS) - set(names)
            groups = {g for g, own in zip(of.groups, splits, strict=True) if own in names}
            assert groups
            assert not groups & {g for g, own in zip(of.groups, splits, strict=True) if own in others}

    def test_copies_under_labels_of_two_splits_leave_training(self) -> None:
        of = images([10] * 20, digests=dict.fromkeys(range(0, 200, 10), "everywhere"))
        splits = split(of, "class")
        kept = {own for own, digest in zip(splits, of.digests, strict=True) if digest == "everywhere"}
        assert kept == {"test", LEFT_OUT}
        assert np.count_nonzero(splits == LEFT_OUT) == 18

    def test_too_few_classes(self) -> None:
        with pytest.raises(DataError, match=r"5 classes .* too few for class-disjoint splits; .* at least 6 classes"):
            split(images([50] * 5), "class")
        assert counts(split(images([50] * 5), "class", ratios=(0.6, 0.4)))[3] == 0


class TestPredefined:
    def with_given(self, of: Images, *names: str) -> Images:
        """Every class has the first 10 images in the first split, the next 10 in the second, ..."""
        given = [names[row // 10 % len(names)] for row in range(len(of.labels))]
        return Images(of.paths, of.labels, of.digests, of.groups, given)

    def test_train_validation_test(self) -> None:
        of = self.with_given(images([30] * 4), "train", "validation", "test")
        assert counts(split(of, "predefined")) == [40, 30, 10, 40]

    def test_the_held_out_part_tests_where_there_is_but_one(self) -> None:
        for name in ("validation", "test"):
            of = self.with_given(images([20] * 9), "train", name)
            splits = split(of, "predefined")
            assert np.allclose(counts(splits), [70, 15, 5, 90], atol=2)
            assert [own == "test" for own in splits] == [own == name for own in of.given]

    def test_two_ratios_keep_validation(self) -> None:
        of = self.with_given(images([20] * 4), "train", "validation")
        assert counts(split(of, "predefined", ratios=(0.8, 0.2))) == [40, 30, 10, 0]

    def test_given_calibration_is_kept(self) -> None:
        of = self.with_given(images([40] * 4), *SPLITS)
        assert np.array_equal(split(of, "predefined"), of.given)

    def test_copies_leave_training_and_the_test_split_stays_whole(self) -> None:
        of = self.with_given(images([30] * 4, digests={0: "same", 20: "same"}), "train", "validation", "test")
        splits = split(of, "predefined")
        assert splits[0] == LEFT_OUT
        assert splits[20] == "test"

    def test_no_split_of_its_own(self) -> None:
        with pytest.raises(DataError, match="split_by: predefined: the data set has no split of its own"):
            split(images([20] * 4), "predefined")

    def test_no_training_images(self) -> None:
        with pytest.raises(DataError, match="own split has no train images; add a train folder, or use split_by: im"):
            split(images([20] * 4, given="test"), "predefined")

    def test_training_images_alone_say_how_to_do_without_a_test(self) -> None:
        of = images([20] * 4, given="train")
        with pytest.raises(DataError, match=r"has no test images; add a test folder, give `split` two numbers for no"):
            split(of, "predefined")
        assert counts(split(of, "predefined", ratios=(0.8, 0.2)))[3] == 0

    def test_copies_that_empty_a_split_are_named_as_the_cause(self) -> None:
        copies = {row: f"copy {row % 10} {row // 30}" for row in range(120) if row % 30 < 20}
        of = self.with_given(images([30] * 4, digests=copies), "validation", "test", "train")
        told = "validation split has no images, now that 30 of its images are left out for a byte-identical one"
        with pytest.raises(DataError, match=told):
            split(of, "predefined")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [([20, 1, 1], "one class only"), ([20], "one class only, so no impostor pair; add images, or change split")],
)
def test_splits_without_pairs_are_refused(sizes: list[int], told: str) -> None:
    with pytest.raises(DataError, match=told):
        split(images(sizes))
