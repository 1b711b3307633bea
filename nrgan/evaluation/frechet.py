"""The Frechet distance between two sets of feature vectors, each taken as a Gaussian (Dowson & Landau 1982)."""

from typing import NamedTuple

import torch
from torch import Tensor

from noisemodel.errors import InputError


class Moments(NamedTuple):
    """mean (d,), covariance (d, d), float64; vectors: how many they come from."""

    mean: Tensor
    covariance: Tensor
    vectors: int


def feature_moments(features: Tensor) -> Moments:
    """m = mean f, C = sum (f - m)(f - m)^T / (N - 1).

    Args:
        features: (N, d), any float type; summed in float64.
    Raises: InputError for fewer than two vectors, or values that are not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise InputError(f"features must be (N, d) with N >= 2, got {tuple(features.shape)}; give more images")
    values = features.double()
    if not bool(torch.isfinite(values).all()):
        raise InputError("features hold NaN or infinite values; the run has diverged, or the extractor does not fit")
    mean = values.mean(dim=0)
    centred = values - mean
    return Moments(mean, centred.T @ centred / (len(values) - 1), len(values))


def frechet_distance(one: Moments, other: Moments) -> float:
    """||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), never negative, in squared units of the features.

    The eigenvalues of (C1 C2)^(1/2) are the singular values of C1^(1/2) C2^(1/2), which are real whatever rounding
    does; a covariance of fewer vectors than dimensions is as good as any.

    The estimate is too large, by about a constant / N: compare distances of equal N only.

    Raises: InputError where the dimensions differ.
    """
    if one.mean.shape != other.mean.shape:
        raise InputError(f"features have {len(one.mean)} and {len(other.mean)} dimensions; use one extractor for both")
    shift = (one.mean - other.mean).square().sum()
    overlap = torch.linalg.svdvals(_square_root(one.covariance) @ _square_root(other.covariance)).sum()
    return max(float(shift + one.covariance.trace() + other.covariance.trace() - 2 * overlap), 0.0)


def _square_root(covariance: Tensor) -> Tensor:
    """C^(1/2) of a symmetric matrix; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
