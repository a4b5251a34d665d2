"""How much longer a training step of the head takes with each loss than with a trivial one.

One step is forward, loss, backward and Adam's update of a head [512, 256] -> 1024 over features of length 1280, as in
an epoch on kept features. The trivial loss is the mean of squares. All losses take turns, so that a busy machine
slows all of them.

Keys: LOSS_BATCH for 256 (64 classes x 4) and 1024 (256 x 4) images; `addons_tiles_256` is the semi-hard loss the way
TensorFlow Addons computes it, by B^2 x B tiles; `pytorch_metric_learning_256` (where installed) is its semi-hard
miner and triplet loss in PyTorch, relative to PyTorch's own trivial step. `ratios` are to the trivial step, `seconds`
are a step's.
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


def measure(only: list[str] | None = None) -> dict[str, Any]:
    """Seconds of a step with each loss, and its ratio to the trivial one of the same batch size."""
    from imagematch.losses import LOSSES

    names = only or list(LOSSES)
    seconds: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for batch in BATCHES:
        turns = {"trivial": tensorflow_turn(trivial, batch)}
        turns |= {name: tensorflow_turn(registered(name), batch) for name in names}
        if batch == BATCHES[0]:
            turns["addons_tiles"] = tensorflow_turn(addons_tiles, batch)
        add(take_turns(turns), "trivial", f"_{batch}", seconds, ratios)
    if all(importlib.util.find_spec(package) for package in ("torch", "pytorch_metric_learning")):
        turns = {name: torch_turn(name, BATCHES[0]) for name in ("torch_trivial", "pytorch_metric_learning")}
        add(take_turns(turns), "torch_trivial", f"_{BATCHES[0]}", seconds, ratios)
    return {"name": "losses", "ratios": ratios, "seconds": seconds}


def add(
    taken: dict[str, list[float]], floor: str, suffix: str, seconds: dict[str, float], ratios: dict[str, float]
) -> None:
    """Adds the medians over the rounds: of the seconds, and of the ratios to `floor` in the same round."""
    for name, times in taken.items():
        seconds[name + suffix] = statistics.median(times)
        if name != floor:
            by_round = [own / base for own, base in zip(times, taken[floor], strict=True)]
            ratios[name + suffix] = statistics.median(by_round)


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
    from imagematch.losses import PROXY_LOSSES, loss_class

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


def labelled_features(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Batches of random features (steps, batch, FEATURE_DIM) and their labels, BATCH_IMAGES of each class."""
    rng = np.random.default_rng(0)
    steps = max(4, IMAGES_PER_TURN // batch)
    classes = [rng.choice(N_CLASSES, batch // BATCH_IMAGES, replace=False) for _ in range(steps)]
    labels = np.repeat(np.stack(classes), BATCH_IMAGES, axis=1).astype(np.int32)
    return rng.standard_normal((steps, batch, FEATURE_DIM), dtype=np.float32), labels


def tensorflow_turn(loss: Callable[[Any, Any], Any], batch: int) -> Turn:
    """Steps of a fresh head with `loss`, looped in one graph."""
    import keras
    import tensorflow as tf

    from imagematch.model import build_head

    head = build_head(FEATURE_DIM, units=UNITS, embedding_dim=EMBEDDING_DIM, seed=0)
    variables = [*head.trainable_variables, *getattr(loss, "trainable_variables", [])]
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)
    features, labels = (tf.constant(array) for array in labelled_features(batch))

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
    """The same steps in PyTorch, with the mean of squares or pytorch-metric-learning's semi-hard triplets."""
    import torch
    from pytorch_metric_learning import losses, miners

    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for n_in, n_out in zip((FEATURE_DIM, *UNITS), UNITS, strict=False):
        layers += [torch.nn.Linear(n_in, n_out, bias=False), torch.nn.BatchNorm1d(n_out), torch.nn.ReLU()]
    head = torch.nn.Sequential(*layers, torch.nn.Linear(UNITS[-1], EMBEDDING_DIM))
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    miner = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    triplets = losses.TripletMarginLoss(margin=0.2)
    features, labels = (torch.from_numpy(array) for array in labelled_features(batch))
    labels = labels.long()

    def turn() -> float:
        started = time.perf_counter()
        for inputs, targets in zip(features, labels, strict=True):
            embeddings = torch.nn.functional.normalize(head(inputs))
            if name == "torch_trivial":
                value = (embeddings**2).mean()
            else:
                value = triplets(embeddings, targets, miner(embeddings, targets))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return (time.perf_counter() - started) / len(labels)

    return turn


if __name__ == "__main__":
    main()
