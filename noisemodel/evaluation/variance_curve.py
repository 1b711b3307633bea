"""Noise variance against signal: real, generated and closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.evaluation.recording import Pair, expected_squares
from noisemodel.generator import NoiseGenerator
from noisemodel.sensor import Levels

BINS = 22
BANDS = 16  # of rows; what a row shares is the same within a band
LEAST_VALUES = 400  # of a signal level that is shown


@dataclass(frozen=True, eq=False)
class VarianceCurve:
    """Mean squared residual per signal level, (K,) each [fraction of white, squared]; the first level is the dark.

    signal: mean of the clean signal [fraction of white].
    real_error, generated_error: standard errors.
    floor: real against real: second half of the frames over the first half.
    parts: closed form, word -> (K,); "sum" for all of the physics. A network is in no closed form.
    edges: (K, 2) of the levels [fraction of white].
    """

    signal: Tensor
    real: Tensor
    real_error: Tensor
    generated: Tensor
    generated_error: Tensor
    floor: Tensor
    parts: dict[str, Tensor]
    edges: Tensor


def signal_edges(levels: Levels, highest: float, bins: int = BINS) -> Tensor:
    """Edges of ``bins`` signal levels [fraction of white]: all below half a DN in one, then even in ln signal."""
    lowest = min(0.5 * levels.adc_step, 2e-4)
    end = max(highest, 2 * lowest) * 1.0001
    inner = torch.logspace(0, 1, bins, base=end / lowest, dtype=torch.float64) * lowest
    return torch.cat([torch.tensor([-torch.inf], dtype=torch.float64), inner])


def variance_curve(model: NoiseGenerator, pairs: Sequence[Pair]) -> VarianceCurve:
    """Mean squared residual against signal over all recordings.

    The square is taken about the reference, not about the level's own mean: its expectation is the closed form whatever
    is correlated with what. Standard errors allow for what frames and rows share.
    """
    highest = max(float(p.recording.clean[p.recording.valid].max()) for p in pairs if p.recording.valid.any())
    edges = signal_edges(pairs[0].recording.levels, highest)
    counts, real, generated, signals, closed = [], [], [], [], []
    for p in pairs:
        index = _cells(p, edges)
        bins = len(edges) - 1
        counts.append(_count(index, torch.ones_like(p.recording.clean), bins)[0])
        real.append(_count(index, p.real.square(), bins))
        generated.append(_count(index, p.generated.square(), bins))
        signals.append(_count(index, p.recording.clean, bins).sum(dim=(0, 1)) * len(p.real))
        expected = expected_squares(model, p.recording)
        closed.append({k: _count(index, v, bins).sum(dim=(0, 1)) * len(p.real) for k, v in expected.items()})
    total = torch.stack([n.sum(dim=0) * len(r) for n, r in zip(counts, real, strict=True)]).sum(dim=0)
    kept = total >= LEAST_VALUES
    (real_mean, real_error), (made_mean, made_error) = (mean_and_error(sums, counts) for sums in (real, generated))
    parts = {word: (torch.stack([c[word] for c in closed]).sum(dim=0) / total)[kept] for word in closed[0]}
    floor = _halves(real, counts)
    signal = torch.stack(signals).sum(dim=0) / total
    spans = torch.stack([edges[:-1], edges[1:]], dim=1)
    real_part, made_part = (real_mean[kept], real_error[kept]), (made_mean[kept], made_error[kept])
    return VarianceCurve(signal[kept], *real_part, *made_part, floor[kept], parts, spans[kept])


def mean_and_error(sums: Sequence[Tensor], counts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean per level and its standard error, clustered by frame and by band of rows.

    V = V_frame + V_band - V_both (Cameron, Gelbach and Miller 2011, eq. 2.8): values of one frame, and values of one
    band of rows in all frames of a burst, may be correlated.

    Args:
        sums: per recording, (T, bands, K) sums of values.
        counts: per recording, (bands, K) values per frame.
    """
    total = torch.stack([n.sum(dim=0) * len(s) for s, n in zip(sums, counts, strict=True)]).sum(dim=0)
    mean = torch.stack([s.sum(dim=(0, 1)) for s in sums]).sum(dim=0) / total
    excess = [s - mean.nan_to_num() * n for s, n in zip(sums, counts, strict=True)]
    frame = _clustered([e.sum(dim=1) for e in excess])
    band = _clustered([e.sum(dim=0) for e in excess])
    both = _clustered([e.flatten(0, 1) for e in excess])
    return mean, torch.maximum(frame + band - both, both).sqrt() / total


def _clustered(excess: Sequence[Tensor]) -> Tensor:
    """Sum over clusters of their squared excess, times G / (G - 1) for G clusters that hold values."""
    clusters = torch.cat(list(excess))
    used = (clusters != 0).sum(dim=0)
    return clusters.square().sum(dim=0) * used / (used - 1).clamp_min(1)


def _cells(pair: Pair, edges: Tensor) -> Tensor:
    """Index band * K + level of every pixel, (1, C, h, w); the last index is for what is not counted."""
    clean, bins = pair.recording.clean, len(edges) - 1
    level = torch.bucketize(clean.double(), edges) - 1
    band = torch.arange(clean.shape[-2]).view(-1, 1) * BANDS // clean.shape[-2]
    counted = pair.recording.valid & (level >= 0) & (level < bins)
    return torch.where(counted, band * bins + level, BANDS * bins)


def _count(index: Tensor, values: Tensor, bins: int) -> Tensor:
    """(T, bands, K) sums of ``values`` (T, C, h, w) by ``index`` (1, C, h, w)."""
    flat = index.flatten()
    sums = [torch.bincount(flat, frame.flatten().double(), minlength=BANDS * bins + 1) for frame in values]
    return torch.stack(sums)[:, :-1].reshape(len(values), BANDS, bins)


def _halves(sums: Sequence[Tensor], counts: Sequence[Tensor]) -> Tensor:
    """Mean of the second half of the frames over that of the first; NaN where a burst has one frame."""
    halves = []
    for part in (lambda t: slice(0, t // 2), lambda t: slice(t - t // 2, t)):
        some = [s[part(len(s))] for s in sums]
        total = torch.stack([n.sum(dim=0) * len(s) for s, n in zip(some, counts, strict=True)]).sum(dim=0)
        halves.append(torch.stack([s.sum(dim=(0, 1)) for s in some]).sum(dim=0) / total)
    return halves[1] / halves[0]
