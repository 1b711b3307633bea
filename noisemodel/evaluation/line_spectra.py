"""Means along sensor rows and columns, and their power spectra."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.evaluation.recording import Pair, Recording
from noisemodel.sensor import unpack_mosaic

AXES = {"row": -1, "column": -2}  # means of rows are taken along W


@dataclass(frozen=True, eq=False)
class LineSpectrum:
    """One-sided power spectral densities of line means, averaged over frames (L // 2 + 1 frequencies).

    frequency: cycles per sensor pixel.
    real, generated: [fraction of white, squared, per (cycle / px)]; their integral is the variance of the line means.
    white: what real noise of the same pixel variance would have if it were white.
    spectra: how many were averaged; the relative scatter of a value is 1 / sqrt(spectra).
    """

    frequency: Tensor
    real: Tensor
    generated: Tensor
    white: float
    spectra: int


def line_means(residual: Tensor, valid: Tensor, layout: str, line: str) -> Tensor:
    """Mean over the valid pixels of each sensor line, (T, lines); 0 where a line has none.

    Args:
        residual: (T, C, h, w); planes of a mosaic are interleaved, other planes share the sensor's lines.
        valid: (1, C, h, w) bool.
        layout: "mosaic" or "planes".
        line: "row" or "column".
    """
    weight = valid.to(residual.dtype)
    return _line_sums(residual * weight, layout, line) / _line_sums(weight, layout, line).clamp_min(1)


def power_spectrum(profiles: Tensor) -> tuple[Tensor, Tensor]:
    """One-sided density S(f) = 2 |FFT(p)|^2 / L of (T, L) profiles, averaged over T; 0 and 1/2 are not doubled.

    White profiles of variance s^2 have S = 2 s^2, and the integral of S over 0..1/2 is the mean square.

    Returns: frequencies [cycles per sample] and S, (L // 2 + 1,) each.
    """
    length = profiles.shape[-1]
    power = torch.fft.rfft(profiles.double(), dim=-1).abs().square().mean(dim=0) / length
    power[1 : (length + 1) // 2] *= 2
    return torch.fft.rfftfreq(length, dtype=torch.float64), power


def line_spectrum(pairs: Sequence[Pair], line: str, *, burst_mean: bool = False) -> LineSpectrum:
    """Spectra of row or column means, real and generated.

    Args:
        pairs: recordings of one size (others than the first's are left out).
        line: "row" or "column".
        burst_mean: of the mean over the frames of each burst, where static lines stand out.
    """
    used = [p for p in pairs if p.real.shape[1:] == pairs[0].real.shape[1:]]
    profiles, pixel_variance = {}, 0.0
    for name in ("real", "generated"):
        residuals = [getattr(p, name).mean(dim=0, keepdim=True) if burst_mean else getattr(p, name) for p in used]
        pieces = [(r, p.recording) for r, p in zip(residuals, used, strict=True)]
        if name == "real":
            pixel_variance = sum(_variance(*piece) for piece in pieces) / len(pieces)
        profiles[name] = torch.cat([line_means(r, at.valid, at.layout, line) for r, at in pieces])
    (frequency, real), (_, generated) = (power_spectrum(profile) for profile in profiles.values())
    spectra, lines = profiles["real"].shape
    averaged = float(sum(p.recording.valid.sum() for p in used)) / len(used) / lines
    return LineSpectrum(frequency, real, generated, 2 * pixel_variance / averaged, spectra)


def darkest(pairs: Sequence[Pair]) -> list[Pair]:
    """The recordings in which lines show best: darks, or the darkest third."""
    darks = [p for p in pairs if p.recording.kind == "dark"]
    by_signal = sorted(pairs, key=lambda p: float(p.recording.clean.mean()))
    return darks or by_signal[: max(1, len(pairs) // 3)]


def _line_sums(planes: Tensor, layout: str, line: str) -> Tensor:
    """Sums over sensor lines, (T, lines)."""
    image = unpack_mosaic(planes) if layout == "mosaic" else planes.sum(dim=-3)
    return image.sum(dim=AXES[line])


def _variance(residual: Tensor, recording: Recording) -> float:
    """Mean squared residual of the valid pixels."""
    weight = recording.valid.to(residual.dtype)
    return float((residual.square() * weight).sum() / (weight.sum() * len(residual)).clamp_min(1))
