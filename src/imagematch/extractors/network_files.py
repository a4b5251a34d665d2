"""Networks that came as files: `onnx:PATH`, an ONNX, OpenVINO IR or TFLite file with its preprocessing.

The file is read by OpenVINO in a process with limits and written anew in plain operations; only that is run. The
preprocessing is `input` of the configuration, or that of `preprocessor_config.json` (Hugging Face) or `config.json`
(timm) beside the file.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ConfigError, ModelError
from imagematch.events import printable
from imagematch.extractors.sidecars import read_preprocessing, three_numbers
from imagematch.files import digest_file, digest_json, os_reason, write_json
from imagematch.framing import SQUASHED, Framing
from imagematch.limited_process import run_limited
from imagematch.reading import GB, KB, MB, check_file, open_file, read_file
from imagematch.registry import ONNX_PREFIX, ExtractorSpec

if TYPE_CHECKING:
    import keras

_VERSION = 1
"""Raised whenever the same file would give other features."""
_SUFFIXES = (".onnx", ".xml", ".tflite")
_MAX_BYTES = 4 * GB
_MAX_FACTS_BYTES = 64 * KB
_TIME_S = 300
_MEMORY_BYTES, _MEMORY_PER_BYTE = 8 * GB, 8
_CONSTANT = 1e-3
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])(?=(.{1,127}))", re.DOTALL)
_LOCATION_BYTES = 139


@dataclass(frozen=True)
class NetworkFile:
    """What a network file is, and how images are made ready for it.

    Attributes:
        path: the file.
        digest: of its content.
        settings: `size`, `scale`, `mean`, `std`, `channels`, `layout`, `output`, `pooling`, `crop`, `crop_share` and
            `interpolation`, as given or found.
        source: where the preprocessing comes from.
        facts: what was found in it: `inputs`, `outputs`, `layout`, `image_size`, `output`, `pooling`, `feature_dim`,
            `parameters`, `variation` of the features between images.
        files: the file, and those that it has its weights in.
    """

    path: Path
    digest: str
    settings: Mapping[str, Any]
    source: str
    facts: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def remarks(self) -> list[str]:
        """Warnings that a user of its features needs."""
        if self.facts["variation"] < _CONSTANT:
            return ["its features are nearly the same for all images: its mean, std or scale may be wrong"]
        return []


def open_network_file(name: str, given: Mapping[str, Any] | None = None, image_size: int | None = None) -> NetworkFile:
    """Finds out what a network file is; what was found is remembered by content in the user's cache folder.

    Args:
        name: `onnx:PATH`.
        given: `input` of the configuration.
        image_size: that of the configuration, which must not contradict the file.

    Raises:
        ConfigError: its preprocessing is not known, or contradicts itself.
        ModelError: there is no such file, or it is no network of images that imagematch runs.
    """
    path = Path(name.removeprefix(ONNX_PREFIX)).expanduser()
    if path.suffix not in _SUFFIXES:
        raise ModelError("not a network file", where=name, do=f"give one that ends in {', '.join(_SUFFIXES)}")
    files = network_file_parts(path)
    digest = _digest(files)
    settings, source = _settings(path, dict(given or {}), image_size)
    key = digest_json([_VERSION, digest, settings, _openvino_version()])
    remembered = cache_folder() / "network-files" / f"{key}.json"
    facts = _read_facts(remembered)
    if facts is None:
        with tempfile.TemporaryDirectory(prefix="imagematch-") as folder:
            size_from = "input" if image_size or "size" in (given or {}) else source
            facts = _convert(files, digest, settings, size_from, Path(folder))
        with suppress(Exception):  # it is found out again next time
            remembered.parent.mkdir(parents=True, exist_ok=True)
            write_json(remembered, facts)
    if not facts["finite"]:
        raise ModelError("gives features that are not numbers", where=name, do="check its scale, mean and std")
    return NetworkFile(path, digest, settings, source, facts, files)


def network_file_spec(name: str, given: Mapping[str, Any] | None, image_size: int | None) -> ExtractorSpec:
    """What is known of the extractor `onnx:PATH`. Raises as `open_network_file`."""
    file = open_network_file(name, given, image_size)

    def build(_image_size: int) -> keras.Model:
        raise ModelError("runs as it is, on OpenVINO: it has no Keras model", where=name, do="use engine: auto")

    def convert(folder: Path) -> str:
        return str(_convert(file.files, file.digest, file.settings, file.source, folder)["network"])

    return ExtractorSpec(
        name=name,
        build=build,
        image_size=file.facts["image_size"],
        min_image_size=file.facts["image_size"],
        feature_dim=file.facts["feature_dim"],
        preprocessing="none",
        parameters=file.facts["parameters"],
        architecture=("network file", _VERSION, dict(file.settings)),
        files=file.files,
        convert=convert,
        remarks=tuple(file.remarks),
        framing=Framing.of(file.settings),
    )


def network_file_parts(path: Path) -> tuple[Path, ...]:
    """A network file and those that it has its weights in, each looked at.

    Raises:
        ModelError: one is not there, too large, or not beside it.
    """
    try:
        check_file(path, max_bytes=_MAX_BYTES, dense=True)
        others = [path.with_suffix(".bin").name] if path.suffix == ".xml" else []
        others += _external_data(path) if path.suffix == ".onnx" else []
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="check the path") from error
    for other in others:
        try:
            check_file(path.parent / other, max_bytes=_MAX_BYTES, inside=path.parent, dense=True)
        except OSError as error:
            what = f"has its weights in {printable(other)}, which cannot be read: {os_reason(error)}"
            raise ModelError(what, where=str(path), do="put it beside the network, or export it again") from error
    return (path, *(path.parent / other for other in others))


def _external_data(path: Path) -> list[str]:
    """The files that an ONNX file names as `location` of external data, as protocol buffers write it."""
    found, before = set(), b""
    with open_file(path, max_bytes=_MAX_BYTES) as file:
        while chunk := file.read(16 * MB):
            for match in _LOCATION.finditer(before + chunk):
                name = match[2][: match[1][0]]
                if len(name) == match[1][0]:  # else it ends in the next chunk
                    found.add(name.decode(errors="replace"))
            before = chunk[-_LOCATION_BYTES:]
    return sorted(found)


def _digest(files: Sequence[Path]) -> str:
    try:
        digests = [digest_file(file) for file in files]
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(files[0]), do="check the path") from error
    return digests[0] if len(digests) == 1 else digest_json(digests)


def _convert(
    files: Sequence[Path], digest: str, settings: Mapping[str, Any], size_from: str, folder: Path
) -> dict[str, Any]:
    """Writes the converted network into a folder, and gives what was found of it.

    Raises:
        ModelError: it is no network that imagematch runs, or is no longer that of the digest.
    """
    path = files[0]
    size = sum(file.stat().st_size for file in files)
    run_limited(
        "imagematch.extractors.engines.onnx_conversion:convert_network_file",
        str(path.absolute()),
        json.dumps({**settings, "size_from": size_from}),
        str(folder.absolute()),
        memory_bytes=_MEMORY_BYTES + _MEMORY_PER_BYTE * size,
        time_s=_TIME_S,
        writes_bytes=_MAX_BYTES,
        where=path,
        do="check that it is a network of images",
    )
    facts = _read_facts(folder / "facts.json")
    if facts is None:
        raise ModelError("cannot be read", where=str(path), do="export it again")
    if _digest(files) != digest:
        do = "leave it as it is while something runs, and start again"
        raise ModelError("has changed since it was opened", where=str(path), do=do)
    return facts


def _settings(path: Path, given: dict[str, Any], image_size: int | None) -> tuple[dict[str, Any], str]:
    """The preprocessing that counts, complete, and where it comes from."""
    found, source = ({}, "input") if {"mean", "std"} <= given.keys() else read_preprocessing(path)
    for key in ("mean", "std", "size"):
        if key in given and key in found and three_numbers(given[key]) != three_numbers(found[key]):
            what = f"input says {key}: {given[key]}, and {source} says {found[key]}"
            raise ConfigError(what, where="input", do="give mean and std in input, or remove that file")
    settings: dict[str, Any] = dict.fromkeys(("layout", "output", "pooling", "size"))
    settings |= {"scale": 1 / 255, "channels": "rgb"}
    if "crop" in given:
        found.pop("crop_share", None)  # it is that of the other crop
    settings |= {**asdict(SQUASHED), **found, **given}
    if settings["crop"] != "center" and settings["crop_share"] != 1:
        what = f"crop_share: {settings['crop_share']:g} is of crop: center, not of crop: {settings['crop']}"
        raise ConfigError(what, where="input", do="leave one of them out")
    if not {"mean", "std"} <= settings.keys():
        do = "give input: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}, or what it was trained with"
        raise ConfigError(f"the preprocessing of {path.name} is not known", where="input", do=do)
    if image_size is not None:
        if settings["size"] not in (None, image_size):
            what = f"image_size: {image_size} contradicts {settings['size']} px of {source}"
            raise ConfigError(what, where="image_size", do="leave one of them out")
        settings["size"] = image_size
    for key in ("mean", "std"):
        settings[key] = three_numbers(settings[key])
    return settings, source


def _read_facts(path: Path) -> dict[str, Any] | None:
    kinds = {"image_size": int, "feature_dim": int, "parameters": int, "network": str, "layout": str, "pooling": str}
    kinds |= {"output": str, "finite": bool, "variation": float, "inputs": list, "outputs": list}
    try:
        facts = json.loads(read_file(path, max_bytes=_MAX_FACTS_BYTES))
        sound = all(isinstance(facts[key], kind) for key, kind in kinds.items())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if sound and facts["image_size"] > 0 and facts["feature_dim"] > 0 else None


def cache_folder() -> Path:
    """Folder of cached facts about network files; for a user without a home, a path at which nothing exists."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path("~/.cache").expanduser()) / "imagematch"
    except RuntimeError:
        return Path(os.devnull) / "imagematch"


def _openvino_version() -> str:
    from importlib.metadata import version

    return version("openvino")
