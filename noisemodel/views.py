"""What the critic sees of a burst: one function per word of ``--discriminator_loss``."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.sensor.mosaic import MOSAIC_COLUMN, MOSAIC_ROW


@dataclass(frozen=True)
class Ruler:
    """std(x) = sqrt(a + b x+): the scale that a residual is measured in before the critic sees it.

    Real and generated residuals are divided by the same figure, so what the critic compares does not change; dark and
    bright noise merely become equally visible. a and b come from the training data, [fraction of white, squared] and
    [fraction of white]; where they differ by image, they are (N, 1, 1, 1, 1).
    """

    a: float | Tensor
    b: float | Tensor

    def std(self, reference: Tensor) -> Tensor:
        """Scale at each pixel [fraction of white]."""
        return (self.a + self.b * reference.clamp_min(0)).sqrt()

    def light(self, reference: Tensor) -> Tensor:
        """ln(std(x) / std(0)): the signal on a scale that resolves the dark."""
        return (self.std(reference) / self.a**0.5).log()


# residual (N, T, C, h, w), reference (N, 1, C, h, w), ruler, layout -> name -> (B, channels, h, w): one or several
# looks at the noise, each scored by a head of its own.
Looks = dict[str, Tensor]
View = Callable[[Tensor, Tensor, Ruler, str], Looks]


def pixels(residual: Tensor, reference: Tensor, ruler: Ruler, layout: str) -> Looks:
    """The noisy frames themselves, y = reference + residual."""
    return {"frame": (reference + residual).flatten(0, 1)}


def fourier(residual: Tensor, reference: Tensor, ruler: Ruler, layout: str) -> Looks:
    """|fftshift fft2(y)|, orthonormal."""
    return {"spectrum": torch.fft.fftshift(_spectrum(residual, reference), dim=(-2, -1)).abs()}


def mixed(residual: Tensor, reference: Tensor, ruler: Ruler, layout: str) -> Looks:
    """Pixels, and the magnitude of their spectrum beside them."""
    both = (pixels(residual, reference, ruler, layout), fourier(residual, reference, ruler, layout))
    return {"both": torch.cat([values for look in both for values in look.values()], dim=1)}


def complex_spectrum(residual: Tensor, reference: Tensor, ruler: Ruler, layout: str) -> Looks:
    """Real and imaginary part of fftshift fft2(y), orthonormal."""
    spectrum = torch.fft.fftshift(_spectrum(residual, reference), dim=(-2, -1))
    return {"spectrum": torch.cat([spectrum.real, spectrum.imag], dim=1)}


def with_mean(residual: Tensor, reference: Tensor, ruler: Ruler, layout: str) -> Looks:
    """Each frame, and the mean of its burst beside it."""
    frames = reference + residual
    mean = frames.mean(dim=1, keepdim=True).expand_as(frames)
    return {"frame": torch.cat([frames, mean], dim=2).flatten(0, 1)}


def noise_beside_clean(
    residual: Tensor,
    reference: Tensor,
    ruler: Ruler,
    layout: str,
    wave_look: str = "",
    waves: Tensor | None = None,
    parity: bool = False,
) -> Looks:
    """Noise, its line means, and the same of the burst's mean: each a look, beside the light that it came with.

    The pairs are known, so the critic need not guess the scene. One head per look: a mismatch that shows in one of them
    only (a row in the row means) cannot take the critic's attention from the others. ``waves`` (N, 1, 2 C, h, w), where
    given, stand beside the look ``wave_look``. ``parity`` adds the look `PARITY`.
    """
    looks = {}
    for name, values in noise_features(residual / ruler.std(reference), layout, parity=parity).items():
        beside = ruler.light(reference)
        if waves is not None and name == wave_look:
            beside = torch.cat([beside, waves], dim=2)
        for axis in (-2, -1):
            if values.shape[axis] == 1:
                beside = beside.mean(dim=axis, keepdim=True)
        beside = beside.expand(-1, values.shape[1], -1, *values.shape[-2:])
        looks[name] = torch.cat([values, beside], dim=2).flatten(0, 1)
    return looks


def noise_features(noise: Tensor, layout: str, *, parity: bool = False) -> dict[str, Tensor]:
    """Noise, its means along sensor rows and columns, and the same of the burst's mean.

    With ``parity`` also what even and odd columns of a row differ by, which its mean does not show.

    Each broadcasts to (N, T, C, h, w). A mean is multiplied by the root of what was averaged: white noise of std 1
    keeps std 1 in every feature.
    """
    mean = noise.mean(dim=1, keepdim=True) * noise.shape[1] ** 0.5
    features: dict[str, Tensor] = {}
    for kind, whole, values in (("", "pixel", noise), ("burst_", "burst_mean", mean)):
        rows, columns = line_means(values, layout)
        features |= {whole: values, f"{kind}row": rows, f"{kind}column": columns}
    if parity:
        features[PARITY] = column_parity(noise, layout)
    return features


def column_parity(noise: Tensor, layout: str) -> Tensor:
    """Means of noise (-1)^column along sensor rows (..., C, h, 1), times the root of the pixels averaged."""
    if layout == "mosaic":
        sign = noise.new_tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1)
    else:
        sign = 1 - 2 * (torch.arange(noise.shape[-1], device=noise.device) % 2).to(noise.dtype)
    return line_means(noise * sign, layout)[0]


def line_means(noise: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """Means along sensor rows (..., C, h, 1) and columns (..., C, 1, w), times the root of the pixels averaged."""
    rows, columns = noise.mean(dim=-1, keepdim=True), noise.mean(dim=-2, keepdim=True)
    if layout == "mosaic":
        planes = 2
        rows = ((rows[..., [0, 2], :, :] + rows[..., [1, 3], :, :]) / 2)[..., MOSAIC_ROW, :, :]
        columns = ((columns[..., [0, 1], :, :] + columns[..., [2, 3], :, :]) / 2)[..., MOSAIC_COLUMN, :, :]
    else:
        planes = noise.shape[-3]
        rows, columns = (lines.mean(dim=-3, keepdim=True).expand_as(lines) for lines in (rows, columns))
    return rows * (planes * noise.shape[-1]) ** 0.5, columns * (planes * noise.shape[-2]) ** 0.5


def _spectrum(residual: Tensor, reference: Tensor) -> Tensor:
    """fft2(y), orthonormal: white noise keeps its std."""
    return torch.fft.fft2((reference + residual).flatten(0, 1), norm="ortho")


PARITY = "row_parity"
# --discriminator_loss -> the view, and the channels per plane of each of its looks.
NOISE_LOOKS = ("pixel", "row", "column", "burst_mean", "burst_row", "burst_column")
VIEWS: dict[str, tuple[View, dict[str, int]]] = {
    "residual": (noise_beside_clean, dict.fromkeys(NOISE_LOOKS, 2)),
    "real": (pixels, {"frame": 1}),
    "fourier": (fourier, {"spectrum": 1}),
    "mixed": (mixed, {"both": 2}),
    "complex": (complex_spectrum, {"spectrum": 2}),
    "mean": (with_mean, {"frame": 2}),
}
