"""Networks in 8 bits: quantised once by NNCF on images of the user's own, then run by OpenVINO like any other.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import ModelError
from imagematch.extractors.concatenation import Concatenation
from imagematch.extractors.extractor import Network
from imagematch.files import digest_json
from imagematch.framing import Framing

if TYPE_CHECKING:
    import keras
    import openvino

CALIBRATION_IMAGES = 300
_VERSION = 1
"""Raised whenever the same network and images would give another network."""
_ATTENTION = ("ScaledDotProductAttention", "Softmax")


@dataclass(frozen=True)
class CalibrationImages:
    """Images that show a quantiser which numbers occur in a network.

    Attributes:
        digest: of their content.
        count: how many there are.
        image: number of the image, image size in pixels -> (h, w, 3) uint8, no side longer than that.
    """

    digest: str
    count: int
    image: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class QuantizedNetwork:
    """A frozen network in 8 bits.

    Attributes:
        network: in float32.
        calibration: what it was, or will be, quantised on.
    """

    network: Network
    calibration: CalibrationImages

    @property
    def name(self) -> str:
        """For people."""
        return self.network.name

    @property
    def image_size(self) -> int:
        """Side of the square it sees, in pixels."""
        return self.network.image_size

    @property
    def framing(self) -> Framing:
        """What is made of images that are not square."""
        return self.network.framing

    @property
    def feature_dim(self) -> int:
        """Length of its features."""
        return self.network.feature_dim

    @property
    def digest(self) -> str:
        """What identifies its features: the network and the images that it was quantised on."""
        return digest_json(["int8", _VERSION, self.network.digest, self.calibration.digest])

    def build(self, precision: str = "float32") -> keras.Model:
        """The Keras model of the network that was quantised."""
        return self.network.build(precision)


def quantized(network: Network, calibration: CalibrationImages) -> Network:
    """The network in 8 bits; of several side by side, each of them. `pixels` stays as it is."""
    if isinstance(network, Concatenation):
        return Concatenation(tuple(quantized(member, calibration) for member in network.members))
    return network if network.name == "pixels" else QuantizedNetwork(network, calibration)


def can_quantize() -> bool:
    """Whether NNCF is installed."""
    return importlib.util.find_spec("nncf") is not None


def quantize(model: openvino.Model, calibration: CalibrationImages, image_size: int) -> openvino.Model:
    """The network with its products in 8 bits, their ranges chosen on the calibration images; weights stay float32.

    Args:
        model: (batch, h, w, 3) uint8 -> features; it stays as it is.
        calibration: what it is to see.
        image_size: what it sees, in pixels.

    Raises:
        ModelError: NNCF is not installed, or cannot quantise it.
    """
    if not can_quantize():
        do = "pip install 'imagematch[int8]', or choose another precision"
        raise ModelError("8 bits need NNCF, which is not installed", where="feature_precision: int8", do=do)
    os.environ.setdefault("NNCF_CI", "1")  # without it NNCF reports its use over the network
    import nncf

    nncf.set_log_level(logging.ERROR)
    attention = any(one.get_type_name() in _ATTENTION for one in model.get_ops())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars
            return nncf.quantize(
                model.clone(),
                nncf.Dataset(range(calibration.count), lambda number: calibration.image(number, image_size)[None]),
                subset_size=calibration.count,
                model_type=nncf.ModelType.TRANSFORMER if attention else None,
                ignored_scope=nncf.IgnoredScope(names=_preparation(model)),
                advanced_parameters=nncf.AdvancedQuantizationParameters(backend_params={"compress_weights": False}),
            )
    except Exception as error:  # NNCF and OpenVINO raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"cannot be quantised: {reason}", do="choose another feature_precision") from error


def _preparation(model: openvino.Model) -> list[str]:
    """The operations before images have the network's size."""
    names = []
    for one in model.get_ordered_ops():
        if one.get_type_name() in ("Constant", "Parameter"):
            continue
        names.append(one.get_friendly_name())
        if one.get_type_name() == "Interpolate":
            return names
    return []
