"""Batches: their shape, their fairness, their reproducibility."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagematch.config import parse_train
from imagematch.errors import ConfigError, DataError
from imagematch.training import ClassBalancedBatches, RandomBatches, check_batch_classes, plan_batches


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12),
    classes=st.integers(2, 15),
    images=st.integers(1, 8),
    epoch=st.integers(0, 3),
)
def test_every_batch_has_p_classes_of_k_images(sizes: list[int], classes: int, images: int, epoch: int) -> None:
    labels = labels_of(sizes)
    plan = ClassBalancedBatches(labels, classes, images, seed=1)
    batches = plan.epoch(epoch)
    p, k = min(classes, len(sizes)), min(images, max(sizes))
    assert batches.shape == (plan.steps, p * k)
    for batch in batches:
        groups = labels[batch].reshape(p, k)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == p
        for group, label in zip(batch.reshape(p, k), groups[:, 0], strict=True):
            assert len(set(group)) == min(k, sizes[label])


@given(sizes=st.lists(st.integers(4, 30), min_size=3, max_size=8))
def test_no_image_comes_twice_before_all_of_its_class_came_once(sizes: list[int]) -> None:
    labels = labels_of(sizes)
    shown = ClassBalancedBatches(labels, 2, 2, seed=0).epoch(0).ravel()
    for label, size in enumerate(sizes):
        own = shown[labels[shown] == label]
        assert len(set(own[:size])) == min(size, len(own))


@given(sizes=st.lists(st.integers(2, 20), min_size=2, max_size=9), classes=st.integers(2, 9))
def test_classes_come_equally_often(sizes: list[int], classes: int) -> None:
    labels = labels_of(sizes)
    batches = ClassBalancedBatches(labels, classes, 2, seed=0).epoch(0)
    times = np.bincount(labels[batches[:, ::2]].ravel(), minlength=len(sizes))
    assert times.max() - times.min() <= 1


def test_an_epoch_shows_about_as_many_images_as_there_are() -> None:
    labels = labels_of([50] * 20)
    assert ClassBalancedBatches(labels, 10, 4, seed=0).epoch(0).size == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("plan", [ClassBalancedBatches(labels_of([9] * 5), 3, 2, 7), RandomBatches(45, 8, 7)])
def test_the_same_epoch_is_the_same_and_others_differ(plan: ClassBalancedBatches | RandomBatches) -> None:
    np.testing.assert_array_equal(plan.epoch(3), plan.epoch(3))
    assert (plan.epoch(3) != plan.epoch(4)).any()


def test_random_batches_are_a_permutation_without_the_remainder() -> None:
    batches = RandomBatches(21, 4, seed=0).epoch(0)
    assert batches.shape == (5, 4)
    assert len(set(batches.ravel())) == 20
    assert RandomBatches(3, 100, seed=0).epoch(0).shape == (1, 3)


def test_the_settings_choose_the_plan() -> None:
    labels = labels_of([10] * 4)
    base = {"experiment_name": "x"}
    assert plan_batches(parse_train(base), labels, 0).epoch(0).shape[1] == 16
    assert isinstance(plan_batches(parse_train({**base, "batch_size": 8}), labels, 0), RandomBatches)
    with pytest.raises(DataError, match="two classes"):
        plan_batches(parse_train(base), np.zeros(5, dtype=int), 0)


def test_offline_triplets_show_about_as_many_images_as_there_are_and_follow_the_embeddings() -> None:
    labels = labels_of([50] * 4)
    settings = parse_train({"experiment_name": "x", "loss": "triplet_offline", "batch_size": 32})
    points = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    calls = []

    def embed() -> np.ndarray:
        calls.append(1)
        return points

    plan = plan_batches(settings, labels, 5, embed)
    batches = plan.epoch(0)
    assert batches.shape == (plan.steps, 30)
    assert batches.size == pytest.approx(200, rel=0.1)
    triplets = batches.reshape(-1, 3)
    assert (labels[triplets[:, 0]] == labels[triplets[:, 1]]).all()
    assert (labels[triplets[:, 0]] != labels[triplets[:, 2]]).all()
    assert len(calls) == 1
    near, far = (np.linalg.norm(points[triplets[:, 0]] - points[triplets[:, i]], axis=1) for i in (1, 2))
    assert np.median(np.abs(far - near)) < 0.1  # semi-hard, not any
    points *= -np.linspace(1, 5, 200, dtype=np.float32)[:, None]
    assert (plan.epoch(0) != batches).any()


def test_offline_triplets_need_a_class_with_two_images() -> None:
    settings = parse_train({"experiment_name": "x", "loss": "triplet_offline"})
    with pytest.raises(DataError, match="needs a class with two images"):
        plan_batches(settings, np.arange(5), 0)


def test_more_classes_in_a_batch_than_there_are_is_refused_where_they_were_asked_for() -> None:
    labels = labels_of([10] * 4)
    check_batch_classes(parse_train({"experiment_name": "x"}), labels)
    check_batch_classes(parse_train({"experiment_name": "x", "batch_classes": 4}), labels)
    stages = [{"batch_classes": 4}, {"trainable": 2, "batch_classes": 5}]
    for asked, values in ((5, {"batch_classes": 5}), (64, {"batch_classes": 64}), (5, {"stages": stages})):
        with pytest.raises(ConfigError, match=f"batch_classes: a batch of {asked} classes cannot be drawn from 4"):
            check_batch_classes(parse_train({"experiment_name": "x", **values}), labels)
