"""PCA-whitening against scikit-learn; shrinkage; what cannot be whitened."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA

from imagematch.errors import ConfigError
from imagematch.training import whitening
from imagematch.training.experiment import _whitening
from imagematch.training.whitening import PrincipalComponents, fit_principal_components


def features_of(count: int, dim: int = 12) -> np.ndarray:
    random = np.random.default_rng(0)
    mixed = random.standard_normal((count, dim)) @ random.standard_normal((dim, dim)) * np.geomspace(1, 0.05, dim)
    return (mixed + random.uniform(-3, 3, dim)).astype(np.float32)


def unshrunk(found: PrincipalComponents) -> PrincipalComponents:
    return PrincipalComponents(found.count, found.mean, found.axes, found.variances, found.mean_variance, 0.0)


@pytest.mark.parametrize(("dim", "count"), [(1, 150), (5, 150), (12, 150), (5, 9), (8, 9)])
def test_without_shrinkage_it_is_scikit_learn_s_pca(dim: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "_BLOCK", 37)
    features = features_of(200)
    rows = np.random.default_rng(1).permutation(200)[:count]
    kernel, bias = unshrunk(fit_principal_components(features, rows)).whitening(dim)
    reference = PCA(dim, whiten=True, svd_solver="full").fit(features[rows].astype(np.float64))
    expected = reference.transform(features)
    signs = np.sign(np.sum(expected * (features @ kernel + bias), axis=0))
    assert kernel.dtype == bias.dtype == np.float32
    np.testing.assert_allclose((features @ kernel + bias) * signs, expected, atol=2e-4)


def test_whitened_training_features_are_uncorrelated_with_unit_variance() -> None:
    features = features_of(300)
    kernel, bias = unshrunk(fit_principal_components(features, np.arange(300))).whitening(12)
    whitened = features @ kernel + bias
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(12), atol=1e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("count", [8, 40, 1000])
def test_the_shrinkage_is_ledoit_and_wolf_s(count: int) -> None:
    features = features_of(count)
    found = fit_principal_components(features, np.arange(count))
    assert found.shrinkage == pytest.approx(ledoit_wolf_shrinkage(features.astype(np.float64)), rel=1e-6)
    assert found.shrinkage > 0
    kernel, _ = found.whitening(3)
    plain, _ = unshrunk(found).whitening(3)
    mean = features.var(axis=0, ddof=1).mean()
    for axis in range(3):
        shrunk = (1 - found.shrinkage) * found.variances[axis] + found.shrinkage * mean
        ratio = np.sqrt(found.variances[axis] / shrunk)
        np.testing.assert_allclose(kernel[:, axis], plain[:, axis] * ratio, rtol=1e-5)


def test_the_signs_are_fixed() -> None:
    axes = fit_principal_components(features_of(50), np.arange(50)).axes
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(12)] > 0).all()


def test_half_precision_is_summed_in_full() -> None:
    features = features_of(500).astype(np.float16)
    found = fit_principal_components(features, np.arange(500))
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("count", "dim", "says"),
    [
        (100, 13, "13 is more than the features have: 12 is the length of the features"),
        (8, 8, "8 is more than the features have: 7 is the training images less one"),
    ],
)
def test_more_components_than_there_are_is_one_line(count: int, dim: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fit_principal_components(features_of(count), np.arange(count)).whitening(dim)


def test_directions_without_variance_are_no_components() -> None:
    features = features_of(100)
    features[:, 3] = features[:, 4]
    features[:, 7] = 1
    found = fit_principal_components(features, np.arange(100))
    assert np.isfinite(found.whitening(10)[0]).all()
    with pytest.raises(ConfigError, match="10 is the directions in which they vary"):
        found.whitening(11)
    for count in (9, 3):  # more rows than features, and fewer
        with pytest.raises(ConfigError, match="0 is the directions"):
            fit_principal_components(np.ones((count, 4), np.float32), np.arange(count)).whitening(1)


def test_the_features_of_an_extractor_that_is_trained_are_not_whitened() -> None:
    data = SimpleNamespace(extractor=SimpleNamespace(name="small_cnn", frozen=False))
    with pytest.raises(ConfigError, match="feature_whitening: small_cnn is trained"):
        _whitening(data, 4)  # type: ignore[arg-type]


def test_features_too_long_for_their_covariances_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "MAX_FEATURE_DIM", 11)
    with pytest.raises(ConfigError, match="features of length 12 are too long"):
        fit_principal_components(features_of(20), np.arange(20))


@pytest.mark.parametrize(("power", "exponent"), [(0, 1.0), (0.5, 0.5), (1, 0.0)])
def test_a_power_leaves_that_much_of_the_variance(power: float, exponent: float) -> None:
    features = features_of(300)
    found = unshrunk(fit_principal_components(features, np.arange(300)))
    kernel, bias = found.whitening(12, power)
    np.testing.assert_allclose(np.var(features @ kernel + bias, axis=0, ddof=1), found.variances**exponent, rtol=1e-3)


def test_the_whitened_baseline_is_half_whitened_normalised_features() -> None:
    features, rows = features_of(300), np.arange(200)
    embed = whitening.whitened_baseline(features, rows)
    assert embed is not None
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    kernel, bias = fit_principal_components(unit, rows).whitening(12, 0.5)
    expected = unit[250:] @ kernel + bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(np.arange(250, 300)), expected, atol=1e-3)


def test_there_is_no_whitened_baseline_of_features_that_do_not_vary_or_are_too_long() -> None:
    assert whitening.whitened_baseline(np.ones((9, 4), np.float32), np.arange(9)) is None
    assert whitening.whitened_baseline(features_of(9), np.arange(1)) is None
    assert whitening.whitened_baseline(np.zeros((9, 8193), np.float32), np.arange(9)) is None
