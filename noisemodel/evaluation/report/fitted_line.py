"""The photon-transfer line through variances with errors: weighted least squares, interval, lack of fit."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm
from torch import Tensor

TWO_SIDED_95 = float(norm.ppf(0.975))
LEAST_RELATIVE_ERROR = 1e-4  # of a variance: guards against an error that came out as 0


@dataclass(frozen=True, eq=False)
class FittedLine:
    """variance = slope signal + intercept.

    covariance: (2, 2) of (slope, intercept), widened by `widening`.
    widening: sqrt(chi^2 / freedom) where that is above 1, so that a line that does not fit is not called precise.
    residuals: (variance - line) / error at each level.
    p_value: chance of a chi^2 at least as large if line and errors were right; NaN without a degree of freedom.
    """

    slope: float
    intercept: float
    covariance: np.ndarray
    residuals: np.ndarray
    chi_square: float
    freedom: int
    widening: float
    p_value: float

    def at(self, signal: np.ndarray) -> np.ndarray:
        """The line."""
        return self.slope * signal + self.intercept

    def half_width(self, signal: np.ndarray) -> np.ndarray:
        """Half the width of the pointwise 95 % interval of the line."""
        design = np.stack([signal, np.ones_like(signal)], axis=-1)
        return TWO_SIDED_95 * np.sqrt(np.einsum("...i,ij,...j", design, self.covariance, design))


def fit_line(signal: Tensor, variance: Tensor, error: Tensor) -> FittedLine | None:
    """Minimise sum ((variance - slope signal - intercept) / error)^2.

    Args:
        signal, variance, error: (K,), in units that belong together, e.g. DN, DN^2 and DN^2.
    Returns: the line; None where fewer than two levels differ.
    """
    x, y, spread = (np.asarray(v, dtype=float) for v in (signal, variance, error))
    spread = np.maximum(spread, LEAST_RELATIVE_ERROR * np.abs(y))
    if len(x) < 2 or np.ptp(x) == 0 or not np.all(spread > 0):
        return None
    centre = np.average(x, weights=spread**-2)
    design = np.stack([x - centre, np.ones_like(x)], axis=1) / spread[:, None]
    inverse = np.linalg.inv(design.T @ design)
    slope, height = inverse @ design.T @ (y / spread)
    moved = np.array([[1.0, 0.0], [-centre, 1.0]])  # from the height at the centre to the intercept
    residuals = (y - slope * (x - centre) - height) / spread
    freedom, total = len(x) - 2, float((residuals**2).sum())
    widening = max(1.0, (total / freedom) ** 0.5) if freedom else 1.0
    covariance = moved @ inverse @ moved.T * widening**2
    p_value = float(chi2.sf(total, freedom)) if freedom else float("nan")
    return FittedLine(
        float(slope), float(height - slope * centre), covariance, residuals, total, freedom, widening, p_value
    )
