"""How much longer a training step of the head takes with each loss than with a trivial one.

One step is forward, loss, backward and Adam's update of a head [512, 256] -> 1024 over features of length 1280, as in
an epoch on kept features, with the optimiser of trainings. The trivial loss is the mean of squares. All losses take
turns, so that a busy machine slows all of them.

Keys: LOSS_BATCH for 256 (64 classes x 4) and 1024 (256 x 4) images, which for triplet_offline are 85 and 341 triplets;
`addons_tiles_256` is the semi-hard loss the way TensorFlow Addons computes it, by B^2 x B tiles; `pml_LOSS_BATCH`
(where torch and pytorch-metric-learning are installed) is that library's nearest loss in PyTorch. `ratios` are to the
trivial step of the same library, and `LOSS_BATCH_pml_to_ours` is the one library's step to the other's; `seconds` are a
step's. Its lifted structure loss is left out at 1024: it compares every positive pair with every negative pair, in
tensors of 13 GB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

FEATURE_DIM = 1280
UNITS = (512, 256)
EMBEDDING_DIM = 1024
N_CLASSES = 256
BATCH_IMAGES = 4
BATCHES = (256, 1024)
ROUNDS = 9
IMAGES_PER_TURN = 2048

_PROXIES = {"num_classes": N_CLASSES, "embedding_size": EMBEDDING_DIM}
PEERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "trivial": ("", {}, "", {}),
    "triplet_semihard": (
        "TripletMarginLoss",
        {"margin": 0.2},
        "TripletMarginMiner",
        {"margin": 0.2, "type_of_triplets": "semihard"},
    ),
    "triplet_hard": ("TripletMarginLoss", {"margin": 0.2}, "BatchHardMiner", {}),
    "triplet_all": ("TripletMarginLoss", {"margin": 0.2}, "", {}),
    "contrastive": ("ContrastiveLoss", {}, "", {}),
    "lifted_structure": ("LiftedStructureLoss", {}, "", {}),
    "n_pairs": ("NPairsLoss", {}, "", {}),
    "nt_xent": ("SupConLoss", {}, "", {}),
    "multi_similarity": ("MultiSimilarityLoss", {}, "MultiSimilarityMiner", {}),
    "circle": ("CircleLoss", {}, "", {}),
    "soft_nearest_neighbour": ("NCALoss", {}, "", {}),
    "normalised_softmax": ("NormalizedSoftmaxLoss", _PROXIES, "", {}),
    "cosface": ("CosFaceLoss", _PROXIES, "", {}),
    "arcface": ("ArcFaceLoss", _PROXIES, "", {}),
    "proxy_nca": ("ProxyNCALoss", {**_PROXIES, "softmax_scale": 9}, "", {}),
    "proxy_anchor": ("ProxyAnchorLoss", _PROXIES, "", {}),
}
"""Our loss -> the nearest of pytorch-metric-learning with its options, and the miner it takes with its options."""
TOO_LARGE_A_PEER = {("lifted_structure", 1024)}

Turn = Callable[[], float]
"""Runs some training steps and gives the seconds that one took."""


def main() -> None:
    """Measures, and prints a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object with name, ratios and seconds")
    parser.add_argument("--data-dir", type=Path, help="not needed: the features are random")
    parser.add_argument("--weights", type=Path, help="not needed: no extractor runs")
    parser.add_argument("--loss", action="append", help="only this loss; may be repeated")
    arguments = parser.parse_args()
    result = measure(arguments.loss)
    if arguments.json:
        print(json.dumps(result))
        return
    for key, seconds in result["seconds"].items():
        print(f"{key:32} {1000 * seconds:8.2f} ms  {result['ratios'].get(key, 1):6.2f} x")
    for key, times in result["ratios"].items():
        if key.endswith("_pml_to_ours"):
            print(f"{key:47} {times:6.2f} x")


def measure(only: list[str] | None = None) -> dict[str, Any]:
    """Seconds of a step with each loss, and its ratio to the trivial one of the same batch size."""
    from imagematch.config import LOSSES, OFFLINE_LOSSES

    names = only or list(LOSSES)
    seconds: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for batch in BATCHES:
        turns = {"trivial": tensorflow_turn(trivial, batch)}
        turns |= {name: tensorflow_turn(registered(name), batch, triplets=name in OFFLINE_LOSSES) for name in names}
        if batch == BATCHES[0]:
            turns["addons_tiles"] = tensorflow_turn(addons_tiles, batch)
        if all(importlib.util.find_spec(package) for package in ("torch", "pytorch_metric_learning")):
            peers = [name for name in ("trivial", *names) if name in PEERS and (name, batch) not in TOO_LARGE_A_PEER]
            turns |= {f"pml_{name}": torch_turn(name, batch) for name in peers}
        taken = take_turns(turns)
        for name, times in taken.items():
            seconds[f"{name}_{batch}"] = statistics.median(times)
            floor = "pml_trivial" if name.startswith("pml_") else "trivial"
            if name != floor:
                ratios[f"{name}_{batch}"] = ratio(times, taken[floor])
            if f"pml_{name}" in taken:
                ratios[f"{name}_{batch}_pml_to_ours"] = ratio(taken[f"pml_{name}"], times)
    return {"name": "losses", "ratios": ratios, "seconds": seconds}


def ratio(times: list[float], floor: list[float]) -> float:
    """The median over the rounds of what a round took to what it took the other."""
    return statistics.median(own / base for own, base in zip(times, floor, strict=True))


def take_turns(turns: dict[str, Turn]) -> dict[str, list[float]]:
    """The seconds of each turn, `ROUNDS` times, after one turn each to warm up."""
    for turn in turns.values():
        turn()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            taken[name].append(turn())
    return taken


def registered(name: str) -> Callable[[Any, Any], Any]:
    """A loss of the package, as a function of embeddings and labels."""
    from imagematch.config import PROXY_LOSSES
    from imagematch.losses import loss_class

    needed = {"n_classes": N_CLASSES, "embedding_dim": EMBEDDING_DIM} if name in PROXY_LOSSES else {}
    loss = loss_class(name)(**needed)
    value = lambda embeddings, labels: loss(embeddings, labels).loss  # noqa: E731
    value.trainable_variables = list(loss.trainable_variables)  # type: ignore[attr-defined]
    return value


def trivial(embeddings: Any, _: Any) -> Any:
    """The floor: mean of squares."""
    import tensorflow as tf

    return tf.reduce_mean(embeddings**2)


def addons_tiles(embeddings: Any, labels: Any, margin: float = 0.2) -> Any:
    """The semi-hard loss by TensorFlow Addons' formula: every pair's row of distances is tiled, (B^2, B)."""
    import tensorflow as tf

    lengths = tf.reduce_sum(embeddings**2, 1)
    squared = tf.nn.relu(lengths[:, None] + lengths - 2 * tf.matmul(embeddings, embeddings, transpose_b=True))
    zero = tf.cast(squared <= 0, tf.float32)
    distances = tf.sqrt(squared + zero * 1e-16) * (1 - zero)
    size = tf.shape(labels)[0]
    same = labels[:, None] == labels
    other = tf.logical_not(same)
    tiles = tf.tile(distances, [size, 1])
    further = tf.tile(other, [size, 1]) & (tiles > tf.reshape(tf.transpose(distances), [-1, 1]))
    has_further = tf.transpose(tf.reshape(tf.reduce_any(further, 1), [size, size]))

    def masked(reduce: Any, values: Any, mask: Any, pivot: Any) -> Any:
        return reduce((values - pivot) * tf.cast(mask, tf.float32), 1, keepdims=True) + pivot

    outside = masked(tf.reduce_min, tiles, further, tf.reduce_max(tiles, 1, keepdims=True))
    inside = masked(tf.reduce_max, distances, other, tf.reduce_min(distances, 1, keepdims=True))
    negatives = tf.where(has_further, tf.transpose(tf.reshape(outside, [size, size])), tf.tile(inside, [1, size]))
    positives = tf.cast(same, tf.float32) - tf.linalg.diag(tf.ones(size))
    violations = tf.nn.relu((margin + distances - negatives) * positives)
    return tf.reduce_sum(violations) / tf.reduce_sum(positives)


def labelled_features(batch: int, *, triplets: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Batches of random features (steps, batch, FEATURE_DIM) and their labels, BATCH_IMAGES of each class.

    Or `triplets` of anchor, positive and negative, one after the other, as many as are whole.
    """
    rng = np.random.default_rng(0)
    steps = max(4, IMAGES_PER_TURN // batch)
    if triplets:
        batch -= batch % 3
        anchors = rng.integers(N_CLASSES, size=(steps, batch // 3))
        negatives = (anchors + rng.integers(1, N_CLASSES, anchors.shape)) % N_CLASSES
        labels = np.stack([anchors, anchors, negatives], axis=2).reshape(steps, batch)
    else:
        classes = [rng.choice(N_CLASSES, batch // BATCH_IMAGES, replace=False) for _ in range(steps)]
        labels = np.repeat(np.stack(classes), BATCH_IMAGES, axis=1)
    return rng.standard_normal((steps, batch, FEATURE_DIM), dtype=np.float32), labels.astype(np.int32)


def tensorflow_turn(loss: Callable[[Any, Any], Any], batch: int, *, triplets: bool = False) -> Turn:
    """Steps of a fresh head with `loss`, looped in one graph."""
    import tensorflow as tf

    from imagematch.config import parse_train
    from imagematch.model import build_head
    from imagematch.training.optimizers import make_optimizer

    head = build_head(FEATURE_DIM, units=UNITS, embedding_dim=EMBEDDING_DIM, seed=0)
    variables = [*head.trainable_variables, *getattr(loss, "trainable_variables", [])]
    optimizer = make_optimizer(parse_train({"experiment_name": "losses"}))
    optimizer.build(variables)
    features, labels = (tf.constant(array) for array in labelled_features(batch, triplets=triplets))

    @tf.function
    def train() -> Any:
        total = tf.constant(0.0)
        for step in tf.range(tf.shape(labels)[0]):
            with tf.GradientTape() as tape:
                value = loss(head(features[step], training=True), labels[step])
            optimizer.apply(tape.gradient(value, variables), variables)
            total += value
        return total

    def turn() -> float:
        started = time.perf_counter()
        float(train())
        return (time.perf_counter() - started) / labels.shape[0]

    return turn


def torch_turn(name: str, batch: int) -> Turn:
    """The same steps in PyTorch, with the mean of squares or one of pytorch-metric-learning's losses."""
    import torch
    from pytorch_metric_learning import losses, miners

    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for n_in, n_out in zip((FEATURE_DIM, *UNITS), UNITS, strict=False):
        layers += [torch.nn.Linear(n_in, n_out, bias=False), torch.nn.BatchNorm1d(n_out), torch.nn.ReLU()]
    head = torch.nn.Sequential(*layers, torch.nn.Linear(UNITS[-1], EMBEDDING_DIM))
    loss_name, options, miner_name, miner_options = PEERS[name]
    loss = getattr(losses, loss_name)(**options) if loss_name else None
    miner = getattr(miners, miner_name)(**miner_options) if miner_name else None
    learnt = [] if loss is None else list(loss.parameters())
    optimizer = torch.optim.Adam([*head.parameters(), *learnt], 1e-3)
    features, labels = (torch.from_numpy(array) for array in labelled_features(batch))
    labels = labels.long()

    def turn() -> float:
        started = time.perf_counter()
        for inputs, targets in zip(features, labels, strict=True):
            embeddings = torch.nn.functional.normalize(head(inputs))
            if loss is None:
                value = (embeddings**2).mean()
            else:
                value = loss(embeddings, targets, *([] if miner is None else [miner(embeddings, targets)]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return (time.perf_counter() - started) / len(labels)

    return turn


if __name__ == "__main__":
    main()
