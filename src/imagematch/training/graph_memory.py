"""Gives back the memory of trainings that are over."""

from __future__ import annotations

import gc

_TRACED = "CustomGradient-"


def release_graphs() -> None:
    """Lets go of every graph traced so far, and of the variables it captured; no training may be under way.

    TensorFlow registers the gradient of each traced `tf.custom_gradient` under a name of its own, for ever. It holds
    its graph, the graph holds handles of the captured variables, and so every training would keep its weights and its
    optimiser's state (Keras's optimisers trace one too, around `all_reduce`). The names are looked up only while a
    gradient is traced, so between trainings nobody needs them.

    It also keeps, in C++, the kernel of every function it has run, 0.6 MB a training; those made anew are the same.
    """
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith(_TRACED)]:
        del registered[name]
    gc.collect()
    context.context().clear_kernel_cache()
