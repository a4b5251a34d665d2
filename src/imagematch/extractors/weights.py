"""Where a network's weights come from: published ones, a file, or chance; their digest, and loading them.

Files are HDF5, looked at before Keras reads them: whole, in themselves, and of the network's size. Such a file can
point at other files, at itself, and at arrays of any size that were never written.
"""

from __future__ import annotations

import contextlib
import functools
import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.extractors.network_files import network_file_parts
from imagematch.files import digest_file, digest_json, os_reason
from imagematch.npz import open_zip
from imagematch.reading import GB, MB, RefusedFileError, check_file
from imagematch.registry import ONNX_PREFIX, ExtractorSpec

if TYPE_CHECKING:
    import keras

WEIGHTS_BYTES = 8 * GB

_SUFFIXES = (".weights.h5", ".h5", ".keras")
_KERAS_MEMBER = "model.weights.h5"
_MOST_MEMBERS = 1000
_MOST_ITEMS = 20_000
_ATTRIBUTE_BYTES = 16 * MB
_PASSED_OVER = ("optimizer", "optimizer_weights", "seed_generator")


def weights_digest(spec: ExtractorSpec, weights: str, seed: int) -> str:
    """What identifies the weights, without TensorFlow: the file's content, the published file, or the seed.

    Raises:
        ModelError: `weights` is a path and there is no such file, or it is of a kind that holds no weights.
    """
    if spec.parameters == 0:
        return "none"
    from importlib.metadata import version

    if spec.files:
        files = [_file_digest(file, f"feature_extractor: {spec.name}") for file in spec.files]
        preset = "preset:" + digest_json(files)
        if weights == "imagenet":
            return preset
        return f"{weights_digest(replace(spec, files=()), weights, seed)}:{preset}"
    if weights == "random" or (weights == "imagenet" and spec.from_scratch):
        return f"random:{seed}:keras-{version('keras')}"
    if weights == "imagenet":
        return f"imagenet:{spec.published}"
    path = Path(weights)
    suffixes = (*_SUFFIXES, *spec.weight_readers)
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


def load_weights(spec: ExtractorSpec, network: keras.Model, weights: str) -> None:
    """Loads `imagenet` weights or those of a file into a network built with random ones.

    Raises:
        ModelError: the published weights cannot be fetched, or the file does not fit the network.
    """
    if spec.parameters == 0 or weights == "random" or (weights == "imagenet" and spec.from_scratch):
        return
    where = f"weights: {weights}"
    if weights == "imagenet":
        assert spec.load_published is not None
        spec.load_published(network)
    elif reader := spec.weight_readers.get(Path(weights).suffix):
        reader(network, Path(weights), where)
    else:
        _load_file(spec, network, Path(weights), where)
    if spec.after_loading is not None:
        spec.after_loading(network)


def _load_file(spec: ExtractorSpec, network: keras.Model, path: Path, where: str) -> None:
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


def _misfit(
    spec: ExtractorSpec, expected: tuple[int, int], found: tuple[int, int], where: str, detail: str = ""
) -> ModelError:
    text = (
        f"they do not fit {spec.name}: it expects {expected[1]:,} numbers in {expected[0]} arrays, "
        f"the file has {found[1]:,} in {found[0]}"
    )
    return ModelError(
        f"{text} ({detail})" if detail else text, where=where, do="give weights of this network without its top"
    )


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def counts(shapes: Iterable[tuple[int, ...]]) -> tuple[int, int]:
    """(arrays, numbers in them); scalars are left out, since counters come and go between versions of Keras."""
    sizes = [math.prod(int(side) for side in shape) for shape in shapes if len(shape) > 0]
    return len(sizes), sum(sizes)


def file_counts(path: Path) -> tuple[int, int]:
    """(arrays, numbers) in a file of weights, read from its headers alone.

    Raises:
        OSError: it is no regular file, too large, mostly unwritten, or no HDF5.
        ValueError: it refers to other files, or has arrays that are compressed or were never written.
    """
    with _opened(path) as file:
        if path.suffix != ".keras" and "model_weights" in file:
            _shapes(file)  # Keras may look at all of it
            return counts(_shapes(file["model_weights"]))
        return counts(_shapes(file))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    check_file(path, max_bytes=WEIGHTS_BYTES, dense=True)
    if path.suffix != ".keras":
        with h5py.File(path, "r") as file:
            yield file
        return
    with open_zip(path, max_bytes=WEIGHTS_BYTES, members=_MOST_MEMBERS) as archive:
        info = archive.getinfo(_KERAS_MEMBER)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > path.stat().st_size:
            raise ValueError("it is compressed")
        with archive.open(info) as member, h5py.File(member, "r") as file:
            yield file


def _shapes(top: Any) -> list[tuple[int, ...]]:
    """The shapes of all arrays of floats below a group, each item visited once."""
    import h5py

    shapes, groups, seen = [], [top], 0
    visited = {_address(top)}
    while groups:
        group = groups.pop()
        _check_attributes(group)
        seen += len(group)
        if seen > _MOST_ITEMS:
            raise ValueError(f"it has more than {_MOST_ITEMS:,} items")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError("it refers to another file or another place")
            item = group[name]
            if (address := _address(item)) in visited:
                raise ValueError("it has an item in two places")
            visited.add(address)
            _check_attributes(item)
            if isinstance(item, h5py.Group):
                groups += [] if name in _PASSED_OVER else [item]
            elif not isinstance(item, h5py.Dataset):
                raise ValueError("it declares a type of its own")
            elif _checked(item).dtype.kind == "f":
                shapes.append(item.shape)
    return shapes


def _address(item: Any) -> Any:
    import h5py

    return h5py.h5o.get_info(item.id).addr


def _checked(item: Any) -> Any:
    if item.external or item.is_virtual:
        raise ValueError("it refers to another file")
    if item.shape is None or item.dtype.kind not in "fiubS":
        raise ValueError("it holds something else than numbers")
    if item.nbytes > _ATTRIBUTE_BYTES // 256 and item.id.get_storage_size() < item.nbytes:
        raise ValueError("it has arrays that are compressed or were never written")
    return item


def _check_attributes(item: Any) -> None:
    """Notes beside the arrays: texts and small lists, none of which may repeat a long text."""
    import h5py

    total = 0
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        note = h5py.h5a.open(item.id, index=number)
        kind = note.get_type()
        of_any_length = kind.get_class() == h5py.h5t.VLEN or (
            isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        )
        total += note.get_storage_size()
        if total > _ATTRIBUTE_BYTES or (of_any_length and math.prod(note.shape) > 1):
            raise ValueError("it has attributes of unlimited length")


def missing_files(
    weights: Iterable[str | tuple[str, ...]], extractors: Iterable[str | tuple[str, ...]]
) -> Iterator[ModelError]:
    """What is wrong with the weights and network files that settings name, before anything opens them."""
    for name in _names(weights):
        if name not in ("imagenet", "random") and not Path(name).is_file():
            yield ModelError("there is no such file", where=f"weights: {name}", do="check the path")
    for name in _names(extractors):
        if name.startswith(ONNX_PREFIX):
            try:
                network_file_parts(Path(name.removeprefix(ONNX_PREFIX)).expanduser())
            except ModelError as error:
                yield error


def _names(given: Iterable[str | tuple[str, ...]]) -> Iterable[str]:
    return dict.fromkeys(name for one in given for name in ((one,) if isinstance(one, str) else one))
