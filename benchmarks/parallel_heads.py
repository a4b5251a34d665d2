"""Heads a second: eight heads of one shape trained one by one, side by side in one graph, and as batched products.

Reruns of a trial differ only in their seeds, so that their heads could share every batch. `one_graph` puts eight heads
into one training step, each as it is, so that operations of different heads may run at once and batches are read once;
`batched` also holds the weights of a layer as one array of all heads, whose products are one operation. All train on
the same made-up features of length 1280 in batches of 64 classes x 4 images, with semi-hard triplets and Adam. The ways
take turns; the figures are medians. A ratio above 1 says that eight at once are that much faster, by wall time and, on
a machine that does other things as well, by processor seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import parse_train
from imagematch.losses import Loss, LossValue, make_loss
from imagematch.model import build_head
from imagematch.training.optimizers import make_optimizer
from imagematch.training.steps import compiled_steps

HEADS, FEATURE_DIM, CLASSES, IMAGES = 8, 1280, 64, 4
SHAPES = {"linear_128": ((), 128), "256_128": ((256,), 128), "512_256_1024": ((512, 256), 1024)}
Run = Callable[[], None]


class SumOfHeads(Loss):
    """The sum of a loss over heads: embeddings (heads, batch, dim). Its gradient leaves each head its own."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    def __call__(self, embeddings: Any, labels: Any, **_: bool) -> LossValue:
        """The sum of the values."""
        found = [self._loss(own, labels) for own in tf.unstack(embeddings)]
        return LossValue(*(tf.add_n([tf.cast(value[part], tf.float32) for value in found]) for part in range(3)))


@keras.saving.register_keras_serializable(package="benchmarks")
class BatchedDense(keras.layers.Layer):
    """The dense layers of all heads: (heads, batch, any), or (batch, any) for all of them -> (heads, batch, units)."""

    def __init__(self, units: int, *, block: bool) -> None:
        super().__init__()
        self.units, self.block = units, block

    def build(self, shape: tuple[int | None, ...]) -> None:
        """A kernel, and a bias or a batch norm, for each head."""
        self.kernel = self.add_weight(name="kernel", shape=(HEADS, shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(HEADS, 1, self.units), initializer="zeros")
        if self.block:
            self.scale = self.add_weight(name="scale", shape=(HEADS, 1, self.units), initializer="ones")
            self.moving = [
                self.add_weight(name=name, shape=(HEADS, 1, self.units), initializer=start, trainable=False)
                for name, start in (("mean", "zeros"), ("variance", "ones"))
            ]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The products, normalised and rectified in a block."""
        if len(inputs.shape) == 2:  # the features, which all heads share: one product with all kernels side by side
            flat = tf.reshape(tf.transpose(self.kernel, (1, 0, 2)), (FEATURE_DIM, HEADS * self.units))
            outputs = tf.transpose(tf.reshape(tf.matmul(inputs, flat), (-1, HEADS, self.units)), (1, 0, 2))
        else:
            outputs = tf.matmul(inputs, self.kernel)
        if not self.block:
            return outputs + self.bias
        mean, variance = tf.nn.moments(outputs, 1, keepdims=True) if training else self.moving
        for moving, now in zip(self.moving, (mean, variance), strict=True):
            moving.assign(0.99 * moving + 0.01 * now)
        return tf.nn.relu((outputs - mean) * tf.math.rsqrt(variance + 1e-3) * self.scale + self.bias)


def batched_heads(units: tuple[int, ...], embedding_dim: int) -> keras.Model:
    """All heads in one model: (batch, feature_dim) -> (heads, batch, embedding_dim)."""
    inputs = outputs = keras.Input((FEATURE_DIM,))
    for width in units:
        outputs = BatchedDense(width, block=True)(outputs)
    outputs = BatchedDense(embedding_dim, block=False)(outputs)
    return keras.Model(inputs, keras.layers.UnitNormalization()(outputs))


def trained(model: keras.Model, loss: Loss, chunk: tuple[Any, ...]) -> Run:
    """A function that trains a model for a chunk of steps."""
    optimizer = make_optimizer(parse_train({"experiment_name": "bench"}))
    variables = list(model.trainable_variables)
    optimizer.build(variables)
    steps = compiled_steps(model, loss, optimizer, variables)

    def run() -> None:
        np.asarray(steps(*chunk))  # waits for the steps

    return run


def ways(shape: tuple[tuple[int, ...], int], steps: int) -> dict[str, Run]:
    """Each way to train eight heads for so many steps."""
    units, dim = shape
    loss = make_loss(parse_train({"experiment_name": "bench"}))
    random = np.random.default_rng(0)
    features = tf.constant(random.normal(size=(steps, CLASSES * IMAGES, FEATURE_DIM)).astype(np.float32))
    labels = tf.constant(np.tile(np.repeat(np.arange(CLASSES), IMAGES), (steps, 1)), tf.int32)
    chunk = (features, labels, tf.fill([steps], 1e-3))

    def heads() -> list[keras.Model]:
        return [build_head(FEATURE_DIM, units=units, embedding_dim=dim, seed=s, name=f"h{s}") for s in range(HEADS)]

    alone = [trained(head, loss, chunk) for head in heads()]
    inputs = keras.Input((FEATURE_DIM,))
    side_by_side = keras.Model(inputs, keras.ops.stack([head(inputs) for head in heads()]))

    def one_by_one() -> None:
        for train in alone:
            train()

    return {
        "one_by_one": one_by_one,
        "one_graph": trained(side_by_side, SumOfHeads(loss), chunk),
        "batched": trained(batched_heads(units, dim), SumOfHeads(loss), chunk),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Times the ways in turn, for each shape of a head."""
    tf.get_logger().setLevel("ERROR")  # each head is compiled once, which TensorFlow takes for needless retracing
    ratios: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name in options.shapes:
        shape = SHAPES[name]
        found = ways(shape, options.steps)
        wall: dict[str, list[float]] = {way: [] for way in found}
        processor: dict[str, list[float]] = {way: [] for way in found}
        for turn in range(1 + options.rounds):  # the first builds the graphs
            for way, run in found.items():
                started, used = time.perf_counter(), time.process_time()
                run()
                if turn:
                    wall[way].append(time.perf_counter() - started)
                    processor[way].append(time.process_time() - used)
        for way in found:
            seconds[f"{name}_{way}_step"] = statistics.median(wall[way]) / options.steps
        for way in ("one_graph", "batched"):
            for kind, times in (("", wall), ("_processor", processor)):
                pairs = zip(times["one_by_one"], times[way], strict=True)
                ratios[f"{name}_{way}{kind}"] = statistics.median(alone / together for alone, together in pairs)
    return {"name": "parallel_heads", "ratios": ratios, "seconds": seconds}


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--steps", type=int, default=5, help="training steps at a time")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES, help="of the heads")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--data-dir", help="without effect: the features are made up")
    parser.add_argument("--weights", help="without effect: there is no extractor")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found))
        return
    for group in ("ratios", "seconds"):
        print(group)
        for name, value in found[group].items():
            print(f"  {name:40} {value:,.4f}")


if __name__ == "__main__":
    main()
