"""What every training on the same images shares: the data set, the extractor and the cached features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import Dataset, open_dataset
from imagematch.errors import ConfigError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import (
    CalibrationImages,
    Concatenation,
    Extractor,
    FrozenPart,
    Network,
    choose_extractor,
    find_frozen_part,
    quantized,
)
from imagematch.features import MIRROR, FeatureArray, Features, FeatureStore, normalized_features
from imagematch.files import digest_bytes
from imagematch.training.precision import calibration_images, choose_precision
from imagematch.training.whitening import (
    HALF_WHITENED_DIM,
    HALF_WHITENED_POWER,
    NormalizedRows,
    PrincipalComponents,
    fit_principal_components,
    whitened_baseline,
)

_FLOAT32_BYTES = 4
_MAX_CACHED_BYTES = 16 << 30

CachedFeatures = Callable[[Network, int | str], Features]
"""Network and view -> the features of the whole data set, from the store."""


@dataclass(frozen=True)
class StageInputs:
    """What the trained part of the model takes in one stage.

    Attributes:
        extractor: with what the stage trains of it.
        lower: the network below the trained part: the extractor, its cut, or None where the trained part takes images.
        views: the cached features of `lower`, (n, feature_dim) each: of the images as they are, then of augmented
            views. None where images go through `lower` whenever they are needed.
        mirrored: its cached features of the mirror images; only where `test_time_flip` asks for them and `views` is
            given.
        cached_for_training: whether training steps take these features; otherwise only validation does, which augments
            nothing.
    """

    extractor: Extractor | Concatenation
    lower: Network | None
    views: Sequence[FeatureArray] | None
    mirrored: FeatureArray | None
    cached_for_training: bool


@dataclass(frozen=True)
class TrainingData:
    """The data set, the extractor, and the extractor's features.

    Attributes:
        dataset: images, labels, splits.
        extractor: the network by name, with its weights, and what the last stage trains of it.
        features: of every image as it is. With a trainable extractor: those of its initial weights, for the baseline.
        inputs: what the trained part takes, for each stage.
        calibration: what the extractor was quantised on; None where its features are not those of 8 bits.
    """

    dataset: Dataset
    extractor: Extractor | Concatenation
    features: Features
    inputs: tuple[StageInputs, ...]
    calibration: CalibrationImages | None = None
    _components: dict[str, PrincipalComponents] = field(default_factory=dict)  # shared by folds

    @property
    def network(self) -> Network:
        """What `features` were computed with: the extractor, or its form in 8 bits."""
        return self.extractor if self.calibration is None else quantized(self.extractor, self.calibration)

    def baseline(self, rows: np.ndarray) -> np.ndarray:
        """The extractor's features alone, L2-normalised, of data-set rows: (len(rows), feature_dim) float32."""
        return normalized_features(self.features.array, rows)

    def whitening(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """The layer that whitens the features to `dim`, fitted on the training images alone, once for all trials.

        Returns:
            kernel (feature_dim, dim) float32, bias (dim,) float32.

        Raises:
            ConfigError: as `fit_principal_components` and `PrincipalComponents.whitening`.
        """
        return self._fitted(self.features.array, "feature_whitening").whitening(dim)

    def half_whitening(
        self, power: float = HALF_WHITENED_POWER, dim: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The layer that whitens L2-normalised features, fitted on the training images alone, once for all trials.

        Args:
            power: see `PrincipalComponents.whitening`.
            dim: components; None: 512, or as many as there are.

        Returns:
            kernel (feature_dim, dim) float32, bias (dim,) float32.

        Raises:
            ConfigError: as `fit_principal_components` and `PrincipalComponents.whitening`; or the features do not vary.
        """
        components = self._fitted(NormalizedRows(self.features.array), "join")
        most, what = components.most
        if not most:
            raise ConfigError(f"the features cannot be whitened: {most} is {what}", where="join", do="use join: none")
        return components.whitening(min(HALF_WHITENED_DIM, most) if dim is None else dim, power, where="join")

    def whitened_baseline(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Rows -> their half-whitened features alone, as `imagematch.training.whitened_baseline` gives them."""
        array = self.features.array
        return whitened_baseline(array, self.dataset.rows("train"), lambda rows, _: self._fitted(rows, "join"))

    def _fitted(self, features: FeatureArray | NormalizedRows, where: str) -> PrincipalComponents:
        rows = self.dataset.rows("train")
        key = f"{type(features) is NormalizedRows} {digest_bytes(rows.tobytes())}"
        if key not in self._components:
            self._components[key] = fit_principal_components(features, rows, where)
        return self._components[key]


def training_data_key(settings: TrainSettings) -> tuple[object, ...]:
    """Trainings with equal keys can share their TrainingData."""
    return tuple(map(str, settings.shared_values))


def load_training_data(settings: TrainSettings, *, manifest_dir: Path, log: RunLog = SILENT) -> TrainingData:
    """Opens the data set, and computes its features or finds them in the store.

    Args:
        settings: of the whole training.
        manifest_dir: where manifests are cached.
        log: of progress, and of the cut below the trained part.

    Raises:
        DataError: the images cannot be used.
        ModelError: the extractor or its weights cannot be used.
        StudyError: the feature store cannot be written.
    """
    extractors = [choose_extractor(stage) for stage in settings.stage_settings]
    dataset = open_dataset(settings, manifest_dir=manifest_dir, log=log)
    store = FeatureStore(Path(settings.feature_dir))
    resolved = choose_precision(settings, dataset, extractors[-1], store, log)
    calibration = calibration_images(dataset, extractors[-1].framing) if resolved == "int8" else None

    @functools.cache
    def cached(digest: str, view: int | str) -> Features:
        network = networks[digest]
        # What is trained above a cut runs as one float32 model later: its threshold is chosen on the same numbers.
        precision = "float32" if isinstance(network, FrozenPart) else resolved
        return store.features(
            dataset,
            network if calibration is None else quantized(network, calibration),
            engine=settings.engine,
            precision=precision,
            view=view,
            seed=settings.seed,
            log=log,
        )

    networks: dict[str, Network] = {}

    def features(network: Network, view: int | str) -> Features:
        networks[network.digest] = network
        return cached(network.digest, view)

    plain = features(extractors[-1], 0)
    inputs = [
        _stage_inputs(stage, extractor, plain, features, log)
        for stage, extractor in zip(settings.stage_settings, extractors, strict=True)
    ]
    return TrainingData(dataset, extractors[-1], plain, tuple(inputs), calibration)


def _stage_inputs(
    settings: TrainSettings,
    extractor: Extractor | Concatenation,
    plain: Features,
    cached: CachedFeatures,
    log: RunLog,
) -> StageInputs:
    """Finds the cut, and computes (or finds) the features there where caching them is worth it.

    That is where an image's features are no more numbers than the pixels that the network would read instead, all of
    them take at most 16 GiB, and the images of a training step are not augmented anew.

    Args:
        settings: of the stage.
        extractor: with what the stage trains of it.
        plain: the features of the whole extractor.
        cached: computes or finds features.
        log: of the cut.
    """
    anew = settings.image_augmentation and settings.augmented_views == 0
    views: list[int | str] = list(range(1, settings.augmented_views + 1)) if settings.image_augmentation else []
    mirror: list[int | str] = [MIRROR] if settings.test_time_flip else []
    if extractor.frozen:
        arrays = [plain.array, *(cached(extractor, view).array for view in views)]
        mirrored = cached(extractor, MIRROR).array if mirror else None
        return StageInputs(extractor, extractor, arrays, mirrored, not anew)
    cut = find_frozen_part(extractor)
    if cut is None:
        return StageInputs(extractor, None, None, None, False)
    size = cut.feature_dim * _FLOAT32_BYTES * len(plain.array) * (1 + len(views) + len(mirror))
    pixels = extractor.image_size**2 * 3
    worth = not anew and cut.feature_dim <= pixels and size <= _MAX_CACHED_BYTES
    log.event("cut", _cut_line(cut, worth, size), layer=cut.layer, feature_dim=cut.feature_dim, cached=worth)
    if not worth:
        return StageInputs(extractor, cut, None, None, False)
    mirrored = cached(cut, MIRROR).array if mirror else None
    return StageInputs(extractor, cut, [cached(cut, view).array for view in (0, *views)], mirrored, True)


def _cut_line(cut: FrozenPart, cached: bool, size: int) -> str:
    trained = f"{cut.extractor.name} is trained above {cut.layer}"
    if cached:
        return f"{trained}; the layers below are cached: {cut.feature_dim:,} numbers an image, {size / 2**20:,.0f} MiB"
    return f"{trained}; every step computes the layers below: {cut.feature_dim:,} numbers an image"
