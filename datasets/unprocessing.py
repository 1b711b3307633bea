"""Linear raw from finished pictures (Brooks 2019, "Unprocessing Images for Learned Raw Denoising", section 3)."""

from typing import Any

import numpy as np

Image = np.ndarray[Any, np.dtype[np.float64]]

# XYZ -> camera of one of the cameras Brooks 2019 draws from, and linear sRGB -> XYZ (IEC 61966-2-1, D65).
XYZ_TO_CAMERA = ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406))
SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
# White-balance gains: the middle of Brooks 2019's ranges, red 1.9..2.4 and blue 1.5..1.9; brightening 1 / 0.8.
RED_GAIN, BLUE_GAIN, BRIGHTENING = 2.15, 1.7, 1.25
HIGHLIGHT_INFLECTION = 0.9


def inverse_smoothstep(picture: Image) -> Image:
    """Invert the tone curve y = 3 x^2 - 2 x^3: x = 1/2 - sin(asin(1 - 2 y) / 3)."""
    return 0.5 - np.sin(np.arcsin(1.0 - 2.0 * np.clip(picture, 0.0, 1.0)) / 3.0)


def inverse_srgb_gamma(picture: Image) -> Image:
    """sRGB code values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)


def inverse_colour_matrix(linear: Image) -> Image:
    """(..., 3) linear sRGB to camera colours; each row of the matrix sums to 1, so that grey stays grey."""
    matrix = np.array(XYZ_TO_CAMERA) @ np.array(SRGB_TO_XYZ)
    return linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T


def inverse_white_balance(camera: Image) -> Image:
    """Divide (..., 3) camera colours by the gains; highlights keep their value, so that white stays saturated."""
    gains = np.array([1.0 / RED_GAIN, 1.0, 1.0 / BLUE_GAIN]) / BRIGHTENING
    grey = camera.mean(axis=-1, keepdims=True)
    mask = (np.maximum(grey - HIGHLIGHT_INFLECTION, 0.0) / (1.0 - HIGHLIGHT_INFLECTION)) ** 2
    return camera * np.maximum(mask + (1.0 - mask) * gains, gains)


def unprocess(picture: Image) -> Image:
    """A finished sRGB picture (H, W, 3) in [0, 1] to linear camera colours in [0, 1]."""
    linear = inverse_srgb_gamma(inverse_smoothstep(picture))
    return np.clip(inverse_white_balance(inverse_colour_matrix(linear)), 0.0, 1.0)


def mosaic_rggb(camera: Image) -> Image:
    """(H, W, 3) camera colours to the (H, W) an RGGB mosaic lets through."""
    mosaic = camera[..., 1].copy()
    mosaic[0::2, 0::2] = camera[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = camera[1::2, 1::2, 2]
    return mosaic
