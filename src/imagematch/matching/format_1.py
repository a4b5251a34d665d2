"""Writes a matcher of imagematch 0.1 anew as data. It opens a Keras archive: run it in a process with limits."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from imagematch.errors import ModelError
from imagematch.evaluation import Probability
from imagematch.extractors import Concatenation, Extractor
from imagematch.matching.card import MODEL_CONFIG_FILE, MatcherCard, ProbabilityCard, ProvenanceCard, ThresholdCard
from imagematch.matching.card_file import read_values
from imagematch.matching.embedding_card import FaceCropCard, HeadCard
from imagematch.matching.folder import KERAS_FILE, save_matcher
from imagematch.reading import GB, MB, check_file, read_file
from imagematch.registry import EXTRACTOR_REGISTRY, ExtractorSpec

if TYPE_CHECKING:
    import keras

_SAME_DISTANCE = 0.1
_MAX_CONFIG_BYTES = 4 * MB
_MAX_ARCHIVE_BYTES = 4 * GB

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MEMBERS = ["metadata.json", _CONFIG, _WEIGHTS]
_MAX_MEMBER_CONFIG_BYTES = 32 * MB
_MAX_MEMBER_WEIGHTS_BYTES = 4 * GB

_KERAS = {
    None: {"__keras_tensor__"},
    "keras": {"DTypePolicy", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.applications.convnext": {"LayerScale"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},
    "keras.src.ops.numpy": {"Add", "Multiply"},
    "keras.initializers": {"Constant", "GlorotUniform", "HeNormal", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {
        *("Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Dense"),
        *("DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Multiply"),
        *("Normalization", "ReLU", "Rescaling", "Reshape", "Resizing", "UnitNormalization", "ZeroPadding2D"),
        *("Cropping2D", "GlobalAveragePooling1D", "GroupNormalization", "LayerNormalization", "SeparableConv2D"),
    },
}
"""Everything our networks consist of, and no more: a network that needs another layer adds it here."""

_OURS = {
    ("imagematch.extractors.layers", "CaffePixels", "imagematch>CaffePixels"),
    ("imagematch.extractors.layers", "ClassToken", "imagematch>ClassToken"),
    ("imagematch.extractors.layers", "StandardizedConv2D", "imagematch>StandardizedConv2D"),
    ("imagematch.extractors.layers", "FixedLength", "imagematch>FixedLength"),
    ("imagematch.model.flip_model", "Mirror", "imagematch>Mirror"),
    ("imagematch.model.head", "FFBlock", "imagematch>FFBlock"),
    ("imagematch.model.siamese", "PairScore", "imagematch>PairScore"),
}

_HUB_MODULE = re.compile(r"keras_hub\.src\.models(\.[a-z0-9_]+)+")
_HUB_NETWORK = re.compile(r"[A-Za-z0-9]+(Backbone|VisionEncoder)")
"""KerasHub's networks may be inside, too: they are made of numbers and names alone, and open no files."""


def write_anew(old_folder: Path | str, new_folder: Path | str) -> MatcherCard:
    """Opens a folder of format 1 and writes it as one of today's.

    Raises:
        ModelError: it is not of format 1, is damaged, holds anything but known layers, or comes to other embeddings.
        StudyError: the new folder cannot be written.
    """
    old, new = Path(old_folder), Path(new_folder)
    card = read_values(old)
    if card.get("format") != 1:
        raise ModelError("is not a matcher of imagematch 0.1", where=str(old), do="use it as it is")
    try:
        return _write(card, old, new)
    except (KeyError, TypeError, ValueError, ValidationError, OSError) as error:
        raise ModelError(f"is damaged ({_line(error)})", where=str(old), do="train the model again") from error


def _write(card: Mapping[str, Any], old: Path, new: Path) -> MatcherCard:
    from imagematch.model import split_feature_model

    embedding = card["embedding"]
    network, head = split_feature_model(_open_archive(old / KERAS_FILE, old))
    provenance, fitted, face_crop = card["provenance"], card["probability"], embedding.get("face_crop")
    written = save_matcher(
        new,
        name=card["name"],
        extractor=_extractor(embedding),
        network=network,
        trained=bool(embedding["whole_model"]),
        head=head,
        config=read_file(old / MODEL_CONFIG_FILE, max_bytes=_MAX_CONFIG_BYTES, inside=old).decode("utf-8"),
        embedding={
            "image_size": embedding["image_size"],
            "decoder": embedding["decoder"],
            "engine": embedding["engine"],
            "precision": embedding["precision"],
            "head": _head_card(head),
            "test_time_flip": embedding.get("test_time_flip", False),
            "face_crop": None if face_crop is None else FaceCropCard(**face_crop),
        },
        threshold=ThresholdCard(**card["threshold"]),
        probability=None if fitted is None else ProbabilityCard.of(Probability.from_json(fitted)),
        provenance=ProvenanceCard(
            **{key: provenance[key] for key in ProvenanceCard.model_fields if key in provenance},
            extractor_digest=embedding["network_digest"],
        ),
    )
    distance = np.linalg.norm(np.array(written.golden) - np.array(card["golden"]), axis=1).max()
    if not distance <= _SAME_DISTANCE:
        raise ModelError(f"gives other embeddings when it is written anew ({distance:.4f} apart)", where=str(old))
    return written


def _open_archive(path: Path, folder: Path) -> keras.Model:
    check_file(path, max_bytes=_MAX_ARCHIVE_BYTES, inside=folder, dense=True)
    if check_archive(path):
        if importlib.util.find_spec("keras_hub") is None:
            do = "pip install 'imagematch[kerashub]'"
            raise ModelError("holds a network of keras-hub, which is missing here", where=str(path), do=do)
        import keras_hub  # noqa: F401  (registers its networks with Keras)
    import keras

    from imagematch.extractors import FixedLength  # noqa: F401  (registers our layers with Keras)
    from imagematch.model import FFBlock  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that does not fit
        raise ModelError(f"cannot be opened: {_line(error)}", where=str(path), do="train the model again") from error


def _extractor(embedding: Mapping[str, Any]) -> Extractor | Concatenation:
    def one(name: str, feature_dim: int) -> Extractor:
        size = embedding["image_size"]
        spec = EXTRACTOR_REGISTRY.all().get(name) or ExtractorSpec(
            name=name,
            build=_not_built,
            image_size=size,
            min_image_size=1,
            feature_dim=feature_dim,
            preprocessing="none",
            parameters=None,
            architecture=(name,),
            files=(Path(name),),
        )
        return Extractor(spec, size, "random", "")

    members = embedding.get("members") or ()
    if members:
        return Concatenation(tuple(one(member["extractor"], member["feature_dim"]) for member in members))
    return one(embedding["extractor"], embedding["feature_dim"])


def _head_card(head: keras.Model) -> HeadCard:
    """What the head is made of, by the kinds of its layers in their order."""
    layers = [(type(layer).__name__, layer) for layer in head.layers]
    kinds = [kind for kind, _ in layers]
    blocks = tuple(int(layer.units) for kind, layer in layers if kind == "FFBlock")
    dense = [layer for kind, layer in layers if kind == "Dense"]
    whitening = len(dense) == 2
    expected = ["InputLayer", *["Dense"] * whitening, *["FFBlock"] * len(blocks), "Dense", "UnitNormalization"]
    if kinds != expected:
        raise ValueError(f"its head consists of {', '.join(kinds)}"[:200])
    first = int(dense[0].units) if whitening else None
    return HeadCard(units=blocks, whitening=first, embedding_dim=int(dense[-1].units))


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _not_built(image_size: int) -> keras.Model:
    raise ModelError(f"its network is not built anew for {image_size} px", do="train the model again")


def check_archive(path: Path) -> bool:
    """Refuses everything that imagematch 0.1 did not write; Keras itself would import and call what a file names.

    Returns:
        Whether it holds a network of KerasHub, which Keras must know before it can open the file.

    Raises:
        ModelError: the file is damaged, or holds foreign or huge members, or anything but known layers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            if sorted(member.filename for member in archive.infolist()) != sorted(_MEMBERS):
                raise ModelError("is not a feature model: unexpected files inside", where=str(path))
            if sizes[_CONFIG] > _MAX_MEMBER_CONFIG_BYTES or sizes[_WEIGHTS] > _MAX_MEMBER_WEIGHTS_BYTES:
                raise ModelError("is not a feature model: too large inside", where=str(path))
            config = json.loads(archive.read(_CONFIG))
            damaged = archive.testzip()
            objects = list(_objects(config))
            foreign = [node["class_name"] for node in objects if not _is_known(node)]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, OSError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do="train the model again") from error
    if damaged is not None:
        raise ModelError(f"is damaged ({damaged})", where=str(path), do="train the model again")
    if foreign:
        raise ModelError(
            f"holds the layer {str(foreign[0])[:60]!r}, which is not allowed",
            where=str(path),
            do="open only your own models",
        )
    return any(_is_of_keras_hub(node) for node in objects)


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object that a Keras configuration would make."""
    if isinstance(node, dict):
        if "class_name" in node:
            yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _is_known(node: dict[str, Any]) -> bool:
    module, name, registered = (node.get(key) for key in ("module", "class_name", "registered_name"))
    if not all(isinstance(value, str | None) for value in (module, name, registered)):
        return False
    if (module, name, registered) in _OURS or _is_of_keras_hub(node):
        return True
    return name in _KERAS.get(module, ()) and registered in (None, name)


def _is_of_keras_hub(node: dict[str, Any]) -> bool:
    module, name = str(node.get("module")), str(node.get("class_name"))
    registered = node.get("registered_name") == f"keras_hub>{name}"
    return bool(registered and _HUB_MODULE.fullmatch(module) and _HUB_NETWORK.fullmatch(name))
