"""BiT-M R50x1: ResNet-v2 with group norm and weight standardisation, and the official .npz files of its weights.

Source: Kolesnikov et al. 2020, "Big Transfer (BiT): General Visual Representation Learning", arXiv 1912.11370. Names
and shapes of the variables are those of the files at https://storage.googleapis.com/bit_models, less their classifier.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.extractors.networks.keras_applications import unfetched
from imagematch.reading import GB
from imagematch.registry import register_extractor

if TYPE_CHECKING:
    import keras
    import numpy as np

    from imagematch.npz import NpzFile

_FILE = "BiT-M-R50x1.npz"
_URL = f"https://storage.googleapis.com/bit_models/{_FILE}"
"""ImageNet-21k's weights, as published by the authors."""

_MAX_BYTES = 8 * GB

_UNITS = (3, 4, 6, 3)
_GROUPS = 32


def load_checkpoint(network: keras.Model, path: Path, where: str) -> None:
    """Loads a published .npz file into a network that `build_bit_m_r50x1` made; its classifier is left out.

    Raises:
        ModelError: it cannot be read, or a variable is missing, of another shape or too many: the first one is named.
    """
    from imagematch.npz import open_npz

    try:
        with open_npz(path, max_bytes=_MAX_BYTES) as file:
            # Some published files number their convolutions: standardized_conv2d_12.
            members = {re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", name): name for name in file.names}
            values = [_fitting(variable, file, members, where) for variable in network.weights]
            _refuse_more(members, network, where)
    except ModelError:
        raise
    except Exception as error:  # of damaged files zipfile, zlib and numpy raise many kinds
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"not a readable file of weights: {reason}", where=where) from error
    network.set_weights(values)


def load_published(network: keras.Model) -> None:
    """Fetches the published weights, once, into Keras's cache, and loads them. Raises ModelError where it cannot."""
    import keras

    try:
        path = Path(keras.utils.get_file(_FILE, _URL, cache_subdir="models"))
    except Exception as error:  # get_file raises bare Exception, URLError, OSError
        raise unfetched("bit_m_r50x1", error) from error
    load_checkpoint(network, path, "weights: imagenet")


@register_extractor(
    "bit_m_r50x1",
    image_size=224,
    feature_dim=2048,
    preprocessing="symmetric",
    parameters=23_500_352,
    published=_FILE,
    load_published=load_published,
    weight_readers={".npz": load_checkpoint},
)
def build_bit_m_r50x1(image_size: int) -> keras.Model:
    """(batch, h, w, 3) in -1 to 1 -> (batch, 2048) features, random weights.

    A layer is called as in the published files, with dots for slashes. Padding is symmetric, as there.
    """
    import keras

    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.ZeroPadding2D(3, name="root_pad")(inputs)
    x = _convolution(x, "resnet.root_block", 64, 7, stride=2)
    x = keras.layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool")(x)
    for block, units in enumerate(_UNITS, 1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and block > 1 else 1
            x = _unit(x, f"resnet.block{block}.unit{unit:02d}", 32 * 2**block, stride, project=unit == 1)
    x = _norm_relu(x, "resnet")
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="average")(x), name="bit_m_r50x1")


def _unit(x: Any, name: str, filters: int, stride: int, *, project: bool) -> Any:
    """Pre-activation bottleneck with the stride on the 3 x 3 convolution: `filters`, `filters`, 4 x `filters`."""
    import keras

    before = _norm_relu(x, f"{name}.a")
    shortcut = _convolution(before, f"{name}.a.proj", 4 * filters, 1, stride) if project else x
    x = _norm_relu(_convolution(before, f"{name}.a", filters, 1), f"{name}.b")
    x = keras.layers.ZeroPadding2D(1, name=f"{name}.pad")(x)
    x = _norm_relu(_convolution(x, f"{name}.b", filters, 3, stride), f"{name}.c", start=sum(_UNITS) ** -0.5)
    x = _convolution(x, f"{name}.c", 4 * filters, 1)
    return keras.layers.Add(name=f"{name}.add")([shortcut, x])


def _convolution(x: Any, name: str, filters: int, size: int, stride: int = 1) -> Any:
    from imagematch.extractors.layers import StandardizedConv2D

    return StandardizedConv2D(filters, size, stride, name=f"{name}.standardized_conv2d")(x)


def _norm_relu(x: Any, name: str, start: float = 1.0) -> Any:
    """Group norm with `start` as its initial scale, then ReLU.

    Before the last convolution of a unit that is under 1, so that the sum over the units stays of order 1: with 1 a
    random network amplifies rounding, and its bfloat16 features have a cosine of 0.98 with float32's (0.9997 with 1/4).
    """
    import keras

    scale = keras.initializers.Constant(start) if start != 1 else "ones"
    norm = keras.layers.GroupNormalization(_GROUPS, epsilon=1e-5, gamma_initializer=scale, name=f"{name}.group_norm")
    x = norm(x)
    return keras.layers.ReLU(name=f"{name}.relu")(x)


def _refuse_more(members: dict[str, str], network: keras.Model, where: str) -> None:
    """A deeper network of this width has all of these variables and more: R101x1 would load as if it were R50x1."""
    own = {_name_of(variable) for variable in network.weights}
    more = [name for name in members if name.startswith("resnet/block") and name not in own]
    if more:
        what = f"they do not fit bit_m_r50x1: it has no {more[0]}"
        raise ModelError(what, where=where, do="give BiT-M-R50x1.npz, not that of a deeper network")


def _name_of(variable: Any) -> str:
    return str(variable.path).replace(".", "/")


def _fitting(variable: Any, file: NpzFile, members: dict[str, str], where: str) -> np.ndarray:
    name = _name_of(variable)
    from imagematch.npz import ShapeError

    if name not in members:
        raise ModelError(f"they do not fit bit_m_r50x1: there is no {name}", where=where, do="give BiT-M-R50x1.npz")
    try:
        return file.read(members[name], shape=tuple(variable.shape))
    except ShapeError as error:
        what = f"they do not fit bit_m_r50x1: {error}"
        raise ModelError(what, where=where, do="give a file of BiT R50x1") from error
