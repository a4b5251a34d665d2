"""Two matchers on the pairs that people judged: which of them decides more of them as a person did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import TrainSettings, load_train
from imagematch.data import AnsweredPair, answered_pairs, read_corrections, scan_images
from imagematch.errors import ConfigError, DataError, ModelError
from imagematch.evaluation import distances_of_rows
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout, write_json
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery


@dataclass(frozen=True)
class PairDecisions:
    """What a matcher decides of answered pairs, at its own threshold.

    Attributes:
        name: the matcher's.
        threshold: its own.
        right: pairs that it decides as the person did.
        same_found: of the pairs judged the same, those that match.
        different_found: of the pairs judged different, those that do not.
    """

    name: str
    threshold: float
    right: int
    same_found: int
    different_found: int


@dataclass(frozen=True)
class MatcherComparison:
    """Two matchers on the same answered pairs.

    Attributes:
        pairs: compared; `missing` more have an image that is nowhere, or cannot be used.
        same: of them, judged the same.
        old, new: the matchers.
        only_old: pairs that the old one alone decides right.
        only_new: likewise.
        p_value: of a difference as large by chance (exact sign test of those, two-sided); 1 where they are as many.
    """

    pairs: int
    missing: int
    same: int
    old: PairDecisions
    new: PairDecisions
    only_old: int
    only_new: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for people."""
        missing = f"; {self.missing:,} more have an image that is not there" if self.missing else ""
        lines = [
            f"{self.pairs:,} answered pairs, {self.same:,} the same, {self.pairs - self.same:,} different{missing}"
        ]
        for which, one in (("old", self.old), ("new", self.new)):
            lines.append(
                f"{which}  {one.name}: right on {one.right:,}, finds {one.same_found:,} of {self.same:,} the same and "
                f"{one.different_found:,} of {self.pairs - self.same:,} different, at its threshold {one.threshold:.4f}"
            )
        lines.append(
            f"{self.only_new:,} are right with the new one only, {self.only_old:,} with the old one only "
            f"(by chance as uneven: p = {self.p_value:.2g})"
        )
        return lines


def compare_on_corrections(
    old: Path | str,
    new: Path | str,
    corrections: Path | None = None,
    *,
    data_dir: Path | None = None,
    gallery: str | None = None,
    layout: Layout | None = None,
    log: RunLog = SILENT,
) -> MatcherComparison:
    """Compares a retrained matcher with the one that it would replace, on the pairs that people judged.

    Args:
        old: the folder of the matcher in use.
        new: that of the retrained one; its configuration says where the images are.
        corrections: the table of answers; None: that of the new one's configuration.
        data_dir: where the images are now; None: where they were.
        gallery: where images are looked for, too: judged ones that only it has, as the small ones that it stores.
        layout: where manifests are cached; None: `exp`.
        log: told what happens.

    Raises:
        ConfigError: no corrections are named.
        DataError: they cannot be read, or no pair can be used.
        ModelError: a matcher cannot be opened.
    """
    settings = load_train(Path(new) / "config.yaml")
    table = corrections or settings.corrections
    if table is None:
        raise ConfigError("names no corrections", where=str(new), do="give --corrections FILE")
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    pairs = answered_pairs(read_corrections(table))
    if not pairs:
        raise DataError("has no pair that was called the same or different", where=str(table))
    matchers = [ImageMatcher.load(folder, log=log) for folder in (old, new)]
    wanted = {name for pair in pairs for name in (pair.first, pair.second)}
    images = _images(settings, wanted, layout or Layout(), log, optional=gallery is not None)
    if gallery is not None:
        with Gallery.open(gallery) as opened:
            for one in opened.images():
                if one.digest in wanted and one.digest not in images and (data := opened.image_file(one.id)):
                    images[one.digest] = data
    return _compared(pairs, images, *matchers, where=str(table))


def compare_with_older(settings: TrainSettings, layout: Layout, new: Path, log: RunLog) -> None:
    """Compares a matcher that was trained with corrections with the one of its name that it is about to replace.

    What is found is said, and stands in answered_pairs.json beside the new matcher.
    """
    old = layout.model_dir(settings.experiment_name)
    if settings.corrections is None or not old.exists():
        return
    try:
        found = compare_on_corrections(old, new, layout=layout)
    except (DataError, ModelError) as error:
        log.event("not_compared", f"not compared with the matcher that it replaces: {error}", level="warning")
        return
    for line in found.lines():
        log.say(line)
    log.event("compared", **found.to_json())
    write_json(new / "answered_pairs.json", found.to_json())


def _images(
    settings: TrainSettings, wanted: set[str], layout: Layout, log: RunLog, *, optional: bool
) -> dict[str, bytes]:
    """The files of the images that are named, by digest or path, as the data set has them."""
    settings = settings.model_copy(update={"corrections": None, "max_classes": None, "face_crop": "none"})
    try:
        scan = scan_images(settings, manifest_dir=layout.manifests, log=log)
    except DataError:
        if not optional:
            raise
        return {}
    found = {name: row for row in scan.usable for name in row.names if name in wanted}
    return {name: scan.source.read(row.source_file) for name, row in found.items()}


def _compared(
    pairs: Sequence[AnsweredPair], images: Mapping[str, bytes], old: ImageMatcher, new: ImageMatcher, *, where: str
) -> MatcherComparison:
    unusable = set[int]()
    embeddings = [
        one.embed(list(images.values()), unreadable=lambda row, _error: unusable.add(row)) for one in (old, new)
    ]
    kept = [row for row in range(len(images)) if row not in unusable]
    names = list(images)
    rows = {names[row]: number for number, row in enumerate(kept)}
    usable = [pair for pair in pairs if pair.first in rows and pair.second in rows]
    if not usable:
        raise DataError(
            f"none of its {len(pairs):,} answered pairs has both images there",
            where=where,
            do="name their folder or gallery: --data-dir DIR, --gallery GALLERY",
        )
    first, second = (np.array([rows[getattr(pair, side)] for pair in usable]) for side in ("first", "second"))
    same = np.array([pair.same for pair in usable])
    rights, decisions = [], []
    for matcher, vectors in zip((old, new), embeddings, strict=True):
        right = (distances_of_rows(vectors[kept], first, second) < matcher.threshold) == same
        found = int(right[same].sum()), int(right[~same].sum())
        decisions.append(PairDecisions(matcher.card.name, matcher.threshold, int(right.sum()), *found))
        rights.append(right)
    only_old, only_new = int((rights[0] & ~rights[1]).sum()), int((rights[1] & ~rights[0]).sum())
    return MatcherComparison(
        pairs=len(usable),
        missing=len(pairs) - len(usable),
        same=int(same.sum()),
        old=decisions[0],
        new=decisions[1],
        only_old=only_old,
        only_new=only_new,
        p_value=sign_test(only_old, only_new),
    )


def sign_test(one: int, other: int) -> float:
    """The two-sided p-value of the sign test: 2 P(at most the smaller count) under equal odds, at most 1.

    >>> sign_test(0, 5)
    0.0625
    """
    total, fewer = one + other, min(one, other)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)
