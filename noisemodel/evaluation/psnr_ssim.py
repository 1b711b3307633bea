"""PSNR and SSIM of denoised images, in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(image: Tensor, clean: Tensor) -> Tensor:
    """10 log10(1 / mean (x - y)^2) over all pixels and channels [dB]; infinite where both are equal.

    Args:
        image, clean: (N, C, H, W) in [0, 1].
    Returns: (N,), float64.
    """
    error = (image.double() - clean.double()).square().mean(dim=(-3, -2, -1))
    return -10 * error.log10()


def ssim(image: Tensor, clean: Tensor) -> Tensor:
    """Mean of (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2)) (Wang 2004, eq. 13).

    Local moments with a Gaussian window of 11x11, sigma 1.5, at the places where it lies inside the image;
    c1 = 0.01^2, c2 = 0.03^2; each channel by itself.

    Args:
        image, clean: (N, C, H, W) in [0, 1]; H, W >= 11.
    Returns: (N,), float64.
    """
    x, y = image.double(), clean.double()
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (var_x + var_y + K2**2)
    return (light * structure).mean(dim=(-3, -2, -1))


def _blurred(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H - 10, W - 10)."""
    place = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    kernel = torch.exp(-place.square() / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    flat = image.flatten(0, 1).unsqueeze(1)
    flat = functional.conv2d(functional.conv2d(flat, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return flat.view(*image.shape[:2], *flat.shape[-2:])
