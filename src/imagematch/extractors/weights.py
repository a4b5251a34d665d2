"""Where a network's weights come from: published ones, a file, or chance; their digest, and loading them."""

from __future__ import annotations

import functools
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.extractors.bit import BIT_URL, load_checkpoint
from imagematch.extractors.kerashub import build_preset, preset_files
from imagematch.extractors.networks import IMAGENET_DEVIATION, build_application
from imagematch.extractors.registry import Spec
from imagematch.extractors.weight_files import WEIGHTS_BYTES, counts, file_counts
from imagematch.files import digest_file, digest_json, os_reason
from imagematch.reading import RefusedFileError, check_file

if TYPE_CHECKING:
    import keras

_SUFFIXES = (".weights.h5", ".h5", ".keras")


def weights_digest(spec: Spec, weights: str, seed: int) -> str:
    """What identifies the weights, without TensorFlow: the file's content, the published file, or the seed.

    Raises:
        ModelError: `weights` is a path and there is no such file, or it is of a kind that holds no weights.
    """
    if spec.name == "pixels":
        return "none"
    from importlib.metadata import version

    if spec.preset:
        files = [_file_digest(file, f"feature_extractor: {spec.name}") for file in preset_files(spec)]
        preset = "preset:" + digest_json(files)
        if weights == "imagenet":
            return preset
        return f"{weights_digest(replace(spec, preset=''), weights, seed)}:{preset}"
    if weights == "random" or (weights == "imagenet" and spec.from_scratch):
        return f"random:{seed}:keras-{version('keras')}"
    if weights == "imagenet":
        if not spec.application:
            return f"imagenet:{Path(BIT_URL).name}"
        return f"imagenet:keras-{version('keras')}"  # this Keras names the file, mostly with its hash
    path = Path(weights)
    suffixes = (*_SUFFIXES, ".npz") if spec.name == "bit_m_r50x1" else _SUFFIXES
    if not path.name.endswith(suffixes):
        raise ModelError("not a file of weights", where=f"weights: {weights}", do=f"give one of {', '.join(suffixes)}")
    return "file:" + _file_digest(path, f"weights: {weights}")


def _file_digest(path: Path, where: str) -> str:
    try:
        check_file(path, max_bytes=WEIGHTS_BYTES, dense=True)
        status = path.stat()
        return _content_digest(path.absolute(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(
            f"cannot read the weights: {os_reason(error)}",
            where=where,
            do="give an existing file, `imagenet` or `random`",
        ) from error


@functools.lru_cache(maxsize=64)
def _content_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    return digest_file(path)


def load_weights(spec: Spec, network: keras.Model, weights: str) -> None:
    """Loads `imagenet` weights or those of a file into a network built with random ones.

    Raises:
        ModelError: the published weights cannot be fetched, or the file does not fit the network.
    """
    if spec.name == "pixels" or weights == "random" or (weights == "imagenet" and spec.from_scratch):
        return
    where = f"weights: {weights}"
    if weights == "imagenet":
        _load_published(spec, network)
    elif weights.endswith(".npz"):
        load_checkpoint(network, Path(weights), where)
    else:
        _load_file(spec, network, Path(weights), where)
    if spec.application.startswith("EfficientNetB"):
        _divide_by_standard_deviation(network)


def _load_file(spec: Spec, network: keras.Model, path: Path, where: str) -> None:
    expected = counts(tuple(variable.shape) for variable in network.weights if "float" in str(variable.dtype))
    try:
        found = file_counts(path)
    except RefusedFileError as error:
        raise ModelError(f"not a readable file of weights: {error.strerror}", where=where) from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"not a readable file of weights: {_line(error)}", where=where) from error
    if found != expected:
        raise _misfit(spec, expected, found, where)
    try:
        network.load_weights(path)
    except Exception as error:  # Keras raises many kinds here, with texts of many lines
        raise _misfit(spec, expected, found, where, _line(error)) from error


def _load_published(spec: Spec, network: keras.Model) -> None:
    """Fetches the published weights, once, into the cache of Keras or KerasHub, and loads them.

    An application is built a second time for that, at the size it was made for: its file is Keras's to choose.
    """
    import keras

    if spec.preset:
        network.set_weights(build_preset(spec, network.input_shape[1], weights=True).get_weights())
        return
    try:
        if not spec.application:
            path = Path(keras.utils.get_file(Path(BIT_URL).name, BIT_URL, cache_subdir="models"))
        else:
            published = build_application(spec, spec.image_size, "imagenet")
    except Exception as error:  # get_file raises bare Exception, URLError, OSError
        raise ModelError(
            f"the published weights of {spec.name} cannot be fetched ({_line(error)})",
            where="weights: imagenet",
            do="download that file elsewhere and give `weights: PATH`, or use `weights: random`",
        ) from error
    if spec.application:
        network.set_weights(published.get_weights())
    else:
        load_checkpoint(network, path, "weights: imagenet")


def _misfit(spec: Spec, expected: tuple[int, int], found: tuple[int, int], where: str, detail: str = "") -> ModelError:
    text = (
        f"they do not fit {spec.name}: it expects {expected[1]:,} numbers in {expected[0]} arrays, "
        f"the file has {found[1]:,} in {found[0]}"
    )
    return ModelError(
        f"{text} ({detail})" if detail else text, where=where, do="give weights of this network without its top"
    )


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def _divide_by_standard_deviation(network: Any) -> None:
    """What `keras.applications` adds as a layer, but only where it fetches an EfficientNet's weights itself.

    EfficientNets (of the first version) were trained with pixels divided by the standard deviation, while the
    Normalization layer in those files keeps the standard deviation as its variance. Without this the network sees
    pixels of half the contrast.
    """
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_variance.assign(layer.adapt_variance * IMAGENET_DEVIATION)
            layer.finalize_state()
