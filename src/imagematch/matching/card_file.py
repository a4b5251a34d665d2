"""`matcher.json` on disk: read with a limit, checked, and noticed where it was edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagematch.data import remember_yunet
from imagematch.errors import ConfigError, ModelError
from imagematch.events import printable
from imagematch.files import digest_json, os_reason, recovered_dir
from imagematch.matching.card import CARD_FILE, CARD_FORMAT, DETECTOR_FILE, MatcherCard
from imagematch.reading import MB, read_file

_MAX_BYTES = 8 * MB
_MAX_PARTS = 1_000
_MAX_VALUES = 400_000
_AGAIN = "train the model again"


def read_card(folder: Path) -> MatcherCard:
    """Reads and checks `matcher.json`; opens its YuNet file. A folder that a kill left elsewhere is put back first.

    Raises:
        ModelError: the folder or the file is missing, damaged, edited, or of another version.
    """
    path = folder / CARD_FILE
    values = read_values(folder)
    _check_format(values, folder)
    try:
        card, digest = MatcherCard.model_validate_json(json.dumps(values)), sealed(values)["digest"]
    except ValidationError as error:
        raise ModelError(f"is damaged ({_first_error(error)})", where=str(path), do=_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do=_AGAIN) from error
    if card.digest != digest:
        raise ModelError(
            "was changed since it was saved",
            where=str(path),
            do="restore it, or train again (another threshold needs no edit: matcher.match(a, b, threshold=0.9))",
        )
    _remember_detector(card, folder)
    return card


def _remember_detector(card: MatcherCard, folder: Path) -> None:
    """Opens the YuNet file of a matcher that has one, so that its faces can be found."""
    crop = card.embedding.face_crop
    if crop is None or crop.network is None:
        return
    try:
        remember_yunet(folder / DETECTOR_FILE, crop.network)
    except ConfigError as error:
        raise ModelError(error.what, where=error.where, do="restore it, or train again") from error


def read_values(folder: Path) -> dict[str, Any]:
    """What is in `matcher.json`, unchecked; its format is a whole number over 0.

    Raises:
        ModelError: the folder or the file is missing, cannot be read, or is no JSON object with a format.
    """
    path = recovered_dir(folder) / CARD_FILE
    try:
        content = read_file(path, max_bytes=_MAX_BYTES, inside=folder)
        if content.count(b"[") + content.count(b"{") > _MAX_PARTS or content.count(b",") > _MAX_VALUES:
            raise ValueError("no card")  # empty lists alone would take a hundred times their room
        values = json.loads(content.decode("utf-8"))
        found = values["format"]
        if type(found) is not int or found < 1:
            raise ValueError("no format")
        return dict(values)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_dir():
            do = "name a matcher's folder, as exp/saved_models/NAME, or train the model again"
            raise ModelError(f"{CARD_FILE} is missing", where=str(folder), do=do) from error
        do = "train one: python train.py --config FILE"
        raise ModelError("no such model folder", where=str(folder), do=do) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do=_AGAIN) from error


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A card's values as JSON, with the digest of all of them but itself."""
    rest = {key: value for key, value in values.items() if key != "digest"}
    return {**rest, "digest": digest_json(rest)}


def _check_format(values: Mapping[str, Any], folder: Path) -> None:
    found = values["format"]
    if found < CARD_FORMAT:
        raise ModelError(
            "was written by imagematch 0.1, whose matchers hold a program",
            where=str(folder),
            do=f"if it is your own: imagematch upgrade {folder}",
        )
    if found > CARD_FORMAT:
        version = str(values.get("imagematch", "unknown version"))[:100]
        raise ModelError(f"was written by a newer imagematch ({version})", where=str(folder), do="update imagematch")


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part)[:100] for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")[:300]
    return printable(f"{key}: {message}" if key else message)
