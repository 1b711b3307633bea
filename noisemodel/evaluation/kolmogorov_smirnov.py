"""Kolmogorov-Smirnov distance of residuals."""

import torch
from torch import Tensor


def ks(real: Tensor, model: Tensor) -> Tensor:
    """max over x of |F(x) - G(x)|, F and G the empirical distributions; exact, ties included.

    Blind to what is correlated with what: white noise of the right law passes.

    Args:
        real, model: (N, ...) residuals, N laws that are compared one by one; a law's samples may differ in number.
    Returns: (N,) in 0..1; of n and m independent values of one law, about 0.87 sqrt(1/n + 1/m).
    """
    first, second = (values.flatten(1).sort(dim=1).values for values in (real, model))
    jumps = torch.cat([first, second], dim=1)
    shares = [torch.searchsorted(s, jumps, right=True) / s.shape[1] for s in (first, second)]
    return (shares[0] - shares[1]).abs().amax(dim=1)


def ks_of_counts(real: Tensor, model: Tensor) -> Tensor:
    """The same at the edges of a histogram's bins; counts (..., K) -> (...)."""
    shares = [h.cumsum(dim=-1) / h.sum(dim=-1, keepdim=True).clamp_min(1) for h in (real, model)]
    return (shares[0] - shares[1]).abs().amax(dim=-1)
