"""Mixed precision while training: a model's layers compute in bfloat16, its weights stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

_EXACT = ("whitening", "unit_norm")
"""The head's layers that always compute in float32."""


@contextmanager
def computing_in(precision: str, model: keras.Model) -> Iterator[None]:
    """Within, calls of `model` compute in "float32" or "bfloat16"; a graph keeps what it was traced in.

    The embeddings are float32 either way, and so are the whitening of features, which takes small differences of large
    numbers, and the norms: batch norms cast up by themselves. Whether it is quicker depends on the processor and on the
    layers' width: benchmarks/head_epoch.py tells. Outside, the same model embeds in float32, as the matcher will.
    """
    if precision == "float32":
        yield
        return
    every = [layer for layer in model._flatten_layers() if layer.name not in _EXACT]
    before = [layer.dtype_policy for layer in every]
    try:
        for layer in every:
            layer.dtype_policy = f"mixed_{precision}"
        yield
    finally:
        for layer, policy in zip(every, before, strict=True):
            layer.dtype_policy = policy
