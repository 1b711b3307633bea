"""From images in [0, 1] to the networks' range [-1, 1], and back."""

import torch
from torch import Tensor

from nrgan.share import ALONE, Share

NOISE_SCALE = 2 * 255 / 256  # noise in [0, 1] -> noise in the networks' range
STEP = 1 / 128  # one of 256 levels in the networks' range


def to_network(images: Tensor, *, generator: torch.Generator, share: Share = ALONE) -> Tensor:
    """2 (x 255/256 - 1/2) + U(0, 1/128): [0, 1] -> [-1, 1], each of 256 levels spread over its bin.

    Args:
        images: (N, C, H, W) in [0, 1] (beyond it where noise was not clipped).
        generator: draws the place within the bin.
        share: the rows that ``images`` are of a global batch.
    """
    place = share.uniform(*images.shape, generator=generator)
    return NOISE_SCALE * images - 1 + STEP * place


def to_unit(images: Tensor) -> Tensor:
    """(x + 1) / 2: [-1, 1] -> [0, 1]; within 1/512 of the inverse of `to_network`'s mean."""
    return (images + 1) / 2
