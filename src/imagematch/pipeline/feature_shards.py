"""Features computed ahead of any training: all of them, or the part of one machine among several."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.config import KEYS, StudySettings, TrainSettings, load_study, load_train, read_yaml
from imagematch.data import open_dataset
from imagematch.errors import ConfigError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Network, choose_extractor, quantized
from imagematch.features import MIRROR, FeatureStore
from imagematch.files import Layout
from imagematch.training import SomeImages, calibration_images, choose_precision, training_data_key

_PREFIX = 8
"""Hex digits of an image's digest that its part goes by."""


@dataclass(frozen=True)
class Shard:
    """A part of the images: number `index`, from 1, of `count`."""

    index: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Shard:
        """Reads "2/8". Raises ConfigError."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= 100_000):
            raise ConfigError(f"{text!r} is not a part", where="--shard", do="write I/N, as 2/8: the second of eight")
        return cls(int(index), int(count))

    def rows(self, digests: np.ndarray) -> np.ndarray:
        """The rows whose content belongs to it: each content is in one part, whatever the order of the images."""
        numbers = [int(digest[:_PREFIX], 16) for digest in digests.tolist()]
        return np.flatnonzero(np.array(numbers, dtype=np.int64) % self.count == self.index - 1)


@dataclass(frozen=True)
class ComputedFeatures:
    """The features of one network that are in a store now.

    Attributes:
        extractor: the network's name.
        precision: what it computed in.
        images: how many belong to the part.
        computed: how many of them went through the network; the others were there.
        store: the folder.
    """

    extractor: str
    precision: str
    images: int
    computed: int
    store: str


def compute_features(
    config: Path,
    overrides: Sequence[str] = (),
    shard: Shard = Shard(),
    feature_dir: Path | None = None,
    *,
    layout: Layout,
    log: RunLog = SILENT,
) -> list[ComputedFeatures]:
    """Computes what the frozen networks of a train or study file give, for the images of a part.

    Args:
        config: the file.
        overrides: "key=value" each.
        shard: the part.
        feature_dir: the store; None takes the file's.
        layout: where manifests are cached.
        log: of progress.

    Raises:
        ImagematchError: as `load_training_data`; or an extractor is trained, so that it has no features to be kept.
    """
    done = []
    study = "study_name" in read_yaml(config).values
    for settings in networks_of(load_study(config, overrides) if study else load_train(config, overrides)):
        extractor = choose_extractor(settings.stage_settings[-1])
        if not extractor.frozen:
            what = f"{extractor.name} is trained: its features change with every step"
            raise ConfigError(what, where=str(config), do="compute those of a frozen extractor")
        dataset = open_dataset(settings, manifest_dir=layout.manifests, log=log)
        store = FeatureStore(feature_dir or Path(settings.feature_dir))
        precision = choose_precision(settings, dataset, extractor, store, log)
        network: Network = extractor
        if precision == "int8":
            network = quantized(extractor, calibration_images(dataset, extractor.framing))
        part = SomeImages(dataset, shard.rows(dataset.digests))
        views: list[int | str] = [0, MIRROR] if settings.test_time_flip else [0]
        found = [
            store.features(part, network, engine=settings.engine, precision=precision, view=view, log=log)
            for view in views
        ]
        computed = sum(one.computed for one in found)
        done.append(ComputedFeatures(extractor.name, found[0].precision, len(part.rows), computed, str(store.root)))
    return done


def networks_of(study: TrainSettings | StudySettings) -> Iterator[TrainSettings]:
    """The settings that need features of their own: of a study, one for each network and size that it searches."""
    if isinstance(study, TrainSettings):
        yield study
        return
    first = {field: dimension.ends[0] for field, dimension in study.space.items()}
    shared = [field for field in study.space if KEYS[field].affects.shared]
    seen = set()
    for values in itertools.product(*(study.space[field].values() for field in shared)):
        settings = study.settings_for({**first, **dict(zip(shared, values, strict=True))})
        if (key := training_data_key(settings)) not in seen:
            seen.add(key)
            yield settings
