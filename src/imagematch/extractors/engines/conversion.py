"""Turns a network into OpenVINO's form once, checks it against the original, and caches it for later processes."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.errors import ImagematchError, ModelError, StudyError
from imagematch.events import RunLog
from imagematch.extractors.engines.engine import enlarge
from imagematch.extractors.engines.network_file import read_network, write_network
from imagematch.extractors.engines.tensorflow import exact_float32
from imagematch.extractors.engines.trial_run import remember_network
from imagematch.extractors.extractor import Network
from imagematch.extractors.quantization import QuantizedNetwork, quantize
from imagematch.file_locks import locked
from imagematch.files import digest_json, replacing_dir, write_json
from imagematch.reading import KB, read_file

if TYPE_CHECKING:
    import openvino

_FORMAT = 2
_FLOAT32_TOLERANCE = 1e-3
_MAX_FACTS_BYTES = 64 * KB
_SAMPLES = 16
_SAMPLE_PIXELS = 16 * 512**2
"""That the samples have together: at 2,048 pixels a side sixteen would take tens of gigabytes."""
_SAMPLES_AT_ONCE = 1_000


class UnconvertibleError(Exception):
    """This OpenVINO cannot run this network, or runs it to another result."""


def converted_network(core: openvino.Core, network: Network, cache_dir: Path | None, log: RunLog) -> openvino.Model:
    """The network in OpenVINO's form: read from `cache_dir`, or converted (this imports TensorFlow) and cached there.

    Args:
        core: OpenVINO.
        network: what to convert; a `QuantizedNetwork` is converted and then quantised.
        cache_dir: where converted networks are cached; None caches none. One that cannot be written is no error.
        log: told that a network is being converted.

    Returns:
        (batch, h, w, 3) uint8 of free sizes -> (batch, feature_dim) float32.

    Raises:
        UnconvertibleError: it cannot be converted, or its features differ from TensorFlow's. That is cached too, and
            tried again only with another OpenVINO.
        ModelError: the network cannot be built or quantised.
    """
    folder = None if cache_dir is None else cache_dir / _cache_name(network)
    cached = None if folder is None else _read(core, folder, network)
    if cached is not None:
        return cached
    with _turn(folder):
        cached = None if folder is None else _read(core, folder, network)
        if cached is not None:
            return cached
        if not isinstance(network, QuantizedNetwork):
            log.say(f"converting {network.name} for OpenVINO (once)")
        try:
            converted = _convert(core, network, cache_dir, log)
        except UnconvertibleError as error:
            _cache(error, folder, network, log)
            raise
        for remark in getattr(getattr(network, "spec", None), "remarks", ()):
            log.event("remark", f"{network.name}: {remark}", level="warning")
        _cache(converted, folder, network, log)
        return converted


def write_converted(network: Network, folder: Path, cache_dir: Path | None, log: RunLog) -> str | None:
    """Writes the network in OpenVINO's form into a folder; returns its digest, None where OpenVINO cannot run it here.

    Args:
        network: what to convert.
        folder: where its files go.
        cache_dir: where converted networks are cached; None caches none.
        log: told that a network is being converted.

    Raises:
        OSError: the files cannot be written.
    """
    try:
        import openvino

        converted = converted_network(openvino.Core(), network, cache_dir, log)
    except (ImportError, RuntimeError, UnconvertibleError):
        return None
    digest = write_network(converted, folder)
    remember_network(digest, image_size=network.image_size, feature_dim=network.feature_dim)
    return digest


@contextlib.contextmanager
def _turn(folder: Path | None) -> Iterator[None]:
    """Lets one process convert a network while others wait; without a lock, each process converts it."""
    with contextlib.ExitStack() as stack:
        if folder is not None:
            with contextlib.suppress(StudyError):
                stack.enter_context(locked(folder.with_name(f".{folder.name}.lock")))
        yield


def _cache_name(network: Network) -> str:
    """By content: what is converted, and what converts it."""
    import openvino

    return digest_json([network.digest, _FORMAT, openvino.__version__])


def _read(core: openvino.Core, folder: Path, network: Network) -> openvino.Model | None:
    """The cached network, or None where it is missing or damaged.

    Raises:
        UnconvertibleError: OpenVINO was found unable to run it.
    """
    try:
        facts: dict[str, Any] = json.loads(read_file(folder / "network.json", max_bytes=_MAX_FACTS_BYTES))
        if "unconvertible" in facts:
            raise UnconvertibleError(str(facts["unconvertible"]))
        size, dim = network.image_size, network.feature_dim
        return read_network(core, folder, facts["network"], image_size=size, feature_dim=dim)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelError):
        return None


def _cache(found: openvino.Model | UnconvertibleError, folder: Path | None, network: Network, log: RunLog) -> None:
    """Caches the network, or the reason why there is none; a failure to write is logged and no error."""
    if folder is None:
        return
    facts: dict[str, Any] = {"extractor": network.name}
    try:
        with replacing_dir(folder) as fresh:
            if isinstance(found, UnconvertibleError):
                facts["unconvertible"] = str(found)
            else:
                facts["network"] = write_network(found, fresh)
            write_json(fresh / "network.json", facts)
    except (StudyError, RuntimeError) as error:
        log.say(f"{network.name}: what was found of it cannot be cached in {folder.parent}: {error}")


def _convert(core: openvino.Core, network: Network, cache_dir: Path | None, log: RunLog) -> openvino.Model:
    if isinstance(network, QuantizedNetwork):
        return _quantized(core, network, cache_dir, log)
    convert = getattr(getattr(network, "spec", None), "convert", None)
    return _from_keras(core, network) if convert is None else _from_file(core, network, convert)


def _quantized(core: openvino.Core, network: QuantizedNetwork, cache_dir: Path | None, log: RunLog) -> openvino.Model:
    model = converted_network(core, network.network, cache_dir, log)
    log.say(f"quantising {network.name} to 8 bits on images of the training split (once)")
    in_8_bits = quantize(model, network.calibration, network.image_size)
    size, dim = network.image_size, network.feature_dim
    with tempfile.TemporaryDirectory(prefix="imagematch-") as folder:
        try:
            return read_network(
                core, Path(folder), write_network(in_8_bits, Path(folder)), image_size=size, feature_dim=dim
            )
        except ModelError as error:
            raise UnconvertibleError(f"in 8 bits it {error.what}") from error


def _from_file(core: openvino.Core, network: Network, convert: Callable[[Path], str]) -> openvino.Model:
    """A network that came as a file. Raises ModelError where it cannot be used any more."""
    size, dim = network.image_size, network.feature_dim
    with tempfile.TemporaryDirectory(prefix="imagematch-") as folder:
        return read_network(core, Path(folder), convert(Path(folder)), image_size=size, feature_dim=dim)


def _sample_count(image_size: int) -> int:
    return max(2, min(_SAMPLES, _SAMPLE_PIXELS // image_size**2))


def _from_keras(core: openvino.Core, network: Network) -> openvino.Model:
    import openvino
    import tensorflow as tf

    model = network.build()
    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    function = tf.function(lambda images: model(images, training=False), input_signature=signature)
    images = sample_images(_sample_count(network.image_size), min(network.image_size, 64))
    with exact_float32():
        expected = function(images).numpy()
    try:
        raw = openvino.convert_model(function.get_concrete_function())
        features = next(out for out in raw.outputs if out.partial_shape.rank == 2)
        converted = openvino.Model([features], raw.get_parameters(), network.name)
        exact = _features(core, converted, images)
    except ImagematchError:
        raise
    except Exception as error:  # OpenVINO raises many kinds, its own and RuntimeError
        raise UnconvertibleError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if exact.shape != expected.shape or not relative_error(exact, expected) <= _FLOAT32_TOLERANCE:
        raise UnconvertibleError("its features differ from TensorFlow's")
    return converted


def _features(core: openvino.Core, model: openvino.Model, images: np.ndarray) -> np.ndarray:
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(images)[0])


def sample_images(count: int, size: int) -> np.ndarray:
    """Made-up photographs, always the same: coarse colour fields with finer detail. (count, size, size, 3) uint8."""
    images = np.empty((count, size, size, 3), np.uint8)
    for first in range(0, count, _SAMPLES_AT_ONCE):
        part = images[first : first + _SAMPLES_AT_ONCE]
        part[:] = _made_up(len(part), size, np.random.default_rng(first))
    return images


def _made_up(count: int, size: int, random: np.random.Generator) -> np.ndarray:
    images = np.zeros((count, size, size, 3), np.float32)
    amplitude = 1.0
    for grid in (2, 4, 8, 16, 32):
        if grid <= size:
            images += amplitude * enlarge(random.standard_normal((count, grid, grid, 3)), size)
        amplitude *= 0.6
    contrast = random.uniform(20, 80, (count, 1, 1, 1))
    brightness = random.uniform(70, 180, (count, 1, 1, 3))
    return np.clip(brightness + contrast * images, 0, 255).astype(np.uint8)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest distance of a row from what is expected, as a share of that row's norm."""
    wide = expected.astype(np.float64)
    norms = np.maximum(np.linalg.norm(wide, axis=1), np.finfo(np.float64).tiny)
    return float((np.linalg.norm(found - wide, axis=1) / norms).max())


def mean_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean cosine similarity of the rows of two arrays; a row that is not finite, or zero, counts as 0."""
    one, other = found.astype(np.float64), expected.astype(np.float64)  # random networks give features of 1e-20
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore"):
        cosine = (one * other).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
    return float(np.nan_to_num(cosine, nan=0.0).mean())
