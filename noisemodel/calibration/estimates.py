"""A figure with its 95 % interval, and the intervals of the estimators in use."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SMALLEST = 1e-140  # of a variance: its square and a billionth of that are still numbers
NORMAL = float(stats.norm.isf((1 - CONFIDENCE) / 2))


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, its unit, and in a few words how it was found."""

    value: float
    low: float
    high: float
    unit: str = "white"
    estimator: str = ""

    def scaled(self, factor: float, unit: str) -> "Estimate":
        """The same in another unit."""
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor, unit=unit)

    def root(self, estimator: str = "") -> "Estimate":
        """sqrt of a variance; what lies below zero becomes zero, with the upper end that an estimate of zero has."""
        ends = (self.value, self.low, max(self.high, self.high - self.value))
        value, low, high = (max(x, 0.0) ** 0.5 for x in ends)
        return Estimate(value, low, high, self.unit, estimator or self.estimator)

    def to_dict(self) -> dict[str, float | str | None]:
        """As JSON holds it: seven significant digits; an end that is not finite is null."""
        ends = {name: getattr(self, name) for name in ("value", "low", "high")}
        found: dict[str, float | str | None] = {
            name: float(f"{value:.7g}") if np.isfinite(value) else None for name, value in ends.items()
        }
        return {**found, "unit": self.unit, "estimator": self.estimator}

    def less(self, known: float) -> "Estimate":
        """The figure less a known one."""
        return replace(self, value=self.value - known, low=self.low - known, high=self.high - known)


def normal(value: float, error: float, unit: str = "white", estimator: str = "", freedom: float = np.inf) -> Estimate:
    """value +- t error, t of Student's law with ``freedom`` degrees (normal where infinite)."""
    half = error * float(stats.t.isf((1 - CONFIDENCE) / 2, freedom))
    return Estimate(value, value - half, value + half, unit, estimator)


def chi_square(value: float, error: float, offset: float = 0.0, unit: str = "white", estimator: str = "") -> Estimate:
    """Interval of a variance whose estimate is ``value`` = q - ``offset``, q a scaled chi-square of error ``error``.

    Degrees of freedom nu = 2 q^2 / error^2 (Satterthwaite 1946); nu q / chi2 bounds q, and the known offset comes off.
    """
    total = max(value + offset, SMALLEST)
    freedom = max(2 * total**2 / max(error, 1e-9 * total) ** 2, 0.5)
    tail = (1 - CONFIDENCE) / 2
    low, high = (total * freedom / float(stats.chi2.isf(p, freedom)) for p in (tail, 1 - tail))
    return Estimate(value, low - offset, high - offset, unit, estimator)


def total(parts: Sequence[Estimate], estimator: str = "") -> Estimate:
    """Sum of independent estimates: on each side the squared distances of the intervals' ends add up.

    Intervals of variances are skewed, and so is that of their sum (MOVER, Zou and Donner 2008). Parts below zero count
    as they are: cut at zero, parts that are not there would add up to something.
    """
    value = sum(part.value for part in parts)
    below = sum((part.value - part.low) ** 2 for part in parts) ** 0.5
    above = sum((part.high - part.value) ** 2 for part in parts) ** 0.5
    return Estimate(value, value - below, value + above, parts[0].unit, estimator or parts[0].estimator)


def mean_of_clusters(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of values that come in clusters (blocks of pixels), level by level.

    Args:
        sums, counts: (clusters, K) sum of the values, and number of them.
    Returns: (K,) mean and error: sqrt(G / (G - 1) sum_g (s_g - mean n_g)^2) / n over the G clusters that hold values.
    """
    total = counts.sum(axis=0)
    mean = sums.sum(axis=0) / np.maximum(total, 1)
    used = (counts > 0).sum(axis=0)
    excess = np.square(sums - mean * counts).sum(axis=0) * used / np.maximum(used - 1, 1)
    return mean, np.where(used > 1, np.sqrt(excess) / np.maximum(total, 1), np.inf)


def joined(estimates: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Mean of independent estimates by inverse variance, and its error."""
    weights = 1 / np.square(np.maximum(errors, 1e-300))
    return float(np.average(estimates, weights=weights)), float(weights.sum() ** -0.5)
