"""`feature_precision: auto`: a lower precision where it is faster here and ranks the images of this data as well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import Dataset
from imagematch.errors import DataError, ImagematchError, StudyError
from imagematch.evaluation import epoch_metrics
from imagematch.events import RunLog
from imagematch.extractors import (
    CALIBRATION_IMAGES,
    CalibrationImages,
    Concatenation,
    Extractor,
    Network,
    can_quantize,
    choose_engine,
    lower_precisions,
    quantized,
    sample_images,
)
from imagematch.features import FeatureStore, normalized_features
from imagematch.files import digest_json, write_json
from imagematch.framing import SQUASHED, Framing
from imagematch.reading import KB, read_file
from imagematch.training.validation import sample_rows

FASTER = 1.3
"""A lower precision must be so many times as fast as what would be used otherwise."""
TOLERANCE = 0.003
"""And its validation MAP@R and ROC AUC must lie so close to those of float32, or above them."""
_VERSION = 1
_WORTH_S = 30
"""Where float32 takes less for all images, trying others would take as long."""
_MOST_IMAGES = 2_000
_TIMED_IMAGES, _TIMED_SIZE, _TIMED_S = 64, 256, 2.0
_METRICS = {"map_at_r": "MAP@R", "roc_auc": "AUC"}


@dataclass(frozen=True)
class SomeImages:
    """Some images of a data set."""

    dataset: Dataset
    rows: np.ndarray

    @property
    def digests(self) -> np.ndarray:
        """(n,) digests of the content."""
        return self.dataset.digests[self.rows]

    def pixels(self, row: int, max_size: int, framing: Framing = SQUASHED) -> np.ndarray:
        """See Dataset."""
        return self.dataset.pixels(int(self.rows[row]), max_size, framing)


def calibration_images(dataset: Dataset, framing: Framing = SQUASHED) -> CalibrationImages:
    """What networks are quantised on: up to 300 images of the training split, the same however they are ordered."""
    rows = dataset.rows("train")
    rows = rows[np.argsort(dataset.digests[rows], kind="stable")][:CALIBRATION_IMAGES]
    digest = digest_json(["calibration", *dataset.digests[rows].tolist()])
    return CalibrationImages(digest, len(rows), lambda number, size: dataset.pixels(int(rows[number]), size, framing))


def choose_precision(
    settings: TrainSettings, dataset: Dataset, extractor: Extractor | Concatenation, store: FeatureStore, log: RunLog
) -> str:
    """The precision that the settings name, or what `auto` comes to on this machine for these images.

    A lower precision is taken where it is at least 1.3 times as fast as what would be used otherwise, and the
    validation MAP@R and ROC AUC of its features alone are at most 0.003 below those of float32. What was found is
    remembered with the feature store. Features that the comparison computes are cached there like all others.

    Raises:
        ImagematchError: the images or the network cannot be used.
    """
    if settings.feature_precision != "auto":
        return settings.feature_precision
    candidates = [one for one in lower_precisions() if one != "int8" or can_quantize()]
    if not extractor.frozen or not candidates:
        return "float32"
    if choose_engine(extractor, settings.engine, "float32", store.networks, log).name != "openvino":
        return "float32"
    rows = sample_rows(dataset.rows("validation"), dataset.labels, _MOST_IMAGES, settings.seed)
    calibration = calibration_images(dataset, extractor.framing)
    images = digest_json([*dataset.digests[rows].tolist(), *dataset.labels[rows].tolist()])
    known = store.networks / "precision" / f"{_key(extractor, images, calibration, candidates)}.json"
    found = _read(known)
    if found is None:
        gate = _Gate(settings, dataset, rows, extractor, calibration, store, log)
        found = gate.choose(candidates)
        if found is None:
            return "float32"
        try:
            write_json(known, found)
        except StudyError as error:
            log.say(f"what was measured cannot be remembered: {error}")
    log.event("feature_precision", f"feature_precision: {found['precision']}: {found['why']}", **found)
    return str(found["precision"])


def _key(extractor: Network, images: str, calibration: CalibrationImages, candidates: list[str]) -> str:
    """By content and machine: speeds are those of this processor."""
    import openvino

    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    parts = [_VERSION, extractor.digest, images, calibration.digest, candidates, processor, openvino.__version__]
    return digest_json(parts)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_file(path, max_bytes=16 * KB))
        sound = found["precision"] in ("float32", "bfloat16", "int8") and isinstance(found["why"], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if sound else None


class _Gate:
    """Measures speed and ranking of one network's features at several precisions."""

    def __init__(
        self,
        settings: TrainSettings,
        dataset: Dataset,
        rows: np.ndarray,
        extractor: Network,
        calibration: CalibrationImages,
        store: FeatureStore,
        log: RunLog,
    ) -> None:
        self._settings = settings
        self._dataset = dataset
        self._rows = rows
        self._extractor = extractor
        self._calibration = calibration
        self._store = store
        self._log = log

    def choose(self, candidates: list[str]) -> dict[str, Any] | None:
        """The precision and why; None where there is nothing to gain, or nothing to measure it on."""
        speed = self._speed("float32")
        if len(self._dataset.paths) / speed < _WORTH_S:
            return None
        try:
            exact = self._metrics("float32")
        except DataError:  # no genuine or no impostor pair among the validation images
            return None
        chosen, why, measured = "float32", [_line("float32", speed, exact)], {"float32": {"speed": speed, **exact}}
        for precision in candidates:
            try:
                faster = self._speed(precision)
                if faster < FASTER * speed:
                    why.append(f"{precision} {faster:,.0f} images/s, not {FASTER} x as fast")
                    continue
                found = self._metrics(precision)
            except ImagematchError as error:
                why.append(f"{precision} cannot be had ({error.what})")
                continue
            measured[precision] = {"speed": faster, **found}
            borne = all(found[name] >= exact[name] - TOLERANCE for name in _METRICS)
            why.append(f"{_line(precision, faster, found)}{'' if borne else f', more than {TOLERANCE} below float32'}")
            if borne:
                chosen, speed = precision, faster
        return {"precision": chosen, "why": "; ".join(why), "measured": measured}

    def _network(self, precision: str) -> Network:
        return quantized(self._extractor, self._calibration) if precision == "int8" else self._extractor

    def _speed(self, precision: str) -> float:
        """Images a second from memory to features."""
        choice = choose_engine(
            self._network(precision), self._settings.engine, precision, self._store.networks, self._log
        )
        engine = choice.open()
        images = sample_images(_TIMED_IMAGES, min(self._extractor.image_size, _TIMED_SIZE))
        engine.run(images[: 2 * engine.batch_size])
        return max(_rates(engine.run, images))

    def _metrics(self, precision: str) -> dict[str, float]:
        """MAP@R and ROC AUC of the validation images by their features alone."""
        images = SomeImages(self._dataset, self._rows)
        how: dict[str, Any] = {"engine": self._settings.engine, "precision": precision, "log": self._log}
        array = self._store.features(images, self._network(precision), **how).array
        every = np.arange(len(self._rows))
        found = epoch_metrics(normalized_features(array, every), self._dataset.labels[self._rows])
        return {name: found[name] for name in _METRICS}


def _rates(run: Any, images: np.ndarray) -> Iterator[float]:
    """Images a second of several runs: of one that something else disturbed, the others are the measure."""
    began = time.perf_counter()
    while True:
        started = time.perf_counter()
        run(images)
        now = time.perf_counter()
        yield len(images) / (now - started)
        if now - began > _TIMED_S:
            return


def _line(precision: str, speed: float, metrics: dict[str, float]) -> str:
    shown = ", ".join(f"{title} {metrics[name]:.4f}" for name, title in _METRICS.items())
    return f"{precision} {speed:,.0f} images/s ({shown})"
