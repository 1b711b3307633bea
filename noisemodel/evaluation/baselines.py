"""What every table compares a model with: simple noise fitted to the same bursts, and real frames.

Each has ``draw(recording, generator=...)``: frames of the recording's scene, (T, C, h, w) [fraction of white].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.evaluation.fidelity import DrawnPair
from noisemodel.evaluation.recording import Pair, ReadableBurst, Recording, generate
from noisemodel.evaluation.sample_counts import Sample, root_mean_square
from noisemodel.evaluation.variance_curve import LEAST_VALUES
from noisemodel.evaluation.variance_levels import level_sums
from noisemodel.generator import NoiseGenerator


class NoiseSource(Protocol):
    """Whatever makes noisy frames of a recording's scene."""

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        """(T, C, h, w) [fraction of white], T as the recording has."""


def draw_pair(
    source: NoiseSource, recording: Recording, *, generator: torch.Generator, draws: int = 1
) -> Pair | DrawnPair:
    """Real and drawn residuals of one recording, made alike; with ``draws`` > 1, further draws for akld."""
    made = [recording.residual(source.draw(recording, generator=generator)) for _ in range(draws)]
    real = recording.residual(recording.frames)
    return Pair(recording, real, made[0]) if draws == 1 else DrawnPair(recording, real, made[0], tuple(made[1:]))


@final
@dataclass(frozen=True)
class Gaussian:
    """clean + N(0, std^2), one std [fraction of white] for all signals; neither rounded nor clipped."""

    std: float

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        return recording.clean + self.std * torch.randn(recording.frames.shape, generator=generator)


@final
@dataclass(frozen=True)
class PoissonGaussian:
    """g Poisson(x+ / g) + x- + N(0, read_std^2), x+ and x- the signal above and below 0; neither rounded nor clipped.

    gain: g [white fraction per electron]; 0 for no shot noise. read_std: [fraction of white], rounding included.
    """

    gain: float
    read_std: float

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        signal = with_shot_noise(recording, self.gain, generator)
        return signal + self.read_std * torch.randn(signal.shape, generator=generator)


@final
@dataclass(frozen=True, eq=False)
class DarkFrames:
    """Poisson shot noise of ``gain``, plus residual frames of real darks from the same place on the sensor.

    The frames of a draw come from one dark burst in random order, as long as it has enough, then from the next.
    Against residuals from the burst's own mean, residuals of one dark burst have the right variance as they are.
    """

    gain: float
    bursts: tuple[ReadableBurst, ...]

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        found: list[Tensor] = []
        order = torch.randperm(len(self.bursts), generator=generator).tolist()
        while len(found) < len(recording.frames):
            for index in order:
                frames = self._residuals(self.bursts[index], recording)
                found += list(frames[torch.randperm(len(frames), generator=generator)])
        darks = torch.stack(found[: len(recording.frames)])
        return with_shot_noise(recording, self.gain, generator) + darks

    def _residuals(self, burst: ReadableBurst, recording: Recording) -> Tensor:
        """Frames of a dark burst where the recording lies, less what the recording's residuals do not hold."""
        rows, columns = (
            _span(recording.origin[a] - burst.origin[a], burst.pixel_step, recording.frames.shape[2 + a])
            for a in (0, 1)
        )
        if min(rows.start, columns.start) < 0 or rows.stop > burst.shape[2] or columns.stop > burst.shape[3]:
            raise InputError(f"{burst.path} does not cover {recording.name}; record darks of the same window")
        frames = burst.read(range(burst.shape[0]), rows, columns)
        if not recording.centred:
            return frames
        frames = frames - burst.summary().offsets.view(-1, 1, 1, 1)
        return frames - frames.mean(dim=0, keepdim=True)


@final
@dataclass(frozen=True, eq=False)
class ModelNoise:
    """A noise model's exact laws, rounded and clipped as `noisemodel.evaluation.recording.generate` does it."""

    model: NoiseGenerator

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        return generate(self.model, recording, generator=generator)


@final
@dataclass(frozen=True)
class RealFrames:
    """The real frames, each even one in the place of the odd one beside it: value and floor are then the same."""

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        count = len(recording.frames) // 2 * 2
        swapped = recording.frames[:count].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        return torch.cat([swapped, recording.frames[count:]])


def fit_gaussian(recordings: Sequence[Recording]) -> Gaussian:
    """std = sqrt(mean of the residual variance over recordings), for single frames (T / (T - 1) where centred)."""
    squares = []
    for at in recordings:
        frames = len(at.frames)
        share = (frames - 1) / frames if at.centred else 1.0
        squares.append(root_mean_square(at.residual(at.frames), at.valid) ** 2 / share)
    return Gaussian((sum(squares) / len(squares)) ** 0.5)


def fit_poisson_gaussian(recordings: Sequence[Recording]) -> PoissonGaussian:
    """The photon-transfer line var = read_std^2 + gain x through the signal levels of all recordings.

    Weighted least squares with var(v) = 2 v^2 / n, v from the line, in three passes; a negative coefficient becomes 0.
    From one signal level there is no slope: gain 0.
    """
    x, v, n = (torch.cat(parts) for parts in zip(*map(_signal_levels, recordings), strict=True))
    if len(x) < 2 or float(x.max() - x.min()) < 1e-12:
        return PoissonGaussian(0.0, float((v * n).sum() / n.sum()) ** 0.5)
    design, fitted = torch.stack([torch.ones_like(x), x], dim=1), v
    for _ in range(3):
        weight = n.sqrt() / fitted
        read, gain = torch.linalg.lstsq(design * weight[:, None], v * weight).solution.tolist()
        fitted = (read + gain * x).clamp_min(0.1 * float(v.min()))
    return PoissonGaussian(max(gain, 0.0), max(read, 0.0) ** 0.5)


def _signal_levels(at: Recording) -> tuple[Tensor, Tensor, Tensor]:
    """Signal, variance of single frames, and number of values at each level of one recording, (K,) each."""
    sums, number = level_sums(Sample(at.residual(at.frames), at, 1.0)).sum(dim=0)
    signal = level_sums(Sample(at.clean.clamp_min(0).sqrt(), at, 1.0)).sum(dim=0)[0]
    kept, frames = number >= LEAST_VALUES, len(at.frames)
    share = (frames - 1) / frames if at.centred else 1.0
    values = number * frames
    return (signal / number)[kept], (sums / values / share).clamp_min(1e-300)[kept], (values * share)[kept]


def with_shot_noise(recording: Recording, gain: float, generator: torch.Generator) -> Tensor:
    """T frames of gain Poisson(x+ / gain) + x-."""
    signal = recording.clean.expand(recording.frames.shape)
    if gain <= 0:
        return signal.clone()
    return gain * torch.poisson(signal.clamp_min(0) / gain, generator=generator) + signal.clamp_max(0)


def _span(first: int, step: int, length: int) -> slice:
    """Plane pixels of a burst that begin ``first`` sensor pixels behind its own corner."""
    return slice(first // step, first // step + length)
