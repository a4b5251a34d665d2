"""Our losses against pytorch-metric-learning's, value and gradient, wherever the definitions agree.

Where they differ, and why:

- triplet_semihard: the peer's "semihard" miner takes every negative that is further than the positive and within the
  margin, and drops a pair that has none; ours, as FaceNet's and TensorFlow Addons', takes one negative a pair, the
  nearest further one or else the furthest. Over the same triplets, averaged with zeros, the two agree.
- triplet_hard: the peer's default reducer leaves zeros out of the mean; ours, as the paper's, counts them. With its
  `MeanReducer` the two agree.
- contrastive: the peer's terms are D and margin - D, ours their squares, as in the paper; and ours halves the sum of
  the two means. Over the peer's own terms, squared, the two agree.
- n_pairs: the peer takes one pair of each class, against the other classes' positives only, by products of free
  length; ours takes every positive pair against every image of another class, by scaled cosines.
- nt_xent: the peer's `NTXentLoss` leaves an anchor's other positives out of the denominator; its `SupConLoss` has them
  in, and agrees. With two images a class both do.
- circle: the peer leaves an anchor whose loss has rounded down to 0 out of the mean. On these inputs none does.
- arcface: the peer (2.9) takes the margin in degrees.
- cross-batch memory: the peer compares a batch with copies of itself in the memory, which are constants: the value is
  the same, as long as the memory holds both, and the gradient is not.
- soft_nearest_neighbour is the peer's `NCALoss` with softmax_scale 1 / T.

It runs where torch, pytorch-metric-learning and TensorFlow are installed together; none of our requirements has the
first two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import PROXY_LOSSES
from imagematch.losses import CrossBatchMemory, loss_class

torch = pytest.importorskip("torch", reason="the peer's losses need torch")
peer = pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from pytorch_metric_learning import distances, losses, miners, reducers  # noqa: E402

DIM, CLASSES = 16, 6
BALANCED = np.repeat(np.arange(CLASSES), 4)
PAIRS = np.repeat(np.arange(12), 2) % CLASSES + CLASSES * (np.arange(24) >= 12)
UNEVEN = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 5, 5, 5, 5])

Peer = Callable[..., Any]
"""(embeddings, labels) of torch -> scalar."""


def points(labels: np.ndarray) -> np.ndarray:
    """(n, DIM) in clusters that overlap, so that there are terms above and under each margin."""
    random = np.random.default_rng(3)
    centres = random.standard_normal((labels.max() + 1, DIM))
    return centres[labels] + random.standard_normal((len(labels), DIM))


def ours(loss: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Value, and gradients by the embeddings before normalisation and by the proxies."""
    raw = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = loss(tf.math.l2_normalize(raw, 1), tf.constant(y)).loss
    return float(value), [np.asarray(g) for g in tape.gradient(value, [raw, *loss.trainable_variables])]


def theirs(loss: Peer, x: np.ndarray, y: np.ndarray, *learnt: Any) -> tuple[float, list[np.ndarray]]:
    raw = torch.tensor(x, requires_grad=True)
    value = loss(raw, torch.tensor(y))
    value.backward()
    return value.item(), [raw.grad.numpy(), *(parameter.grad.numpy() for parameter in learnt)]


def mined(miner: Any, loss: Any) -> Peer:
    return lambda x, y: loss(x, y, miner(x, y))


def squared() -> Any:
    return distances.LpDistance(power=2)


def mean() -> Any:
    return reducers.MeanReducer()


TRIPLET = losses.TripletMarginLoss
PAIR_PEERS: dict[str, tuple[str, dict[str, Any], Callable[[], Peer]]] = {
    "all": ("triplet_all", {"margin": 0.2}, lambda: TRIPLET(margin=0.2)),
    "all, softplus": (
        "triplet_all",
        {"triplet_hinge": "softplus"},
        lambda: TRIPLET(margin=0, smooth_loss=True),
    ),
    "all, squared": (
        "triplet_all",
        {"margin": 0.3, "loss_distance": "squared_euclidean"},
        lambda: TRIPLET(margin=0.3, distance=squared()),
    ),
    "hard": (
        "triplet_hard",
        {"margin": 0.2},
        lambda: mined(miners.BatchHardMiner(), TRIPLET(margin=0.2, reducer=mean())),
    ),
    "lifted structure": ("lifted_structure", {"margin": 1.0}, lambda: losses.LiftedStructureLoss(neg_margin=1)),
    "supervised contrastive": ("nt_xent", {"temperature": 0.1}, lambda: losses.SupConLoss(temperature=0.1)),
    "multi-similarity": (
        "multi_similarity",
        {},
        lambda: mined(miners.MultiSimilarityMiner(epsilon=0.1), losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)),
    ),
    "circle": ("circle", {}, lambda: losses.CircleLoss(m=0.4, gamma=80)),
    "soft nearest neighbour": (
        "soft_nearest_neighbour",
        {"temperature": 0.5},
        lambda: losses.NCALoss(softmax_scale=2),
    ),
}


@pytest.mark.parametrize("labels", [BALANCED, PAIRS, UNEVEN], ids=["4 of each", "2 of each", "uneven"])
@pytest.mark.parametrize("case", PAIR_PEERS)
def test_pair_losses(case: str, labels: np.ndarray) -> None:
    name, options, make_peer = PAIR_PEERS[case]
    x = points(labels)
    value, gradients = ours(loss_class(name)(**options), x, labels)
    expected, slopes = theirs(make_peer(), x, labels)
    assert value > 0
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradients[0], slopes[0], rtol=1e-5, atol=1e-8)


def test_nt_xent_of_two_images_a_class_is_the_peers_too() -> None:
    x = points(PAIRS)
    value, gradients = ours(loss_class("nt_xent")(temperature=0.2), x, PAIRS)
    expected, slopes = theirs(losses.NTXentLoss(temperature=0.2), x, PAIRS)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradients[0], slopes[0], rtol=1e-5, atol=1e-8)


PROXY_PEERS: dict[str, tuple[dict[str, Any], Callable[[], Any], str]] = {
    "normalised_softmax": (
        {"temperature": 0.05},
        lambda: losses.NormalizedSoftmaxLoss(CLASSES, DIM, temperature=0.05),
        "W",
    ),
    "cosface": ({"scale": 64.0, "margin": 0.35}, lambda: losses.CosFaceLoss(CLASSES, DIM, margin=0.35, scale=64), "W"),
    "arcface": (
        {"scale": 64.0, "angle": 0.5},
        lambda: losses.ArcFaceLoss(CLASSES, DIM, margin=float(np.degrees(0.5)), scale=64),
        "W",
    ),
    "proxy_nca": ({"temperature": 1 / 9}, lambda: losses.ProxyNCALoss(CLASSES, DIM, softmax_scale=9), "proxies"),
    "proxy_anchor": (
        {"scale": 32.0, "margin": 0.1},
        lambda: losses.ProxyAnchorLoss(CLASSES, DIM, margin=0.1, alpha=32),
        "proxies",
    ),
}


@pytest.mark.parametrize("labels", [BALANCED, UNEVEN, BALANCED[:12]], ids=["balanced", "uneven", "classes missing"])
@pytest.mark.parametrize("name", PROXY_LOSSES)
def test_proxy_losses(name: str, labels: np.ndarray) -> None:
    options, make_peer, learnt = PROXY_PEERS[name]
    x = points(labels)
    loss, their_loss = loss_class(name)(n_classes=CLASSES, embedding_dim=DIM, **options), make_peer()
    proxies = loss.proxies.numpy().astype(float)
    parameter = getattr(their_loss, learnt)
    parameter.data = torch.tensor(proxies.T.copy() if learnt == "W" else proxies)
    value, (gradient, by_proxies) = ours(loss, x, labels)
    expected, (slopes, their_by_proxies) = theirs(their_loss, x, labels, parameter)
    assert value > 0
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-7)
    by_their_proxies = their_by_proxies.T if learnt == "W" else their_by_proxies
    np.testing.assert_allclose(by_proxies, by_their_proxies, rtol=1e-4, atol=1e-6)  # our proxies are float32


def semi_hard_triplets(x: np.ndarray, y: np.ndarray) -> tuple[Any, Any, Any]:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    triplets = []
    for a, p in zip(*np.nonzero((y[:, None] == y) & ~np.eye(len(y), dtype=bool)), strict=True):
        negatives = np.flatnonzero(y != y[a])
        further = negatives[distance[a, negatives] > distance[a, p]]
        by_distance = lambda n, a=a: distance[a, n]  # noqa: E731
        triplets.append((a, p, min(further, key=by_distance) if len(further) else max(negatives, key=by_distance)))
    return tuple(torch.tensor(column) for column in zip(*triplets, strict=True))


@pytest.mark.parametrize("labels", [BALANCED, UNEVEN], ids=["balanced", "uneven"])
def test_semi_hard_over_the_same_triplets(labels: np.ndarray) -> None:
    x, margin = points(labels), 0.2
    value, gradients = ours(loss_class("triplet_semihard")(margin=margin), x, labels)
    triplets = semi_hard_triplets(x, labels)
    over_them = TRIPLET(margin=margin, reducer=mean())
    expected, slopes = theirs(lambda x, y: over_them(x, y, triplets), x, labels)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradients[0], slopes[0], rtol=1e-5, atol=1e-8)


def test_the_peers_semi_hard_miner_drops_pairs_that_ours_keeps() -> None:
    x = points(BALANCED)
    miner = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    anchors, positives, _ = miner(torch.tensor(x), torch.tensor(BALANCED))
    pairs = len(set(zip(anchors.tolist(), positives.tolist(), strict=True)))
    loss = loss_class("triplet_semihard")(margin=0.2)
    assert pairs < float(loss(tf.math.l2_normalize(tf.constant(x), 1), BALANCED).terms)


def test_offline_triplets_over_the_same_triplets() -> None:
    y = np.array([[i % 3, i % 3, (i + 1) % 3] for i in range(8)]).ravel()
    x = points(y)
    value, gradients = ours(loss_class("triplet_offline")(margin=0.2), x, y)
    places = tuple(torch.arange(start, 24, 3) for start in range(3))
    over_them = TRIPLET(margin=0.2, reducer=mean())
    expected, slopes = theirs(lambda x, y: over_them(x, y, places), x, y)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradients[0], slopes[0], rtol=1e-5, atol=1e-8)


def test_contrastive_over_the_peers_terms_squared() -> None:
    x = points(UNEVEN)
    terms = losses.ContrastiveLoss(pos_margin=0, neg_margin=1, reducer=reducers.DoNothingReducer())

    def squared_terms(x: Any, y: Any) -> Any:
        found = terms(x, y)
        return sum((found[kind]["losses"] ** 2).mean() for kind in ("pos_loss", "neg_loss")) / 2

    value, gradients = ours(loss_class("contrastive")(margin=1.0), x, UNEVEN)
    expected, slopes = theirs(squared_terms, x, UNEVEN)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradients[0], slopes[0], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "make_peer"),
    [
        ("triplet_all", lambda: TRIPLET(margin=0.2)),
        ("nt_xent", lambda: losses.SupConLoss(temperature=0.1)),
        ("circle", lambda: losses.CircleLoss(m=0.4, gamma=80)),
    ],
)
def test_values_with_a_memory_that_holds_both_batches(name: str, make_peer: Callable[[], Any]) -> None:
    x, y = points(BALANCED), BALANCED
    memory = CrossBatchMemory(loss_class(name)(), 24, DIM)
    their_memory = losses.CrossBatchMemory(make_peer(), DIM, memory_size=24)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(24)
    for batch in (order[:12], order[12:]):
        value = float(memory(tf.constant(unit[batch]), tf.constant(y[batch])).loss)
        assert value == pytest.approx(float(their_memory(torch.tensor(unit[batch]), torch.tensor(y[batch]))), rel=1e-5)
