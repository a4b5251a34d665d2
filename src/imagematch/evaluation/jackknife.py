"""Confidence intervals from leave-one-class-out estimates: classes are independent, pairs that share them are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRUSTED_CLASSES = 30
"""Intervals over fewer classes are not reliable."""


_SIMULATED = (
    (10, "93 to 100 %", "of the EER with two images a class in 74 %"),
    (20, "94 to 99 %", "of the AUC and the EER with two images a class in 90 %"),
)
"""Classes, and how often 95 % intervals over so many hold the true value: benchmarks/interval_coverage.py."""


def coverage_text(classes: int) -> str:
    """How often 95 % intervals over so few classes hold the true value, as it was simulated; "" from 30 on.

    Examples:
        >>> coverage_text(12)[:72]
        'simulated 95 % intervals over 10 classes hold the true value in 93 to 10'
        >>> coverage_text(30)
        ''
    """
    if classes >= TRUSTED_CLASSES:
        return ""
    simulated, share, exception = min(_SIMULATED, key=lambda row: abs(row[0] - classes))
    return f"simulated 95 % intervals over {simulated} classes hold the true value in {share} of draws, {exception}"


@dataclass(frozen=True)
class Interval:
    """A confidence interval over classes.

    Attributes:
        low, high: its ends.
        confidence: the nominal coverage, for instance 0.95.
        classes: number of classes that it rests on.
        trustworthy: there are 30 classes or more.
    """

    low: float
    high: float
    confidence: float
    classes: int
    trustworthy: bool


@dataclass(frozen=True)
class StandardError:
    """The standard error of an estimate.

    Attributes:
        value: the standard error.
        freedom: degrees of freedom that it rests on.
        acceleration: how skewed the classes' contributions are: sum I^3 / (6 (sum I^2)^1.5) of the jackknife's
            influences I, as in the BCa interval. Positive where few classes contribute much more than the others.
    """

    value: float
    freedom: float
    acceleration: float = 0.0


def jackknife_error(left_out: np.ndarray, shares: np.ndarray, twice_counted: float = 0.0) -> StandardError | None:
    """The standard error of an estimate from its values with each class left out; None where one is undefined.

    The variance is (C - 1) / C sum_c (theta_c - mean)^2. An estimate over pairs of classes counts the variance of a
    single pair twice in it: `twice_counted` is subtracted, and is the least that remains. The degrees of freedom are
    the smaller of two: Kish's effective number of classes (sum s)^2 / sum s^2 less one, and Satterthwaite's for the
    variance of values with the kurtosis k seen here, 2 / (2 / (C - 1) + (k - 3) / C).

    Args:
        left_out: (classes,) the estimate without each class.
        shares: (classes,) the pairs or images by which each class counts.
        twice_counted: variance of the estimate that pairs of classes contribute, each pair on its own.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 11; Aronow, Samii and Assenova,
        Cluster-robust variance estimation for dyadic data, Political Analysis 23, 2015 (pairs of classes); Kish, Survey
        sampling, 1965.

    Examples:
        >>> jackknife_error(np.array([0.5, 0.6, 0.7]), np.ones(3))  # of a mean: its standard deviation / sqrt(3)
        StandardError(value=0.11547005383792512, freedom=2.0, acceleration=0.0)
    """
    classes = len(left_out)
    if classes < 3 or not np.isfinite(left_out).all() or not shares.any():
        return None
    influence = (classes - 1) * (left_out.mean() - left_out)
    squares = np.square(influence)
    variance = float(squares.sum()) / (classes * (classes - 1))
    freedom = effective_classes(shares) - 1
    if squares.any():
        kurtosis = classes * float(np.square(squares).sum()) / float(squares.sum()) ** 2
        freedom = min(freedom, 2 / (2 / (classes - 1) + max(kurtosis - 3, 0) / classes))
    cubes = float((influence**3).sum())
    acceleration = cubes / (6 * float(squares.sum()) ** 1.5) if squares.any() else 0.0
    return StandardError(float(np.sqrt(max(variance - twice_counted, twice_counted))), max(freedom, 1.0), acceleration)


def effective_classes(shares: np.ndarray) -> float:
    """Kish's effective number of classes that count by these shares: (sum s)^2 / sum s^2.

    Examples:
        >>> effective_classes(np.array([1, 1, 1, 1])), effective_classes(np.array([1, 0, 0]))
        (4.0, 1.0)
    """
    return float(shares.sum()) ** 2 / float(np.square(shares, dtype=np.float64).sum())


def logit_interval(value: float, error: StandardError, confidence: float, units: float) -> tuple[float, float]:
    """The interval of a value in 0..1: symmetric on the logit scale, with a quantile of Student's t.

    At 0 or 1 the standard error says nothing. There the interval is Clopper and Pearson's of as many independent units.

    Args:
        value: the estimate.
        error: its standard error.
        confidence: 0..1.
        units: independent units behind the estimate, for instance the classes.

    Examples:
        >>> low, high = logit_interval(0.9, StandardError(0.03, 40.0), 0.95, 41)
        >>> round(low, 3), round(high, 3)
        (0.821, 0.946)
        >>> low, high = logit_interval(1.0, StandardError(0.0, 40.0), 0.95, 41)
        >>> round(low, 3), high
        (0.914, 1.0)
    """
    from scipy.special import expit, logit

    if value <= 0 or value >= 1:
        missed = 1 - ((1 - confidence) / 2) ** (1 / units)
        return (0.0, missed) if value <= 0 else (1 - missed, 1.0)
    half_width = logit_half_width(value, error, confidence)
    return float(expit(logit(value) - half_width)), float(expit(logit(value) + half_width))


def logit_half_width(value: float, error: StandardError, confidence: float) -> float:
    """Half the width of `logit_interval` on the logit scale."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(error.freedom, (1 + confidence) / 2))
    return quantile * error.value / (value * (1 - value))


def logit_upper_bound(value: float, error: StandardError, confidence: float, units: float) -> float:
    """The one-sided upper bound of a value in 0..1, wider than `logit_interval` where few classes contribute much.

    The quantile t of Student's distribution becomes t + a (2 t^2 + 1) with the acceleration a, if that is positive.

    Source: Hall, The bootstrap and Edgeworth expansion, 1992, section 3.

    Examples:
        >>> round(logit_upper_bound(0.1, StandardError(0.03, 40.0), 0.95, 41), 3)
        0.163
        >>> round(logit_upper_bound(0.1, StandardError(0.03, 40.0, acceleration=0.05), 0.95, 41), 3)
        0.179
    """
    from scipy.special import expit, logit, stdtrit

    if value <= 0 or value >= 1:
        return logit_interval(value, error, 2 * confidence - 1, units)[1]
    quantile = float(stdtrit(error.freedom, confidence))
    quantile += max(error.acceleration, 0.0) * (2 * quantile**2 + 1)
    return float(expit(logit(value) + quantile * error.value / (value * (1 - value))))


def interval_of_mean(values: np.ndarray, classes: np.ndarray, confidence: float) -> Interval | None:
    """The interval of the mean of values in 0..1, over the classes that they belong to; None for fewer than three.

    Args:
        values: (n,) float64 or bool.
        classes: (n,) the class of each.
        confidence: 0..1.
    """
    names, class_index = np.unique(classes, return_inverse=True)
    if len(names) < 3:
        return None
    counts, sums = np.bincount(class_index), np.bincount(class_index, weights=values)
    error = jackknife_error((sums.sum() - sums) / (len(values) - counts), counts)
    assert error is not None, "every class has a value"
    return interval_over(len(names), logit_interval(float(np.mean(values)), error, confidence, len(names)), confidence)


def interval_over(classes: int, ends: tuple[float, float], confidence: float) -> Interval:
    """An interval with the number of classes that it rests on."""
    return Interval(*ends, confidence, classes, classes >= TRUSTED_CLASSES)
