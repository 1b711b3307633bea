"""A trained denoiser as the function of one image that evaluations call beside the classical ones."""

from collections.abc import Callable
from pathlib import Path

import torch

from denoisers.tiling import denoise_tiled
from denoisers.trained import load_denoiser
from noisemodel.errors import InputError
from noisemodel.images import Array


def image_method(path: Path, layout: str, channels: int, what: str) -> Callable[[Array], Array]:
    """The denoiser of a run as a function (H, W, C) -> (H, W, C), fractions of white.

    Args:
        path: run folder or file.
        layout, channels: of the images that it must be for.
        what: these images, for the message.
    Raises: InputError if it cannot be read, or is for other images or for clips.
    """
    denoiser = load_denoiser(path)
    settings = denoiser.settings
    if (settings.layout, settings.channels, settings.frames) != (layout, channels, 1):
        kind = f"{settings.layout} of {settings.channels} channel(s), {settings.frames} frame(s)"
        raise InputError(f"{path} was trained on {kind}, not on {what}; choose another denoiser")

    def denoised(image: Array) -> Array:
        planes = torch.from_numpy(image).movedim(-1, 0).unsqueeze(0)
        return denoise_tiled(denoiser.denoise, planes.contiguous())[0].movedim(0, -1).contiguous().numpy()

    return denoised
