"""One epoch of a head on kept features: our loop against the same loop with a trivial loss, and the Addons formula.

Without options: 20,000 made-up features of length 1280, head [512, 256] -> 1024, batches of 64 classes x 4 images; two
minutes on 2 cores. Where torch and pytorch_metric_learning are installed, the same epoch there too. The ways take
turns, and each runs an epoch before the one that is timed: the memory that another way gave back, and its threads that
still wait for work, would slow the first one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from imagematch.config import parse_train
from imagematch.losses import Loss, LossValue, make_loss
from imagematch.model import build_head
from imagematch.training import FeatureSource, plan_batches
from imagematch.training.optimizers import make_optimizer
from imagematch.training.steps import compiled_steps
from losses import addons_tiles, trivial

ROUNDS = 3
CLASSES, FEATURE_DIM, UNITS, EMBEDDING_DIM = 200, 1280, (512, 256), 1024


class PlainLoss(Loss):
    """A plain function of embeddings and labels, as the loop wants it."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self._function = function

    def __call__(self, embeddings: Any, labels: Any, **_: bool) -> LossValue:
        """The function's value."""
        return LossValue(self._function(embeddings, labels), tf.constant(0.0), tf.constant(0.0))


def our_epoch(source: FeatureSource, loss: Loss, settings: Any) -> Callable[[], float]:
    """A function that trains one epoch and returns its seconds; the graph is built by its first call."""
    head = build_head(FEATURE_DIM, units=UNITS, embedding_dim=EMBEDDING_DIM)
    optimizer = make_optimizer(settings)
    variables = [*head.trainable_variables, *loss.trainable_variables]
    optimizer.build(variables)
    steps = compiled_steps(head, loss, optimizer, variables, precision=settings.training_precision)

    def run() -> float:
        started = time.perf_counter()
        for features, labels in source.chunks(0):
            rates = tf.fill([len(labels)], tf.constant(1e-3))
            np.asarray(steps(tf.convert_to_tensor(features), tf.convert_to_tensor(labels), rates))
        return time.perf_counter() - started

    return run


def torch_epoch(source: FeatureSource) -> Callable[[], float] | None:
    """The same epoch with PyTorch and pytorch-metric-learning; None where they are not installed."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "pytorch_metric_learning")):
        return None
    import torch
    from pytorch_metric_learning import losses, miners

    layers: list[Any] = []
    width = FEATURE_DIM
    for units in UNITS:
        layers += [torch.nn.Linear(width, units), torch.nn.BatchNorm1d(units), torch.nn.ReLU()]
        width = units
    head = torch.nn.Sequential(*layers, torch.nn.Linear(width, EMBEDDING_DIM))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    miner, loss = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"), losses.TripletMarginLoss(0.2)

    def batches() -> Iterator[tuple[Any, Any]]:
        for features, labels in source.chunks(0):
            yield from zip(torch.from_numpy(features), torch.from_numpy(labels), strict=True)

    def run() -> float:
        started = time.perf_counter()
        for features, labels in batches():
            optimizer.zero_grad()
            embeddings = torch.nn.functional.normalize(head(features))
            loss(embeddings, labels, miner(embeddings, labels)).backward()
            optimizer.step()
        return time.perf_counter() - started

    return run


def measure(images: int) -> dict[str, Any]:
    """Times the ways in turn, so that other work on the machine meets them all."""
    settings = parse_train({"experiment_name": "bench"})
    random = np.random.default_rng(0)
    labels = np.arange(images) % CLASSES
    features = random.normal(size=(images, FEATURE_DIM)).astype(np.float32)
    plan = plan_batches(settings, labels, 0)
    source = FeatureSource([features], np.arange(images), labels, plan, seed=0)
    ways = {
        "ours": our_epoch(source, make_loss(settings), settings),
        "bfloat16": our_epoch(
            source, make_loss(settings), settings.model_copy(update={"training_precision": "bfloat16"})
        ),
        "trivial_loss": our_epoch(source, PlainLoss(trivial), settings),
        "addons_formula": our_epoch(source, PlainLoss(addons_tiles), settings),
    }
    torch_way = torch_epoch(source)
    if torch_way is not None:
        ways["pytorch_metric_learning"] = torch_way
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            run()
            seconds[name].append(run())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {"ours_to_trivial_loss": medians["ours"] / medians["trivial_loss"]}
    ratios |= {
        f"{name}_to_ours": medians[name] / medians["ours"] for name in ways if name not in ("ours", "trivial_loss")
    }
    return {"name": "head_epoch", "ratios": ratios, "seconds": {"images": images, "steps": plan.steps, **medians}}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--images", type=int, default=20_000, help="images in an epoch")
    parser.add_argument("--data-dir", help="without effect: the features are made up")
    parser.add_argument("--weights", help="without effect: there is no extractor")
    options = parser.parse_args()
    found = measure(options.images)
    if options.json:
        print(json.dumps(found))
        return
    for group in ("ratios", "seconds"):
        print(group)
        for name, value in found[group].items():
            print(f"  {name:32} {value:,.3f}")


if __name__ == "__main__":
    main()
