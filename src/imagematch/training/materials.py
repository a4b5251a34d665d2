"""What every training on the same images shares: the data set, the extractor and the kept features."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import Dataset, open_dataset
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation, Cut, Extractor, Network, choose_extractor
from imagematch.features import FeatureArray, Features, FeatureStore
from imagematch.files import digest_bytes
from imagematch.training.inputs import Inputs, gather_inputs
from imagematch.training.sources import kept_blocks
from imagematch.training.whitening import PrincipalComponents, principal_components


@dataclass(frozen=True)
class Materials:
    """The data set, the extractor, and the extractor's features.

    Attributes:
        dataset: images, labels, splits.
        extractor: the network by name, with its weights, and what the last stage trains of it.
        features: of every image as it is. With a trainable extractor: those of its initial weights, for the baseline.
        inputs: what the trained part sees, for each stage.
    """

    dataset: Dataset
    extractor: Extractor | Concatenation
    features: Features
    inputs: tuple[Inputs, ...]
    _components: dict[str, PrincipalComponents] = field(default_factory=dict)  # shared by folds

    def baseline(self, rows: np.ndarray) -> np.ndarray:
        """The extractor's features alone, L2-normalised, of data-set rows: (len(rows), feature_dim) float32."""
        return unit_features(self.features.array, rows)

    def whitening(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias that whiten the features to `dim`, fitted on the training images alone, once for all trials.

        Raises:
            ConfigError: `dim` is more than the features have.
        """
        rows = self.dataset.rows("train")
        key = digest_bytes(rows.tobytes())
        if key not in self._components:
            self._components[key] = principal_components(self.features.array, rows)
        return self._components[key].whitening(dim)


def shared_key(settings: TrainSettings) -> tuple[object, ...]:
    """Trainings with equal keys share their materials."""
    return tuple(map(str, settings.shared_values))


def gather_materials(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> Materials:
    """Opens the data set and computes (or finds) the features.

    Raises:
        DataError: the images cannot be used.
        ModelError: the extractor or its weights cannot be used.
        StudyError: the feature store cannot be written.
    """
    extractors = [choose_extractor(stage) for stage in settings.stage_settings]
    dataset = open_dataset(settings, manifest_dir=manifest_dir, log=log)
    store = FeatureStore(Path(settings.feature_dir))

    @functools.cache
    def found(digest: str, view: int | str) -> Features:
        network = networks[digest]
        # What is trained above a cut runs as one float32 model later: its threshold is chosen on the same numbers.
        precision = "float32" if isinstance(network, Cut) else settings.feature_precision
        return store.features(
            dataset,
            network,
            engine=settings.engine,
            precision=precision,
            view=view,
            seed=settings.seed,
            log=log,
        )

    networks: dict[str, Network] = {}

    def features(network: Network, view: int | str) -> Features:
        networks[network.digest] = network
        return found(network.digest, view)

    plain = features(extractors[-1], 0)
    inputs = [
        gather_inputs(stage, extractor, plain, features, log)
        for stage, extractor in zip(settings.stage_settings, extractors, strict=True)
    ]
    return Materials(dataset, extractors[-1], plain, tuple(inputs))


def unit_features(features: FeatureArray, rows: np.ndarray) -> np.ndarray:
    """Rows of features, L2-normalised: (len(rows), feature_dim) float32."""
    unit = np.empty((len(rows), features.shape[1]), np.float32)
    done = 0
    for block in kept_blocks(features, rows):  # copies of a whole split would count
        unit[done : done + len(block)] = unit_rows(block)
        done += len(block)
    return unit


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Every row divided by its Euclidean length, float32; rows of zeros all become the same unit vector."""
    rows = np.array(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    rows[lengths == 0, 0] = 1.0
    return rows / np.where(lengths > 0, lengths, 1.0)[:, None]
