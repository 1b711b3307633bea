"""How good a denoiser is on pairs whose clean images are known, and what that looks like."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from denoisers.pairs import Pair
from denoisers.trained import Denoiser
from noisemodel.evaluation.psnr_ssim import psnr
from noisemodel.sensor.rendering import render, stretch_of

Array = np.ndarray[Any, np.dtype[Any]]
PICTURED, LARGEST, GAP = 4, 256, 4  # images in a picture; pixels of each along an axis; white pixels between


@torch.no_grad()
def restored(denoiser: Denoiser, pair: Pair) -> Tensor:
    """The clipped estimate of a pair's clean image: the network alone, since pairs come at its own scale."""
    training = denoiser.training
    estimate: Tensor = denoiser.eval()(pair.noisy.to(next(denoiser.parameters()).device))
    denoiser.train(training)
    return estimate.clamp(0, 1).to(pair.target.device)


def mean_psnr(denoiser: Denoiser, pairs: Sequence[Pair]) -> float:
    """Mean over the images of the PSNR of the clipped estimate [dB]."""
    return float(np.mean([float(psnr(restored(denoiser, pair), pair.target.clamp(0, 1))) for pair in pairs]))


def noisy_psnr(pairs: Sequence[Pair]) -> float:
    """Mean over the images of the PSNR of the clipped noisy image [dB]."""
    return float(np.mean([float(psnr(middle(pair).clamp(0, 1), pair.target.clamp(0, 1))) for pair in pairs]))


def middle(pair: Pair) -> Tensor:
    """The noisy image that the target belongs to, (N, C, H, W)."""
    return pair.noisy if pair.noisy.ndim == 4 else pair.noisy[:, pair.noisy.shape[1] // 2]


def comparison(denoiser: Denoiser, pairs: Sequence[Pair]) -> Array:
    """Rows of noisy | denoised | clean, the middle of the first images, (H, W, 3) uint8."""
    rows = []
    for pair in pairs[:PICTURED]:
        shown = [middle(pair)[0], restored(denoiser, pair)[0], pair.target[0]]
        rows.append(np.concatenate([_framed(image) for image in _pictures(shown, denoiser)], axis=1))
    wide = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    )


def _pictures(images: list[Tensor], denoiser: Denoiser) -> list[Array]:
    """(h, w) or (h, w, 3) in [0, 1] each: gamma pictures as they are, linear ones by the stretch of the last."""
    asked = denoiser.settings
    height, width = (min(size, LARGEST) for size in images[0].shape[-2:])
    top, left = ((size - part) // 2 for size, part in zip(images[0].shape[-2:], (height, width), strict=True))
    cut = [image[:, top : top + height, left : left + width].cpu() for image in images]
    if asked.layout == "srgb":
        return [image.clamp(0, 1).permute(1, 2, 0).squeeze(2).numpy() for image in cut]
    stretch = stretch_of(cut[-1], asked.layout, asked.cfa)
    return [render(image, stretch, asked.layout, asked.cfa) for image in cut]


def _framed(image: Array) -> Array:
    """(h, w[, 3]) in [0, 1] -> uint8 colour with white pixels below and to the right."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    colour = levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
    return np.pad(colour, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
