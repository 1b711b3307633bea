"""Wasserstein-1 distance of residuals."""

import torch
from torch import Tensor


def w1(real: Tensor, model: Tensor) -> Tensor:
    """Integral of |F(x) - G(x)| dx, F and G the empirical distributions; exact, ties included.

    Two Gaussians of mean 0 are |s1 - s2| sqrt(2 / pi) apart. Blind to what is correlated with what.

    Args:
        real, model: (N, ...) residuals, N laws that are compared one by one; a law's samples may differ in number.
    Returns: (N,) in the unit of the residuals.
    """
    first, second = (values.flatten(1).double().sort(dim=1).values for values in (real, model))
    jumps = torch.cat([first, second], dim=1).sort(dim=1).values
    shares = [torch.searchsorted(s, jumps, right=True)[:, :-1] / s.shape[1] for s in (first, second)]
    return ((shares[0] - shares[1]).abs() * jumps.diff(dim=1)).sum(dim=1)


def w1_of_counts(real: Tensor, model: Tensor, edges: Tensor) -> Tensor:
    """The same from histograms, by the trapezoid rule; counts (..., K) and (K - 1,) inner edges -> (...)."""
    shares = [h.cumsum(dim=-1)[..., :-1] / h.sum(dim=-1, keepdim=True).clamp_min(1) for h in (real, model)]
    apart = (shares[0] - shares[1]).abs()
    return (apart[..., :-1] + apart[..., 1:]) @ edges.diff() / 2
