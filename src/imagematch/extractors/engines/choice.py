"""Chooses engine and precision for a network, and opens the engine; imports TensorFlow only where that is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagematch.config import ENGINES, PRECISIONS
from imagematch.errors import ConfigError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.extractors.concatenation import Concatenation
from imagematch.extractors.engines.engine import ConcatenatedEngine, Engine, PixelEngine
from imagematch.extractors.extractor import Extractor, Network
from imagematch.extractors.quantization import QuantizedNetwork
from imagematch.extractors.saved import SavedExtractor


@dataclass(frozen=True)
class EngineChoice:
    """The engine a network will be run with; `open` starts it.

    Attributes:
        name: `openvino`, `tensorflow` or `numpy`.
        precision: `float32`, `bfloat16` or `int8`.
        open: makes the engine.
    """

    name: str
    precision: str
    open: Callable[[], Engine]


def choose_engine(
    network: Network,
    engine: str = "auto",
    precision: str = "auto",
    cache_dir: Path | None = None,
    log: RunLog = SILENT,
) -> EngineChoice:
    """Chooses engine and precision; cheap, and without TensorFlow, where the converted network is cached.

    `auto` is numpy for `pixels`; TensorFlow where it sees a GPU; else OpenVINO; else TensorFlow, and the log says why.
    The precision `auto` is float32: whether a lower one does is measured on a data set (`imagematch.training`). A
    `QuantizedNetwork` runs in int8 alone. Networks side by side get one engine and one precision; only `pixels` among
    them stays with numpy.

    Args:
        network: an `Extractor`, or that of a saved matcher, which brings its converted network with it.
        engine: one of `ENGINES`.
        precision: one of `PRECISIONS`.
        cache_dir: where converted networks are cached between processes; None caches none.
        log: told what is converted, and why a wish could not be met.

    Raises:
        ConfigError: an unknown engine or precision.
        ModelError: the engine asked for cannot run the network, or the network cannot be built.
    """
    for value, allowed, key in ((engine, ENGINES, "engine"), (precision, PRECISIONS, "feature_precision")):
        if value not in allowed:
            raise ConfigError(f"{value!r} is not one of {', '.join(allowed)}", where=key)
    if isinstance(network, Concatenation):
        return _concatenated(network, engine, precision, cache_dir, log)
    if network.name == "pixels":
        return _pixels(network)
    from imagematch.extractors.engines.tensorflow import gpu_visible

    if isinstance(network, QuantizedNetwork) or (precision == "int8" and isinstance(network, SavedExtractor)):
        return _int8(network, engine, cache_dir, log)
    if precision == "int8":
        raise ModelError(
            "8 bits need images to choose their ranges on", where=network.name, do="give another precision"
        )
    from_file = isinstance(network, Extractor) and network.spec.convert is not None
    if engine == "tensorflow" or (engine == "auto" and not from_file and gpu_visible()):
        return _tensorflow(network, precision)
    try:
        return _openvino(network, precision, cache_dir, log)
    except _UnusableError as error:
        if engine == "openvino" or from_file:
            raise ModelError(
                f"OpenVINO cannot run {network.name}: {error}", where="engine: openvino", do="use engine: auto"
            ) from error
        log.event(
            "engine_fallback",
            f"OpenVINO cannot run {network.name} ({error}): TensorFlow does, more slowly",
            level="warning",
        )
        return _tensorflow(network, precision)


def open_engine(
    network: Network,
    engine: str = "auto",
    precision: str = "auto",
    cache_dir: Path | None = None,
    log: RunLog = SILENT,
) -> Engine:
    """Opens the engine that `choose_engine` chooses; the same arguments and errors."""
    return choose_engine(network, engine, precision, cache_dir, log).open()


def lower_precisions() -> tuple[str, ...]:
    """The precisions below float32 that OpenVINO has here, each faster than the one before; none without it."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    try:
        import openvino

        from imagematch.extractors.engines.openvino import native_bfloat16

        return ("bfloat16", "int8") if native_bfloat16(openvino.Core()) else ("int8",)
    except (ImportError, OSError, RuntimeError):  # a system library or its CPU plugin is missing
        return ()


class _UnusableError(Exception):
    """Why OpenVINO cannot be used here."""


def _concatenated(
    network: Concatenation, engine: str, precision: str, cache_dir: Path | None, log: RunLog
) -> EngineChoice:
    choices = [choose_engine(member, engine, precision, cache_dir, log) for member in network.members]
    shared = [choice for choice in choices if choice.name != "numpy"] or choices
    if len({choice.name for choice in shared}) > 1:
        return _concatenated(network, "tensorflow", precision, cache_dir, log)
    name, resolved = shared[0].name, shared[0].precision
    return EngineChoice(
        name, resolved, lambda: ConcatenatedEngine([choice.open() for choice in choices], name, resolved)
    )


def _pixels(network: Network) -> EngineChoice:
    return EngineChoice("numpy", "float32", lambda: PixelEngine(network.image_size))


def _int8(network: Network, engine: str, cache_dir: Path | None, log: RunLog) -> EngineChoice:
    try:
        if engine == "tensorflow":
            raise _UnusableError("only OpenVINO computes in 8 bits")
        return _openvino(network, "int8", cache_dir, log)
    except _UnusableError as error:
        what = f"{network.name} cannot run in 8 bits: {error}"
        raise ModelError(what, where="feature_precision: int8", do="choose another feature_precision") from error


def _tensorflow(network: Network, precision: str) -> EngineChoice:
    from imagematch.extractors.engines.tensorflow import TensorFlowEngine

    resolved = "float32" if precision == "auto" else precision
    return EngineChoice("tensorflow", resolved, lambda: TensorFlowEngine(network, resolved))


def _openvino(network: Network, precision: str, cache_dir: Path | None, log: RunLog) -> EngineChoice:
    if importlib.util.find_spec("openvino") is None:
        raise _UnusableError("it is not installed")
    from imagematch.extractors.engines.conversion import UnconvertibleError, converted_network
    from imagematch.extractors.engines.network_file import read_network
    from imagematch.extractors.engines.openvino import OpenVinoEngine, native_bfloat16
    from imagematch.extractors.engines.trial_run import try_network

    try:
        import openvino

        core = openvino.Core()
        unusable = precision == "bfloat16" and not native_bfloat16(core)
    except (ImportError, OSError, RuntimeError) as error:  # a system library or its CPU plugin is missing
        raise _UnusableError(" ".join(str(error).split())[:200]) from error
    if unusable:
        raise _UnusableError("this processor has no bfloat16")
    if isinstance(network, SavedExtractor) and network.network is not None:
        size, dim = network.image_size, network.feature_dim
        try_network(network.folder, network.network, image_size=size, feature_dim=dim)
        model = read_network(core, network.folder, network.network, image_size=size, feature_dim=dim)
    else:
        try:
            model = converted_network(core, network, cache_dir, log)
        except UnconvertibleError as error:
            raise _UnusableError(str(error)) from error
    resolved = "float32" if precision == "auto" else precision
    return EngineChoice("openvino", resolved, lambda: OpenVinoEngine(core, model, resolved, network.feature_dim))
