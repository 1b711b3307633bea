"""Unprocessing of pictures as numpy holds them, (H, W, 3); the laws are in noisemodel.sensor.unprocessing."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisemodel.sensor import unpack_mosaic, unprocessing

Image = np.ndarray[Any, np.dtype[np.float64]]


def inverse_smoothstep(picture: Image) -> Image:
    """See `noisemodel.sensor.unprocessing.inverse_smoothstep`; any shape."""
    return unprocessing.inverse_smoothstep(torch.tensor(picture)).numpy()


def inverse_srgb_gamma(picture: Image) -> Image:
    """See `noisemodel.sensor.unprocessing.inverse_srgb_gamma`; any shape."""
    return unprocessing.inverse_srgb_gamma(torch.tensor(picture)).numpy()


def unprocess(picture: Image) -> Image:
    """A finished sRGB picture (H, W, 3) in [0, 1] to linear camera colours in [0, 1]."""
    return unprocessing.unprocess(_planes(picture)).movedim(0, -1).contiguous().numpy()


def mosaic_rggb(camera: Image) -> Image:
    """(H, W, 3) camera colours to the (H, W) an RGGB mosaic lets through; H and W even."""
    return unpack_mosaic(unprocessing.mosaic_planes(_planes(camera), "RGGB")).numpy()


def _planes(image: Image) -> Tensor:
    """(3, H, W)."""
    return torch.tensor(image).movedim(-1, 0)
