"""A saved matcher measured on a list of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from imagematch.config import load_train
from imagematch.errors import DataError
from imagematch.evaluation import (
    FoldedAccuracy,
    Interval,
    connected_groups,
    distances_of_rows,
    folded_accuracy,
    listed_pairs,
    pair_list_auc_interval,
    roc_auc,
    threshold_summary,
)
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Engine, open_engine
from imagematch.features import FeatureStore, normalize_rows
from imagematch.files import Layout
from imagematch.matching import ImageMatcher, decoded_blocks, replacement
from imagematch.pipeline.evaluate import began_with
from imagematch.pipeline.pair_lists import dealt_folds, read_pairs
from imagematch.sources import file_below

_ONE_KIND = "All pairs of the list are {kind}: there is no ROC AUC, and accuracy, precision and F1 mean little."
_NO_INTERVAL = "There is no interval of the ROC AUC: without one of the people no genuine or no impostor pair is left."
_NO_FOLDS = "There is no accuracy over folds: without one of them no genuine or no impostor pair is left to choose on."


@dataclass(frozen=True)
class PairListMetrics:
    """What embeddings, or features, come to on a list of pairs, whatever the threshold.

    Attributes:
        roc_auc: over all pairs; None without genuine or impostor pairs.
        interval: its, over groups of images that show the same; None likewise.
        folded: each fold at the threshold chosen on the others; None where some fold's others lack a kind of pair.
    """

    roc_auc: float | None
    interval: Interval | None
    folded: FoldedAccuracy | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "roc_auc": self.roc_auc,
            "roc_auc_ci95": None if self.interval is None else [self.interval.low, self.interval.high],
            "ci95_classes": None if self.interval is None else self.interval.classes,
            "ci95_trustworthy": None if self.interval is None else self.interval.trustworthy,
            "folded": None if self.folded is None else asdict(self.folded),
        }


@dataclass(frozen=True)
class PairsEvaluation:
    """What a matcher comes to on a list of pairs.

    Attributes:
        pairs: measured; `skipped` more have an image that cannot be used.
        genuine: of them, pairs of the same.
        unreadable: image -> why it cannot be used.
        matcher: its figures.
        baseline: those of the frozen extractor alone.
        at_threshold: what the matcher's own threshold does, as in `metrics.json`.
        remarks: what a reader must know before believing the figures.
    """

    pairs: int
    skipped: int
    genuine: int
    unreadable: Mapping[str, str]
    matcher: PairListMetrics
    baseline: PairListMetrics
    at_threshold: Mapping[str, Any]
    remarks: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "pairs": self.pairs,
            "skipped_pairs": self.skipped,
            "genuine_pairs": self.genuine,
            "impostor_pairs": self.pairs - self.genuine,
            "unreadable": dict(self.unreadable),
            **self.matcher.to_json(),
            "threshold": dict(self.at_threshold),
            "baseline": self.baseline.to_json(),
            "remarks": list(self.remarks),
        }


def evaluate_pairs(
    model_dir: Path | str,
    pairs_file: Path | str,
    data_dir: Path | str | None = None,
    feature_dir: Path | None = None,
    log: RunLog = SILENT,
) -> PairsEvaluation:
    """Measures a saved matcher on a list of pairs, beside the frozen extractor alone.

    Images that cannot be used are told, and the others go on.

    Args:
        model_dir: the matcher's folder.
        pairs_file: see `read_pairs`.
        data_dir: what the list's paths start from; None: the current directory.
        feature_dir: the feature store; None: `exp/features`.
        log: told what happens.

    Raises:
        ModelError: the matcher cannot be opened, or the weights that its extractor began with.
        DataError: the list cannot be read, or no pair can be used.
    """
    listed = read_pairs(Path(pairs_file))
    matcher = ImageMatcher.load(model_dir, log=log)
    root = Path() if data_dir is None else Path(data_dir)
    spelt = {name: file_below(root, name) for pair in listed for name in (pair.first, pair.second)}
    pairs = [replace(pair, first=spelt[pair.first], second=spelt[pair.second]) for pair in listed]
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    alone = _alone(matcher, Path(model_dir), feature_dir or Layout().features, log)
    embeddings, features, unreadable = _embed_files(matcher, alone, root, names, log)
    rows = {name: row for row, name in enumerate(name for name in names if name not in unreadable)}
    usable = [pair for pair in pairs if pair.first in rows and pair.second in rows]
    if not usable:
        raise DataError(
            f"none of its {len(pairs):,} pairs can be used: no image of theirs can be read",
            where=str(pairs_file),
            do="name their folder: --data-dir DIR",
        )
    first, second = (np.array([rows[getattr(pair, side)] for pair in usable]) for side in ("first", "second"))
    same = np.array([pair.same for pair in usable])
    groups, folds = connected_groups(first, second, same), dealt_folds(same)
    if usable[0].fold is not None:  # LFW's: the folders are the people
        people = {name: str(PurePath(name).parent) for name in rows}
        groups = np.unique([people[name] for name in rows], return_inverse=True)[1]
        folds = np.array([pair.fold for pair in usable])
    remarks = [remark for remark in (replacement(matcher.card.embedding, matcher.engine),) if remark]
    foldable = all(_both(same[folds != fold]) for fold in np.unique(folds))
    if not foldable and _both(same) and len(np.unique(folds)) > 1:
        remarks.append(_NO_FOLDS)
        log.event("remark", _NO_FOLDS, level="warning")
    if not _both(same):
        remarks.append(_ONE_KIND.format(kind="genuine" if same.any() else "impostor"))
        log.event("remark", remarks[-1], level="warning")

    def figures(vectors: np.ndarray) -> tuple[np.ndarray, PairListMetrics]:
        distances = distances_of_rows(vectors, first, second)
        if not _both(same):
            return distances, PairListMetrics(None, None, None)
        try:
            interval = pair_list_auc_interval(distances, same, (groups[first], groups[second]))
        except DataError:
            interval = None
        folded = folded_accuracy(distances, same, folds) if foldable else None
        return distances, PairListMetrics(roc_auc(listed_pairs(distances, same)), interval, folded)

    distances, found = figures(embeddings)
    if _both(same) and found.interval is None:
        remarks.append(_NO_INTERVAL)
        log.event("remark", _NO_INTERVAL, level="warning")
    threshold = matcher.card.threshold.threshold()
    return PairsEvaluation(
        pairs=len(usable),
        skipped=len(pairs) - len(usable),
        genuine=int(same.sum()),
        unreadable=unreadable,
        matcher=found,
        baseline=figures(features)[1],
        at_threshold=threshold_summary(listed_pairs(distances, same), threshold),
        remarks=tuple(remarks),
    )


def _both(same: np.ndarray) -> bool:
    """Whether there are genuine and impostor pairs."""
    return bool(same.any() and not same.all())


def _alone(matcher: ImageMatcher, folder: Path, feature_dir: Path, log: RunLog) -> Engine:
    """What runs the frozen extractor alone; of a trained one, with the weights that it began with."""
    if not matcher.card.embedding.trained:
        return matcher.engine
    settings, store = load_train(folder / "config.yaml"), FeatureStore(feature_dir)
    extractor = began_with(settings, store, matcher)
    return open_engine(extractor, settings.engine, settings.feature_precision, store.networks, log)


def _embed_files(
    matcher: ImageMatcher, alone: Engine, root: Path, names: Sequence[str], log: RunLog
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Embeddings and unit features of the images that can be used, in their order, and why the others cannot."""
    card, unreadable = matcher.card.embedding, dict[str, str]()
    embeddings, features = [np.zeros((0, card.dim), np.float32)], [np.zeros((0, alone.feature_dim), np.float32)]
    with log.progress("embedding", len(names)) as done:
        for start, found in decoded_blocks([root / name for name in names], card.decode):
            images = []
            for name, image in zip(names[start:], found, strict=False):
                if isinstance(image, DataError):
                    unreadable[name] = image.what
                    log.event("unreadable", f"left out: {image}", path=name, level="warning")
                else:
                    images.append(image)
            if images:
                given = alone.run(images)
                features.append(normalize_rows(given))
                once = alone is matcher.engine and not card.test_time_flip
                embeddings.append(matcher.embed_features(given) if once else matcher.embed(images, cropped=True))
            done(len(found))
    return np.concatenate(embeddings), np.concatenate(features), unreadable
