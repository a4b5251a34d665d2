"""Writes a matcher of imagematch 0.1 anew as data. It opens a Keras archive: run it in a process with limits.

`python -m imagematch.matching.format_1 OLD NEW`: exit 0, or 5 with one line on standard output.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from imagematch.errors import ImagematchError, ModelError
from imagematch.evaluation import Probability
from imagematch.extractors import SPECS, Concatenation, Extractor, Spec
from imagematch.matching.card import (
    CONFIG_FILE,
    FaceCropCard,
    HeadCard,
    MatcherCard,
    ProbabilityCard,
    ProvenanceCard,
    ThresholdCard,
)
from imagematch.matching.card_file import read_values
from imagematch.matching.folder import KERAS_FILE, save_matcher
from imagematch.matching.keras_archive import check_archive
from imagematch.reading import GB, MB, check_file, read_file

if TYPE_CHECKING:
    import keras

_SAME_DISTANCE = 0.1
_MAX_CONFIG_BYTES = 4 * MB
_MAX_ARCHIVE_BYTES = 4 * GB


def write_anew(old: Path, new: Path) -> MatcherCard:
    """Opens a folder of format 1 and writes it as one of today's.

    Raises:
        ModelError: it is not of format 1, is damaged, holds anything but known layers, or comes to other embeddings.
        StudyError: the new folder cannot be written.
    """
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
        config=read_file(old / CONFIG_FILE, max_bytes=_MAX_CONFIG_BYTES, inside=old).decode("utf-8"),
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

    import imagematch.extractors.layers
    import imagematch.model.head  # noqa: F401  (both register our layers)

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that does not fit
        raise ModelError(f"cannot be opened: {_line(error)}", where=str(path), do="train the model again") from error


def _extractor(embedding: Mapping[str, Any]) -> Extractor | Concatenation:
    def one(name: str, feature_dim: int) -> Extractor:
        spec = SPECS.get(name) or Spec(name, embedding["image_size"], 1, feature_dim, "preset", preset=name)
        return Extractor(spec, embedding["image_size"], "random", "")

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


if __name__ == "__main__":
    try:
        write_anew(Path(sys.argv[1]), Path(sys.argv[2]))
    except ImagematchError as problem:
        print(json.dumps([problem.what, problem.where, problem.do]))
        sys.exit(ModelError.exit_code)
