"""What NR-GAN's critic and generators minimise (Kaneko & Harada 2020), as functions of logits, images and noise."""

import torch
from torch import Tensor
from torch.nn import functional

TINY = 1e-12  # keeps the diversity term finite where two latents are equal


def score_as_real(logits: Tensor) -> Tensor:
    """-log sigmoid(D), mean over images: of real ones for the critic, of generated ones for the generators."""
    return functional.softplus(-logits).mean()


def score_as_fake(logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D)), mean over images: of generated ones for the critic."""
    return functional.softplus(logits).mean()


def squared_slope(logits: Tensor, images: Tensor) -> Tensor:
    """R1 = mean over images of ||dD/dx||^2, without the 1/2 (Mescheder 2018); a graph of it is kept.

    Args:
        logits: (N,), computed from ``images`` while they required a gradient.
        images: (N, C, H, W).
    """
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean()


def diversity(noise: Tensor, latent: Tensor) -> Tensor:
    """-mean L1(n1, n2) / L1(z1, z2), L1 the mean absolute difference, over the two halves of a batch (Yang 2019).

    Args:
        noise: (2N, ...), what shall differ where latents do.
        latent: (2N, K).
    """
    differences = []
    for values in (noise, latent):
        one, other = values.chunk(2)
        differences.append((one - other).abs().flatten(1).mean(dim=1))
    return -(differences[0] / (differences[1] + TINY)).mean()
