"""PCA-whitening of features: centred, projected onto their principal components, and scaled by their variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from imagematch.errors import ConfigError
from imagematch.features import FeatureArray, map_features, normalize_rows, normalized_features

MAX_FEATURE_DIM = 8192
"""Longer features are refused: their covariance matrix grows with the square, 0.5 GB here."""

_BLOCK = 4096
_NO_VARIANCE = 1e-10
HALF_WHITENED_DIM = 512
"""Components of half-whitened features, where nobody asks for another number and there are as many."""
HALF_WHITENED_POWER = 0.5


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The principal components of features, in the order of their variance; those without variance are not usable.

    Attributes:
        count: rows they were fitted on.
        mean: (feature_dim,) float64.
        axes: (feature_dim, components) float32, an orthonormal component in each column, its largest coefficient
            positive; there are min(feature_dim, count) components.
        variances: (components,) float64, unbiased, not shrunk.
        mean_variance: the mean of the features' variances.
        shrinkage: the weight of `mean_variance` in each component's shrunk variance, 0 to 1.
    """

    count: int
    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    mean_variance: float
    shrinkage: float

    @property
    def most(self) -> tuple[int, str]:
        """The most components that can be whitened, and what limits them."""
        varying = int(np.count_nonzero(self.variances > _NO_VARIANCE * self.variances[0]))
        limits = (
            (len(self.mean), "the length of the features"),
            (self.count - 1, "the training images less one"),
            (varying, "the directions in which they vary"),
        )
        return min(limits, key=lambda limit: limit[0])

    def whitening(
        self, dim: int, power: float = 1.0, where: str = "feature_whitening"
    ) -> tuple[np.ndarray, np.ndarray]:
        """The linear layer that whitens features to their first `dim` components: features @ kernel + bias.

        The variances are shrunk towards their mean, so that directions which hardly vary are not amplified. With a
        shrinkage of 0 and a power of 1 this is PCA with whitening.

        Args:
            dim: the components.
            power: each component is divided by its standard deviation to this power: 1 whitens, 0.5 half-whitens.
            where: the key that an error names.

        Returns:
            kernel (feature_dim, dim) float32, bias (dim,) float32.

        Raises:
            ConfigError: `dim` is more than the length of the features, the number of rows less one, or the number of
                directions in which they vary.
        """
        most, what = self.most
        if dim > most:
            do = f"give {most} or less" if most else f"leave {where} out"
            raise ConfigError(f"{dim} is more than the features have: {most} is {what}", where=where, do=do)
        variances = (1 - self.shrinkage) * self.variances[:dim] + self.shrinkage * self.mean_variance
        kernel = self.axes[:, :dim] / variances ** (power / 2)
        return kernel.astype(np.float32), (-self.mean @ kernel).astype(np.float32)


@dataclass(frozen=True, eq=False)
class NormalizedRows:
    """Features with every row L2-normalised as it is read; their rows are asked for by number.

    Attributes:
        features: (n, feature_dim) of any float type; may be mapped from disk.
    """

    features: FeatureArray

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, feature_dim)."""
        return self.features.shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), feature_dim) float32."""
        return normalized_features(self.features, rows)


def fit_principal_components(
    features: FeatureArray | NormalizedRows, rows: np.ndarray, where: str = "feature_whitening"
) -> PrincipalComponents:
    """Fits the components to some rows, block by block: the features may be larger than memory.

    The shrinkage is that of Ledoit and Wolf: the one that minimises the expected squared error of the covariance.
    scikit-learn's `PCA` and `ledoit_wolf_shrinkage` give the same numbers, but hold all rows in memory as float64: for
    100,000 x 1280 features they need 4.9 GB and five times the time of this function, which needs 0.4 GB.

    Args:
        features: (n, feature_dim) of any float type; may be mapped from disk.
        rows: (m,) rows to fit to, at least 2.
        where: the key that an error names.

    Raises:
        ConfigError: the features are too long.

    Source: O. Ledoit, M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, lemma 3.2
    and section 3.2.
    """
    dim, count = features.shape[1], len(rows)
    if dim > MAX_FEATURE_DIM:
        what = f"features of length {dim:,} are too long to be whitened: {MAX_FEATURE_DIM:,} is the most"
        raise ConfigError(what, where=where, do="give a smaller image_size or another feature_extractor")
    blocks = [rows[start : start + _BLOCK] for start in range(0, count, _BLOCK)]
    mean = np.sum([features[block].sum(axis=0, dtype=np.float64) for block in blocks], axis=0) / count
    if count < dim:  # the Gram matrix of the rows has the same eigenvalues, and is smaller
        centred = features[rows] - mean
        products = centred @ centred.T / count
        fourth = float(np.sum(np.diag(products) ** 2)) * count**2
    else:
        products, fourth = np.zeros((dim, dim)), 0.0
        for block in blocks:
            centred = features[block] - mean
            products += centred.T @ centred
            fourth += float(np.sum(np.sum(centred**2, axis=1) ** 2))
        products /= count
    variances, axes = np.linalg.eigh(products)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    if count < dim:
        seen = variances > _NO_VARIANCE * variances[0]
        axes = centred.T @ (axes * np.where(seen, 1 / np.sqrt(count * np.where(seen, variances, 1.0)), 0.0))
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    unbiased = count / (count - 1)
    return PrincipalComponents(
        count=count,
        mean=mean,
        axes=axes.astype(np.float32),
        variances=variances * unbiased,
        mean_variance=float(np.trace(products) / dim) * unbiased,
        shrinkage=_shrinkage(products, fourth, count, dim),
    )


def half_whitened(features: np.ndarray, layer: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Features (n, feature_dim), L2-normalised, through a layer of `whitening` -> (n, dim) float32, L2-normalised."""
    kernel, bias = layer
    return normalize_rows(normalize_rows(features) @ kernel + bias)


Fit = Callable[[NormalizedRows, np.ndarray], PrincipalComponents]


def whitened_baseline(
    features: FeatureArray, rows: np.ndarray, fit: Fit = fit_principal_components
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Half-whitened features alone, without training: what a head should be better than.

    Args:
        features: (n, feature_dim), may be mapped from disk.
        rows: (m,) the training images, which the principal components are fitted to.
        fit: `fit_principal_components`, or what remembers its result.

    Returns:
        Row numbers (k,) -> (k, dim) float32, L2-normalised, of the first 512 components or as many as there are; None
        where the features are longer than 8,192, or do not vary.
    """
    if features.shape[1] > MAX_FEATURE_DIM or len(rows) < 2:
        return None
    components = fit(NormalizedRows(features), rows)
    most, _ = components.most
    if not most:
        return None
    layer = components.whitening(min(HALF_WHITENED_DIM, most), HALF_WHITENED_POWER)
    return lambda wanted: map_features(lambda block: half_whitened(block, layer), [features], wanted)


def _shrinkage(covariance: np.ndarray, fourth: float, count: int, dim: int) -> float:
    """Ledoit and Wolf's shrinkage, from the covariance (or Gram matrix) and the sum of the rows' lengths^4."""
    squares = float(np.sum(covariance**2))
    dispersion = squares / dim - float(np.trace(covariance) / dim) ** 2
    error = max((fourth / count - squares) / (dim * count), 0.0)
    return min(error / dispersion, 1.0) if dispersion > 0 else 0.0
