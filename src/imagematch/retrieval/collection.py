"""A folder's images as vectors, through the cached features, so that no network sees an image twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.data import Quarantined
from imagematch.errors import ConfigError, ModelError
from imagematch.events import SILENT, RunLog
from imagematch.features import FeatureStore
from imagematch.matching import ImageMatcher
from imagematch.retrieval.images import ImageFolder, list_images

SPACES = ("embedding", "features")
"""embedding: what the matcher compares, of length 1. features: what its extractor alone gives, before the head."""

_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Collection:
    """Images with their vectors.

    Attributes:
        images: where they are, and their labels.
        vectors: (n, dim) float32, or float16 for kept features; row i is image i.
        space: what the vectors are, one of SPACES.
        computed: how many images went through the extractor now; 0 where all were kept.
    """

    images: ImageFolder
    vectors: np.ndarray
    space: str
    computed: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def paths(self) -> tuple[str, ...]:
        """POSIX, relative to the folder."""
        return self.images.paths

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Each image's class; None where the images are in no class folders."""
        return self.images.labels

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """The images that cannot be used."""
        return self.images.quarantined


def open_collection(
    matcher: ImageMatcher,
    folder: Path | str,
    feature_dir: Path,
    *,
    manifest_dir: Path,
    space: str = "embedding",
    log: RunLog = SILENT,
) -> Collection:
    """Finds the images below a folder and turns them into vectors.

    Args:
        matcher: what embeds them.
        folder: looked through to any depth.
        feature_dir: the feature store; features of the same content, kept by a training or an earlier call, are used.
        manifest_dir: where manifests are kept.
        space: one of SPACES.
        log: hears of progress and of images that cannot be used; the others go on.

    Raises:
        DataError: no such folder, or no usable image in it.
        ModelError: the network cannot be run.
        ConfigError: no such space.
    """
    card = matcher.card.embedding
    images = list_images(Path(folder), manifest_dir=manifest_dir, cropper=card.cropper, **card.decoding, log=log)
    vectors, computed = embed_images(matcher, images, feature_dir, space=space, log=log)
    return Collection(images, vectors, space, computed)


def embed_images(
    matcher: ImageMatcher, images: ImageFolder, feature_dir: Path, *, space: str = "embedding", log: RunLog = SILENT
) -> tuple[np.ndarray, int]:
    """The vectors of images, (n, dim), and how many images went through the extractor for them.

    Raises:
        ConfigError: no such space.
        DataError: a file has gone or changed meanwhile.
        ModelError: the network cannot be run, or gives vectors that are not numbers.
    """
    if space not in SPACES:
        raise ConfigError(f"{space!r} is not one of {', '.join(SPACES)}", where="space")
    embedded = space == "embedding"
    features = matcher.cached_features(images, FeatureStore(feature_dir), mirrored=embedded, log=log)
    vectors = matcher.embed_cached(features) if embedded else np.asarray(features[0].array)
    computed = features[0].computed
    if not all(np.isfinite(vectors[start : start + _BLOCK]).all() for start in range(0, len(vectors), _BLOCK)):
        raise ModelError("gives vectors that are not numbers", where=matcher.card.name, do="train the model again")
    return vectors, computed
