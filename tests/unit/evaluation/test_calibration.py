import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from imagematch.errors import ConfigError, DataError, ModelError
from imagematch.evaluation import (
    Probability,
    calibration,
    calibration_error,
    fit_probability,
    listed_pairs,
    pair_distances,
    reliability,
)


def listed(genuine: int = 80, impostor: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0.8, 0.2, genuine), rng.normal(1.3, 0.2, impostor)]).clip(0, 2).round(2)
    same = np.arange(len(values)) < genuine
    return listed_pairs(values, same), values.astype(np.float32).astype(np.float64), same


def weights(same: np.ndarray, prior: float) -> np.ndarray:
    return np.where(same, prior / same.sum(), (1 - prior) / (~same).sum())


@pytest.mark.parametrize("prior", [0.5, 0.02])
def test_platt_is_a_logistic_regression_on_platts_targets(prior: float) -> None:
    pairs, values, same = listed()
    fitted = fit_probability(pairs, "platt", prior=prior)
    high, low = (same.sum() + 1) / (same.sum() + 2), 1 / ((~same).sum() + 2)
    target, weight = np.where(same, high, low), weights(same, prior)
    both = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.concatenate([values, values])[:, None],
        np.repeat([1, 0], len(values)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]) * 1000,
    )
    grid = np.linspace(0, 2, 50)
    np.testing.assert_allclose(fitted(grid), both.predict_proba(grid[:, None])[:, 1], atol=1e-5)
    assert fitted.prior == prior


@pytest.mark.parametrize("prior", [0.5, 0.02])
def test_isotonic_is_scikit_learns(prior: float) -> None:
    pairs, values, same = listed()
    fitted = fit_probability(pairs, "isotonic", prior=prior)
    reference = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(values, same, weights(same, prior))
    grid = np.linspace(0, 2, 400)
    np.testing.assert_allclose(fitted(grid), reference.predict(grid), atol=1e-9)
    assert (np.diff(fitted(grid)) <= 0).all()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_many_pairs_in_cells_give_the_same(random_sample, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    pairs = pair_distances(*random_sample(n=300))
    one_by_one = fit_probability(pairs, method)
    monkeypatch.setattr(calibration, "_EXACT_PAIRS", 10)
    in_cells = fit_probability(pairs, method)
    grid = np.linspace(0, 2, 200)
    difference = np.abs(in_cells(grid) - one_by_one(grid))
    assert difference.mean() < (1e-4 if method == "platt" else 1e-3)
    assert difference.max() < (1e-4 if method == "platt" else 0.02)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_claims_hold_at_the_prior_they_are_made_for(method: str) -> None:
    """DistanceMultiset from two normal laws of equal width: the true probability is known."""
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(0.8, 0.2, 20_000), rng.normal(1.2, 0.2, 30_000)
    pairs = listed_pairs(np.concatenate([genuine, impostor]).clip(0), np.arange(50_000) < 20_000)
    for prior in (0.5, 0.1):
        fitted = fit_probability(pairs, method, prior=prior)
        grid = np.linspace(0.7, 1.3, 20)
        ratio = np.exp(((grid - 1.2) ** 2 - (grid - 0.8) ** 2) / (2 * 0.04))
        truth = prior * ratio / (prior * ratio + 1 - prior)
        np.testing.assert_allclose(fitted(grid), truth, atol=0.05)
        assert fitted.calibration_error is not None
        assert fitted.calibration_error < 0.01


def test_separable_pairs_stay_finite() -> None:
    pairs = listed_pairs(np.array([0.1, 0.2, 1.1, 1.2]), np.arange(4) < 2)
    fitted = fit_probability(pairs)
    assert 0.5 < fitted(0.1) < 1
    assert 0 < fitted(1.2) < 0.5
    assert fitted(0.65) == pytest.approx(0.5)
    step = fit_probability(pairs, "isotonic")
    assert step(np.array([0.0, 0.2, 0.65, 1.1, 2])) == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-6)


def test_useless_distances_give_the_prior() -> None:
    pairs = listed_pairs(np.full(10, 0.5), np.arange(10) < 4)
    for method in ("platt", "isotonic"):
        assert fit_probability(pairs, method, prior=0.3)(0.5) == pytest.approx(0.3, abs=0.06)


def test_calibration_error_by_hand() -> None:
    """Claims 0.9 below distance 1 where half match, 0.1 above where none do."""
    claim = Probability("isotonic", 0.5, (0.9, 1.0), (0.9, 0.1))
    pairs = listed_pairs(np.array([0.5, 0.5, 0.5, 1.5]), np.array([True, True, False, False]))
    found = reliability(claim, pairs, bins=10)
    assert found.claimed == pytest.approx([0.1, 0.9])
    assert found.observed == pytest.approx([0, 0.5 / 0.75])
    assert found.weight == pytest.approx([0.25, 0.75])
    assert calibration_error(claim, pairs, bins=10) == pytest.approx(0.25 * 0.1 + 0.75 * (0.9 - 0.5 / 0.75))


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_json_round_trip(method: str) -> None:
    fitted = fit_probability(listed()[0], method)
    again = Probability.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    assert again == fitted
    assert again(0.9) == fitted(0.9)
    assert again(np.zeros((2, 3))).shape == (2, 3)


def test_bad_input() -> None:
    pairs = listed()[0]
    with pytest.raises(ConfigError, match="unknown calibration method"):
        fit_probability(pairs, "beta")
    with pytest.raises(ConfigError, match="prior must be"):
        fit_probability(pairs, prior=0)
    with pytest.raises(DataError, match="no impostor pair"):
        fit_probability(listed_pairs(np.array([0.1]), np.array([True])))
    for stored in ({}, {"method": "platt"}, {**fit_probability(pairs).to_json(), "values": [1.0]}):
        with pytest.raises(ModelError, match="cannot be read"):
            Probability.from_json(stored)
