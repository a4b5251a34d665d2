"""What is used of Keras, KerasHub and TensorFlow that they do not show: look here when one is upgraded.

- `Layer._flatten_layers`: no public way lists the layers inside another layer, as a KerasHub backbone has them.
- `Operation._inbound_nodes`: a functional model shows its operations and its own tensors, but not which tensors an
  operation in its middle takes and gives; a network is cut there.
- `keras_hub.src.utils.preset_utils.get_file`: fetches single files of a preset; `from_preset` also builds it.
- TensorFlow's registry of gradients and its cache of kernels: see `release_graphs`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

_TRACED_GRADIENT = "CustomGradient-"


def all_layers(layer: Any) -> list[Any]:
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def output_of(operation: Any) -> Any:
    """What an operation of a functional model gave where it was first used: cutting a network uses its layers again."""
    outputs = operation._inbound_nodes[0].outputs
    return outputs[0] if len(outputs) == 1 else outputs


def inputs_of(operation: Any) -> list[Any]:
    """The tensors that an operation of a functional model took where it was first used."""
    return list(operation._inbound_nodes[0].input_tensors)


def preset_file_getter() -> Callable[[str, str], str]:
    """KerasHub's function (preset, file name) -> path of the file in its cache, fetched where it is not there."""
    from keras_hub.src.utils.preset_utils import get_file

    fetch: Callable[[str, str], str] = get_file
    return fetch


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
    for name in [name for name in registered if name.startswith(_TRACED_GRADIENT)]:
        del registered[name]
    gc.collect()
    context.context().clear_kernel_cache()
