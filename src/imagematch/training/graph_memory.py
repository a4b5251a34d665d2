"""Releases what TensorFlow holds of finished trainings."""

from __future__ import annotations

import gc

_TRACED = "CustomGradient-"


def release_graphs() -> None:
    """Frees every graph traced so far, and the variables it captured; call it only between trainings.

    TensorFlow registers the gradient of each traced `tf.custom_gradient` under a name of its own and never removes it.
    The gradient refers to its graph, and the graph to the captured variables, so that every training would leave its
    weights and its optimiser's state in memory (Keras's optimisers trace one too, around `all_reduce`). The names are
    looked up only while a gradient is traced, so none is needed between trainings.

    TensorFlow also keeps, in C++, the kernel of every function it has run: 0.6 MB a training. New kernels are the same.

    There is no public interface to either.
    """
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith(_TRACED)]:
        del registered[name]
    gc.collect()
    context.context().clear_kernel_cache()
