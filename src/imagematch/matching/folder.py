"""A matcher's folder: data that is written whole or not at all, and checked file by file when it is opened."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.data import yunet_data
from imagematch.errors import ModelError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import (
    CalibrationImages,
    Concatenation,
    Extractor,
    TrainedNetwork,
    converted_files,
    member_network,
    quantized,
    write_converted,
    write_extractor,
)
from imagematch.files import digest_file, os_reason, replacing_dir
from imagematch.matching.card import (
    CARD_FILE,
    DETECTOR_FILE,
    HEAD_FILE,
    MODEL_CONFIG_FILE,
    MatcherCard,
    ProbabilityCard,
    ProvenanceCard,
    ThresholdCard,
    embedding_files,
    weights_files,
)
from imagematch.matching.card_file import read_card, sealed
from imagematch.matching.embedder import golden_images, open_embedder, saved_network
from imagematch.matching.embedding_card import EmbeddingCard, ExtractorCard
from imagematch.model import read_head, write_head
from imagematch.reading import GB, MB, check_file
from imagematch.registry import short_name

if TYPE_CHECKING:
    import keras

KERAS_FILE = "feature_model.keras"
"""Written for users of Keras. It is never opened: a Keras archive is a program."""

_MAX_CONFIG_BYTES = 4 * MB
_MAX_WEIGHTS_BYTES = 8 * GB


def save_matcher(
    folder: Path,
    *,
    name: str,
    extractor: Extractor | Concatenation,
    network: keras.Model | None,
    trained: bool,
    head: keras.Model,
    config: str,
    embedding: Mapping[str, Any],
    threshold: ThresholdCard,
    probability: ProbabilityCard | None,
    provenance: ProvenanceCard,
    calibration: CalibrationImages | None = None,
    network_dir: Path | None = None,
    also: Callable[[Path], None] = lambda _folder: None,
    log: RunLog = SILENT,
) -> MatcherCard:
    """Writes a matcher's folder; a folder of that name stays as it is until the new one is complete.

    Args:
        folder: where it goes.
        name: the experiment.
        extractor: images -> features.
        network: the extractor with weights of its own; None where they are those that it names.
        trained: the extractor was trained with the head.
        head: features -> embeddings, as `build_head` made it.
        config: the train file that reproduces it.
        embedding: the fields of `EmbeddingCard`, less `extractors` and `trained`.
        threshold: where a match begins.
        probability: distance -> probability.
        provenance: what it was made from; versions and the time are added.
        calibration: what the extractor was quantised on; None where it does not run in 8 bits.
        network_dir: where converted networks are cached.
        also: writes further files (metrics, history, report) into the folder it is given.
        log: told what happens.

    Raises:
        StudyError: the folder cannot be written.
        ModelError: the network cannot be built.
    """
    from imagematch.model import build_feature_model

    with replacing_dir(folder) as fresh:
        whole = None if _came_as_file(extractor) else network if network is not None else extractor.build()
        if whole is not None:
            build_feature_model(whole, head).save(fresh / KERAS_FILE)
        extractors = _write_extractors(fresh, extractor, network, whole, calibration, network_dir, log)
        values = {**embedding, "extractors": extractors, "trained": trained}
        if trained:  # its threshold was chosen in float32, where all engines agree
            engine = "tensorflow" if any(one.network is None for one in extractors) else "openvino"
            values |= {"engine": engine, "precision": "float32"}
        card = EmbeddingCard(**values)
        write_head(fresh / HEAD_FILE, card.head_shape, head)
        (fresh / MODEL_CONFIG_FILE).write_text(config, encoding="utf-8")
        if card.face_crop is not None and card.face_crop.network is not None:
            (fresh / DETECTOR_FILE).write_bytes(yunet_data(card.face_crop.network))
        files = (MODEL_CONFIG_FILE, HEAD_FILE, *embedding_files(card))
        written = MatcherCard(
            format=2,
            imagematch=metadata.version("imagematch"),
            name=name,
            files={file: digest_file(fresh / file) for file in files},
            embedding=card,
            threshold=threshold,
            probability=probability,
            provenance=provenance.model_copy(update={"versions": _versions(), "created": _now()}),
            golden=((0.0,) * card.dim,) * 3,
            digest="0" * 32,
        )
        embedder = open_embedder(card, saved_network(written, fresh), read_head(fresh / HEAD_FILE, card.head_shape))
        golden = embedder.embed(golden_images(card.image_size)).tolist()
        rounded = tuple(tuple(float(f"{value:.7g}") for value in row) for row in golden)
        sealed_card = sealed(written.model_copy(update={"golden": rounded}).model_dump(mode="json"))
        text = json.dumps(sealed_card, indent=2, allow_nan=False)
        (fresh / CARD_FILE).write_text(text + "\n", encoding="utf-8")
        also(fresh)
    return read_card(folder)


def _came_as_file(extractor: Extractor | Concatenation) -> bool:
    """Whether it has no Keras model, or one of several has none."""
    if isinstance(extractor, Concatenation):
        return any(_came_as_file(member) for member in extractor.members if isinstance(member, Extractor))
    return extractor.spec.convert is not None


def _write_extractors(
    folder: Path,
    extractor: Extractor | Concatenation,
    network: keras.Model | None,
    whole: keras.Model | None,
    calibration: CalibrationImages | None,
    network_dir: Path | None,
    log: RunLog,
) -> tuple[ExtractorCard, ...]:
    """Writes weights and converted network of each extractor; of one that came as a file, the network alone."""
    members: Sequence[Any] = extractor.members if isinstance(extractor, Concatenation) else (extractor,)
    named = [ExtractorCard(name=short_name(one.name), feature_dim=one.feature_dim, network=None) for one in members]
    cards = []
    for number, (member, card, file) in enumerate(zip(members, named, weights_files(named), strict=True)):
        digest, weights = None, not _came_as_file(member)
        built = member_network(whole, number) if isinstance(extractor, Concatenation) and whole is not None else whole
        if weights:
            built = member.build() if built is None else built
            write_extractor(folder / str(file), built)
        if member.name != "pixels":
            source = member if network is None else TrainedNetwork(member, built)
            source = source if calibration is None else quantized(source, calibration)
            digest = write_converted(source, folder, network_dir if network is None else None, log)
        if digest is None and not weights:
            raise ModelError("cannot be saved without OpenVINO, which runs it", where=member.name)
        cards.append(card.model_copy(update={"network": digest, "weights": weights}))
    return tuple(cards)


def open_folder(folder: Path) -> MatcherCard:
    """The card of a matcher's folder, after checking that its small files are as they were written.

    Raises:
        ModelError: something is missing, was edited, or comes from another version.
    """
    card = read_card(folder)
    for file, limit in ((HEAD_FILE, _MAX_WEIGHTS_BYTES), (MODEL_CONFIG_FILE, _MAX_CONFIG_BYTES)):
        path = folder / file
        try:
            check_file(path, max_bytes=limit, inside=folder, dense=True)
            digest = digest_file(path)
        except FileNotFoundError as error:
            raise ModelError(f"{file} is missing", where=str(folder), do="train the model again") from error
        except OSError as error:
            raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="restore the file") from error
        if digest != card.files[file]:
            raise ModelError("was changed since it was saved", where=str(path), do="restore it, or train again")
    return card


def matcher_files(card: MatcherCard) -> tuple[str, ...]:
    """The names of all files that a matcher needs: its card, what that names, and the converted networks."""
    digests = [one.network for one in card.embedding.extractors if one.network is not None]
    return (CARD_FILE, *card.files, *(name for digest in digests for name in converted_files(digest)))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "openvino", "numpy", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # there is no OpenVINO for some processors
            continue
    return found
