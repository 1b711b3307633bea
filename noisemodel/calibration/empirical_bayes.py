"""What single pixels are like, when each is measured with much scatter: the law of all pixels informs each of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from noisemodel.streams import stream

CELLS = 512  # of the measured values
STEPS = 300  # of EM
GAUSSIAN_SHAPE = 0.14  # lambda at which the Tukey-lambda law is nearly Gaussian
CHUNK = 10_000  # values whose densities are held at once


@dataclass(frozen=True, eq=False)
class PixelLaw:
    """Posterior of each pixel's true value given its measured one, under the likeliest law of true values.

    The law is a mixture over a grid (Kiefer and Wolfowitz 1956), found by EM from the measured values in cells and
    their likelihood; the posterior given it is Robbins's empirical Bayes (1956).

    shape: of the map; place: (pixels,) cell of each; likelihood: (CELLS, G); grid: (G,) true values.
    """

    shape: torch.Size
    place: np.ndarray
    likelihood: np.ndarray
    grid: np.ndarray

    @cached_property
    def posterior(self) -> np.ndarray:
        """(CELLS, G) probabilities."""
        counts = np.bincount(self.place, minlength=CELLS)
        weight = np.full(len(self.grid), 1 / len(self.grid))
        for _ in range(STEPS):
            joint = self.likelihood * weight
            joint /= joint.sum(axis=1, keepdims=True).clip(1e-300)
            weight = counts @ joint / counts.sum()
        joint = self.likelihood * weight
        return np.asarray(joint / joint.sum(axis=1, keepdims=True).clip(1e-300))

    def means(self) -> Tensor:
        """The posterior means: nearest to the truth, pixel by pixel, but of too little spread over pixels."""
        return torch.from_numpy((self.posterior @ self.grid)[self.place]).view(self.shape)

    def draws(self) -> Tensor:
        """One draw from each pixel's posterior: a map with the right spread, and with each oddity at its place."""
        steps = self.posterior.cumsum(axis=1)
        steps /= steps[:, -1:].clip(1e-300)
        uniform = torch.rand(len(self.place), generator=stream(0, "pixel law"), dtype=torch.float64).numpy()
        # All rows of steps in one ascending list: row i lies in (i, i + 1].
        ascending = (steps + np.arange(CELLS)[:, None]).ravel()
        found = np.searchsorted(ascending, self.place + uniform) - self.place * len(self.grid)
        return torch.from_numpy(self.grid[found.clip(0, len(self.grid) - 1)]).view(self.shape)

    def log_density(self, values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Log density of Gaussian ``values`` at ``pixels`` (indices) whose variances have this law."""
        with np.errstate(divide="ignore"):
            weights = np.log(self.posterior)
        found = np.empty(len(values))
        for first in range(0, len(values), CHUNK):
            at = slice(first, first + CHUNK)
            density = stats.norm.logpdf(values[at, None], scale=np.sqrt(self.grid))
            found[at] = special.logsumexp(density + weights[self.place[pixels[at]]], axis=1)
        return found


def tail_shape(sample: np.ndarray) -> float:
    """lambda of the Tukey-lambda law whose quantiles fit a sample best (Filliben 1975), in [-0.4, 0.5].

    A sample on few values (read noise below the ADC step) has no best shape; it gets the Gaussian one.
    """
    try:
        return float(np.clip(stats.ppcc_max(sample, brack=(-0.3, 0.3)), -0.4, 0.5))
    except (ValueError, RuntimeError):
        return GAUSSIAN_SHAPE


def law_of_variances(variance: Tensor, freedom: int) -> PixelLaw:
    """Law of the pixels' variances from sample variances of ``freedom`` degrees of freedom."""
    sample = variance.flatten().clamp_min(1e-3 * float(variance.median())).numpy()
    cells = np.geomspace(sample.min(), sample.max() * 1.0001, CELLS + 1)
    place = np.clip(np.searchsorted(cells, sample, side="right") - 1, 0, CELLS - 1)
    middle = float(np.median(sample))
    grid = np.geomspace(0.25 * middle, max(sample.max(), 4 * middle), 200)
    likelihood = np.diff(stats.chi2.cdf(freedom * cells[:, None] / grid, freedom), axis=0)
    return PixelLaw(variance.shape, place, likelihood, grid)


def law_of_means(mean: Tensor, error: float) -> PixelLaw | None:
    """Law of the pixels' offsets from means measured with ``error`` (std); None where that is nothing beside them."""
    sample = mean.flatten().numpy()
    low, high = np.quantile(sample, 1e-3) - 6 * error, np.quantile(sample, 1 - 1e-3) + 6 * error
    cells, grid = np.linspace(low, high, CELLS + 1), np.linspace(low, high, 401)
    if grid[1] - grid[0] > error:
        return None
    place = np.clip(np.searchsorted(cells, sample, side="right") - 1, 0, CELLS - 1)
    likelihood = np.diff(stats.norm.cdf((cells[:, None] - grid) / error), axis=0)
    return PixelLaw(mean.shape, place, likelihood, grid)
