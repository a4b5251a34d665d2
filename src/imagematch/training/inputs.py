"""What the trained part of a network sees: the features of all that stays as it is below it, kept or computed anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imagematch.config import TrainSettings
from imagematch.events import RunLog
from imagematch.extractors import Concatenation, Cut, Extractor, Network, find_cut
from imagematch.features import MIRROR, FeatureArray, Features

_NUMBER_BYTES = 4
_AT_MOST_BYTES = 16 << 30

KeepFeatures = Callable[[Network, int | str], Features]
"""Network and view -> the features of the whole data set, from the store."""


@dataclass(frozen=True)
class Inputs:
    """What the trained part sees.

    Attributes:
        extractor: with what is trained of it.
        lower: the network below the trained part: the extractor, its cut, or None where pictures themselves are seen.
        views: its kept features, (n, feature_dim) each: of the images as they are, then of augmented views. None where
            images go through it whenever they are needed.
        mirrored: its kept features of the mirror images, where `test_time_flip` asks for them and `views` are kept.
        kept_for_training: whether training steps take these features; else they serve where nothing is augmented.
    """

    extractor: Extractor | Concatenation
    lower: Network | None
    views: Sequence[FeatureArray] | None
    mirrored: FeatureArray | None
    kept_for_training: bool


def gather_inputs(
    settings: TrainSettings, extractor: Extractor | Concatenation, plain: Features, keep: KeepFeatures, log: RunLog
) -> Inputs:
    """Finds the cut, and computes (or finds) the features there where keeping them is worth it.

    They are kept where one image's are no more numbers than the pixels that the network would read instead, and all of
    them no more than 16 GiB; and where the images of a training step are not augmented anew.

    Args:
        settings: what is trained.
        extractor: with what is trained of it.
        plain: the features of the whole extractor.
        keep: computes or finds features.
        log: told where the cut is.
    """
    anew = settings.image_augmentation and settings.augmented_views == 0
    views: list[int | str] = list(range(1, settings.augmented_views + 1)) if settings.image_augmentation else []
    mirror: list[int | str] = [MIRROR] if settings.test_time_flip else []
    if extractor.frozen:
        kept_views = [plain.array, *(keep(extractor, view).array for view in views)]
        mirrored = keep(extractor, MIRROR).array if mirror else None
        return Inputs(extractor, extractor, kept_views, mirrored, not anew)
    cut = find_cut(extractor)
    if cut is None:
        return Inputs(extractor, None, None, None, False)
    size = cut.feature_dim * _NUMBER_BYTES * len(plain.array) * (1 + len(views) + len(mirror))
    pixels = extractor.image_size**2 * 3
    kept = not anew and cut.feature_dim <= pixels and size <= _AT_MOST_BYTES
    log.event("cut", _cut_line(cut, kept=kept, size=size), layer=cut.layer, feature_dim=cut.feature_dim, kept=kept)
    if not kept:
        return Inputs(extractor, cut, None, None, False)
    mirrored = keep(cut, MIRROR).array if mirror else None
    return Inputs(extractor, cut, [keep(cut, view).array for view in (0, *views)], mirrored, True)


def _cut_line(cut: Cut, *, kept: bool, size: int) -> str:
    below = f"{cut.extractor.name} is trained above {cut.layer}"
    if kept:
        return f"{below}: {cut.feature_dim:,} numbers an image are kept ({size / 2**20:,.0f} MiB)"
    return f"{below}: every step computes what is below, {cut.feature_dim:,} numbers an image"
