"""Photon transfer: the straight line of temporal variance against signal."""

from collections.abc import Sequence

import numpy as np
import torch

from noisemodel.calibration.moments import BurstMoments
from noisemodel.errors import InputError


def photon_transfer(moments: Sequence[BurstMoments]) -> tuple[float, float]:
    """Intercept and slope of temporal variance = a + g x by weighted least squares.

    The weights are 1 / var(variance) = n (T - 1) / (2 v^2) with v from the line itself, in three passes.

    Raises: InputError if no burst has any temporal variance.
    """
    x, v = (torch.cat([getattr(m, name) for m in moments]).numpy() for name in ("signal", "variance"))
    n = torch.cat([m.count * (m.frames - 1) for m in moments]).numpy()
    if v.max() <= 0:
        raise InputError("the frames of every burst are identical: no temporal noise to learn; record single exposures")
    fitted = np.maximum(v, 1e-6 * v.max())
    several = len(x) > 1 and any(m.burst.kind != "dark" for m in moments)
    design = np.stack([np.ones_like(x), x * several], axis=1)  # from one level no slope: g = 0
    a, g = float(v.mean()), 0.0
    for _ in range(3):
        weight = np.sqrt(n) / fitted
        scale = np.abs(design * weight[:, None]).max(axis=0).clip(1e-300)
        a, g = map(float, np.linalg.lstsq(design * weight[:, None] / scale, v * weight, rcond=None)[0] / scale)
        fitted = np.maximum(design @ [a, g], 0.1 * np.maximum(v, 1e-6 * v.max()))
    return a, g


def slope_error(moments: Sequence[BurstMoments], intercept: float, slope: float) -> float:
    """Standard error of the slope of `photon_transfer`; infinite where all signals are the same."""
    x = torch.cat([m.signal for m in moments])
    weight = torch.cat([m.count * (m.frames - 1) for m in moments]) / (2 * (intercept + slope * x).square())
    spread = (weight * (x - (weight * x).sum() / weight.sum()).square()).sum()
    return float(spread.clamp_min(1e-300) ** -0.5)
