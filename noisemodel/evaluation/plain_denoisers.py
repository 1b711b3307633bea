"""Denoisers that need no training: what a trained one is compared with. Each takes and gives one image in [0, 1].

A mosaic is denoised as four planes by position, an sRGB picture as three.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from noisemodel.errors import InputError

Array = np.ndarray[Any, Any]
Denoiser = Callable[[Array], Array]  # (H, W, C) float32 in [0, 1] -> the same shape


def noise_std(image: Array) -> float:
    """std = median |(a - b - c + d) / 2| / 0.6745 over the 2x2 cells of all channels, their mean over channels.

    The diagonal Haar coefficients hold the noise and little of the picture (Donoho 1994).

    Args:
        image: (H, W, C).
    Returns: in the image's unit.
    """
    height, width = (length // 2 * 2 for length in image.shape[:2])
    a, b, c, d = (image[i:height:2, j:width:2].astype(np.float64) for i in (0, 1) for j in (0, 1))
    return float(np.median(np.abs(a - b - c + d) / 2, axis=(0, 1)).mean() / 0.6745)


def noisy(image: Array) -> Array:
    """The image as it is."""
    return image


def nlm(image: Array) -> Array:
    """Non-local means (Buades 2005): patches of 5x5, searched 6 pixels around, h = 0.8 std."""
    from skimage.restoration import denoise_nl_means

    std = noise_std(image)
    found = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=0.8 * std, sigma=std, fast_mode=True, channel_axis=-1
    )
    return np.asarray(found, image.dtype)


def wavelet(image: Array) -> Array:
    """Soft BayesShrink thresholds of Daubechies-2 wavelets (Chang 2000)."""
    from skimage.restoration import denoise_wavelet

    try:
        found = denoise_wavelet(
            image, sigma=noise_std(image), wavelet="db2", method="BayesShrink", rescale_sigma=True, channel_axis=-1
        )
    except ImportError as error:
        raise InputError("wavelet needs PyWavelets; pip install PyWavelets -c constraints.txt, or use nlm") from error
    return np.asarray(found, image.dtype)


def tv(image: Array) -> Array:
    """Total variation (Chambolle 2004), weight = std."""
    from skimage.restoration import denoise_tv_chambolle

    std = noise_std(image)
    return image if std == 0 else np.asarray(denoise_tv_chambolle(image, weight=std, channel_axis=-1), image.dtype)


PLAIN_DENOISERS: dict[str, Denoiser] = {"noisy": noisy, "nlm": nlm, "wavelet": wavelet, "tv": tv}
