"""Where a network's weights come from: published ones, a file, or chance; their digest, and loading them."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.extractors.registry import Spec
from imagematch.files import digest_file, os_reason

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
    if weights == "random" or (weights == "imagenet" and not spec.imagenet_url):
        from importlib.metadata import version

        return f"random:{seed}:keras-{version('keras')}"
    if weights == "imagenet":
        return f"imagenet:{spec.imagenet_md5 or Path(spec.imagenet_url).name}"
    path = Path(weights)
    if not path.name.endswith(_SUFFIXES):
        raise ModelError("not a file of weights", where=f"weights: {weights}", do=f"give one of {', '.join(_SUFFIXES)}")
    try:
        status = path.stat()
        return "file:" + _content_digest(path.absolute(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(
            f"cannot read the weights: {os_reason(error)}",
            where=f"weights: {weights}",
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
    if spec.name == "pixels" or weights == "random" or (weights == "imagenet" and not spec.imagenet_url):
        return
    path = _published(spec) if weights == "imagenet" else Path(weights)
    where = f"weights: {weights}"
    expected = _counts(variable.shape for variable in network.weights if "float" in str(variable.dtype))
    try:
        found = _file_counts(path)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(f"not a readable file of weights: {_line(error)}", where=where) from error
    if found != expected:
        raise _misfit(spec, expected, found, where)
    try:
        network.load_weights(path)
    except Exception as error:  # Keras raises many kinds here, with texts of many lines
        raise _misfit(spec, expected, found, where, _line(error)) from error
    if spec.application == "EfficientNetB0":
        _divide_by_standard_deviation(network)


def _published(spec: Spec) -> Path:
    """The local copy of the published weights, fetched once into Keras's own cache."""
    import keras

    try:
        name = spec.imagenet_url.rsplit("/", 1)[1]
        arguments: dict[str, Any] = {"file_hash": spec.imagenet_md5} if spec.imagenet_md5 else {}
        return Path(keras.utils.get_file(name, spec.imagenet_url, cache_subdir="models", **arguments))
    except Exception as error:  # get_file raises bare Exception, URLError, OSError
        raise ModelError(
            f"the ImageNet weights of {spec.name} cannot be fetched ({_line(error)})",
            where="weights: imagenet",
            do=f"download {spec.imagenet_url} elsewhere and give `weights: PATH`, or use `weights: random`",
        ) from error


def _counts(shapes: Any) -> tuple[int, int]:
    """(arrays, numbers in them); scalars are left out, since counters come and go between versions of Keras."""
    sizes = []
    for shape in shapes:
        size = 1
        for side in shape:
            size *= int(side)
        if len(shape) > 0:
            sizes.append(size)
    return len(sizes), sum(sizes)


def _file_counts(path: Path) -> tuple[int, int]:
    """(arrays, numbers) in a file of weights, read from its headers alone.

    Raises:
        ValueError: the file refers to other files.
    """
    import h5py

    if path.suffix == ".keras":
        with (
            zipfile.ZipFile(path) as archive,
            archive.open("model.weights.h5") as member,
            h5py.File(member, "r") as file,
        ):
            return _counts(_shapes(file))
    with h5py.File(path, "r") as file:
        return _counts(_shapes(file.get("model_weights", file)))


def _shapes(group: Any) -> list[tuple[int, ...]]:
    import h5py

    shapes = []
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError("it refers to another file")
        item = group[name]
        if isinstance(item, h5py.Group):
            if name not in ("optimizer", "optimizer_weights", "seed_generator"):
                shapes.extend(_shapes(item))
        elif item.external or item.is_virtual:
            raise ValueError("it refers to another file")
        elif item.dtype.kind == "f":
            shapes.append(item.shape)
    return shapes


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
    """What `keras.applications` adds as a layer, but only where it fetches EfficientNet-B0's weights itself.

    Those weights were trained with pixels divided by the standard deviation, while their Normalization layer keeps the
    standard deviation as its variance. Without this the network sees pixels of half the contrast.
    """
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_variance.assign(layer.adapt_variance * _B0_STANDARD_DEVIATION)
            layer.finalize_state()


_B0_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
