"""A matcher's folder: written whole or not at all, and checked file by file when it is opened."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import ModelError
from imagematch.files import digest_file, os_reason, replacing_dir
from imagematch.matching.card import FILE, FORMAT, EmbeddingCard, MatcherCard, ThresholdCard, read_card, sealed
from imagematch.matching.embedder import golden_pictures, make_embedder

if TYPE_CHECKING:
    import keras

MODEL_FILE = "feature_model.keras"
CONFIG_FILE = "config.yaml"


def save_matcher(
    folder: Path,
    *,
    name: str,
    model: keras.Model,
    config: str,
    embedding: EmbeddingCard,
    threshold: ThresholdCard,
    probability: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
    network_dir: Path | None = None,
    also: Callable[[Path], None] = lambda _folder: None,
) -> None:
    """Writes a matcher's folder; a folder of that name stays as it is until the new one is complete.

    Args:
        folder: where it goes.
        name: the experiment.
        model: the feature model.
        config: the train file that reproduces it.
        embedding: how images become embeddings.
        threshold: where a match begins.
        probability: distance -> probability.
        provenance: what it was made from; versions and the time are added.
        network_dir: where converted networks are kept.
        also: writes further files (figures, history, report) into the folder it is given.

    Raises:
        StudyError: the folder cannot be written.
    """
    from imagematch.model import save_feature_model

    with replacing_dir(folder) as fresh:
        save_feature_model(model, fresh / MODEL_FILE)
        (fresh / CONFIG_FILE).write_text(config, encoding="utf-8")
        embedder = make_embedder(embedding, lambda: model, network_dir=network_dir)
        golden = embedder.embed(golden_pictures(embedding.image_size))
        card = MatcherCard(
            format=FORMAT,
            imagematch=metadata.version("imagematch"),
            name=name,
            files={file: digest_file(fresh / file) for file in (MODEL_FILE, CONFIG_FILE)},
            embedding=embedding,
            threshold=threshold,
            probability=None if probability is None else dict(probability),
            provenance={**provenance, "versions": _versions(), "created": datetime.now(UTC).isoformat()},
            golden=[[float(f"{value:.7g}") for value in row] for row in golden],
            digest="",
        )
        text = json.dumps(sealed(card.model_dump(mode="json")), indent=2, allow_nan=False)
        (fresh / FILE).write_text(text + "\n", encoding="utf-8")
        also(fresh)


def open_folder(folder: Path) -> MatcherCard:
    """The card of a matcher's folder, after checking that every file is as it was written.

    Raises:
        ModelError: something is missing, was edited, or comes from a newer version.
    """
    card = read_card(folder)
    for file in sorted({MODEL_FILE, CONFIG_FILE} | set(card.files)):
        check_file(card, folder, file)
    return card


def check_file(card: MatcherCard, folder: Path, file: str) -> Path:
    """The path of a file of the matcher. Raises ModelError where it is missing or no longer what it was."""
    path = folder / file
    missing = ModelError(f"{file} is missing", where=str(folder), do="train the model again")
    if Path(file).name != file:
        raise missing
    try:
        digest = digest_file(path)
    except FileNotFoundError as error:
        raise missing from error
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path)) from error
    if digest != card.files.get(file):
        raise ModelError("was changed since it was saved", where=str(path), do="restore it, or train again")
    return path


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "openvino", "numpy", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # there is no OpenVINO for some processors
            continue
    return found
