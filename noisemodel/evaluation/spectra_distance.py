"""Distance of the power spectra of row and column means: noise that whole lines share, and its rhythm."""

import torch
from torch import Tensor

from noisemodel.evaluation.line_spectra import line_means
from noisemodel.evaluation.sample_counts import Sample

SEGMENT = 128  # lines of a periodogram; shorter ones average more, longer ones see finer lines
LEAST_POWER = 1e-300


def row_spectrum(real: Tensor, model: Tensor, *, layout: str = "planes") -> Tensor:
    """sqrt(mean over frequencies of ln(S_model / S_real)^2), S the power spectrum of row means.

    S is averaged over frames and over segments of 128 lines under a Hann window (Welch 1967); the frequency 0 is left
    out, for it belongs to the frame.

    Args:
        real, model: (..., T, C, h, w) residuals of T frames.
        layout: "mosaic" (planes are interleaved) or "planes".
    Returns: (...): 0.69 is a factor of two. From n averaged periodograms of one law, about sqrt(2 / n).
    """
    return _of_lines(real, model, layout, "row")


def column_spectrum(real: Tensor, model: Tensor, *, layout: str = "planes") -> Tensor:
    """The same as `row_spectrum`, of column means."""
    return _of_lines(real, model, layout, "column")


def _of_lines(real: Tensor, model: Tensor, layout: str, line: str) -> Tensor:
    powers = []
    for residual in (real, model):
        frames = residual.reshape(-1, *residual.shape[-3:])
        means = line_means(frames, torch.ones_like(frames[:1], dtype=torch.bool), layout, line)
        powers.append(segment_powers(means.view(*residual.shape[:-3], -1)).mean(dim=(-3, -2)))
    return log_distance(*powers)


def segment_powers(profiles: Tensor) -> Tensor:
    """Power of Hann-windowed segments of (..., T, L) profiles: (..., T, segments, frequencies > 0)."""
    length = profiles.shape[-1]
    segments = max(length // SEGMENT, 1)
    size = length // segments
    pieces = profiles[..., : segments * size].unflatten(-1, (segments, size)).double()
    window = torch.hann_window(size + 1, dtype=torch.float64, device=profiles.device)[1:]
    power = torch.fft.rfft(pieces * window, dim=-1).abs().square()
    return power[..., 1:]


def log_distance(real: Tensor, model: Tensor) -> Tensor:
    """sqrt(mean of ln(model / real)^2); powers (..., F) -> (...)."""
    ratio = model.clamp_min(LEAST_POWER).log() - real.clamp_min(LEAST_POWER).log()
    return ratio.square().mean(dim=-1).sqrt()


def row_powers(sample: Sample) -> Tensor:
    """(T x segments, frequencies) of the row means of the valid pixels."""
    return _powers(sample, "row")


def column_powers(sample: Sample) -> Tensor:
    """(T x segments, frequencies) of the column means of the valid pixels."""
    return _powers(sample, "column")


def _powers(sample: Sample, line: str) -> Tensor:
    at = sample.recording
    return segment_powers(line_means(sample.residual, at.valid, at.layout, line)).flatten(0, 1)
