"""Real frames and generated ones of the same scene, as residuals that may be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from noisemodel.calibration import StaticBurst
from noisemodel.calibration.moments import HIGHEST_VALID
from noisemodel.components import NoiseComponent
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.sensor import Levels


class ReadableBurst(StaticBurst, Protocol):
    """A static burst that is read by crop (``datasets.Burst`` is one)."""

    @property
    def name(self) -> str:
        """For titles."""

    @property
    def path(self) -> Any:
        """For messages."""

    @property
    def pixel_step(self) -> int:
        """Sensor pixels from one plane pixel to the next."""

    def read_truth(self, rows: slice, columns: slice) -> Tensor:
        """(C, h, w) noise-free exposure."""

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """(n, C, h, w) [fraction of white]."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A crop of one static burst, all signals in fractions of white.

    frames: (T, C, h, w), less each frame's offset where centred.
    reference: (1, C, h, w), what residuals are taken from: ground truth, or the mean of the T frames.
    clean: (1, C, h, w), what the noise law is conditioned on: the reference, 0 in a centred dark.
    valid: (1, C, h, w) bool, False where the reference is saturated or clipped.
    origin: sensor pixel (row, column) of the crop's corner.
    centred: whether the reference is the frames' own mean, so that what is constant over the burst cancels.
    """

    name: str
    kind: str
    layout: str
    levels: Levels
    frames: Tensor
    reference: Tensor
    clean: Tensor
    valid: Tensor
    origin: tuple[int, int]
    centred: bool

    def residual(self, frames: Tensor) -> Tensor:
        """frames - reference; where centred, frames less their own mean over the burst and less each frame's mean.

        Args:
            frames: (T, C, h, w), real ones or ones generated on ``clean``: both are treated alike.
        """
        if not self.centred:
            return frames - self.reference
        residual = frames - frames.mean(dim=0, keepdim=True)
        weight = self.valid / self.valid.sum().clamp_min(1)
        return residual - (residual * weight).sum(dim=(1, 2, 3), keepdim=True)

    def planes(self, chosen: Sequence[int]) -> "Recording":
        """The same with some planes of a mosaic as images of their own; the origin then counts plane pixels."""
        parts = {name: getattr(self, name)[:, list(chosen)] for name in ("frames", "reference", "clean", "valid")}
        step = 2 if self.layout == "mosaic" else 1
        origin = (self.origin[0] // step, self.origin[1] // step)
        return Recording(self.name, self.kind, "planes", self.levels, **parts, origin=origin, centred=self.centred)


class Pair(NamedTuple):
    """Real and generated residuals of one recording, (T, C, h, w) [fraction of white]; not masked."""

    recording: Recording
    real: Tensor
    generated: Tensor


def read_recording(
    burst: ReadableBurst, *, size: int, most_frames: int, extent: tuple[int, int] | None = None
) -> Recording:
    """Read the middle of a burst.

    Args:
        burst: checked as a whole while it is read.
        size: side of the crop [sensor pixels]; all there is, where the frames are smaller.
        most_frames: frames beyond these are not read.
        extent: (rows, columns) of sensor that the model's patterns cover [sensor pixels].
    Raises: InputError if the burst is damaged, has one frame and no ground truth, or lies beyond ``extent``.
    """
    summary = burst.summary()
    centred, count = not burst.has_truth, min(burst.shape[0], most_frames)
    if centred and count < 2:
        raise InputError(f"{burst.path} has one frame and no ground truth; record 2 or more of a static scene")
    rows, columns = (
        _window(burst.origin[a], burst.shape[2 + a], size, burst.pixel_step, extent and extent[a]) for a in (0, 1)
    )
    if min(rows.stop - rows.start, columns.stop - columns.start) < 2:
        raise InputError(f"the model's pattern covers {extent} sensor pixels, {burst.path} begins at {burst.origin}")
    frames = burst.read(range(count), rows, columns)
    truth = burst.read_truth(rows, columns) if burst.has_truth else None
    frames, reference = _referred(frames, truth, summary.offsets[:count])
    in_dark = centred and burst.kind == "dark"
    clean = torch.zeros_like(reference) if in_dark else reference  # a dark shows offset, not light: no shot noise
    origin = (burst.origin[0] + burst.pixel_step * rows.start, burst.origin[1] + burst.pixel_step * columns.start)
    valid = _valid(reference, burst.levels)
    return Recording(
        burst.name, burst.kind, burst.layout, burst.levels, frames, reference, clean, valid, origin, centred
    )


def _referred(frames: Tensor, truth: Tensor | None, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Frames, less their offsets where there is no truth, and what their residuals are taken from."""
    if truth is not None:
        return frames, truth.unsqueeze(0)
    frames = frames - offsets.view(-1, 1, 1, 1)
    return frames, frames.mean(dim=0, keepdim=True)


def _window(first: int, length: int, size: int, step: int, extent: int | None) -> slice:
    """The middle ``size`` sensor pixels of ``length`` plane pixels that start at sensor pixel ``first``."""
    if extent is not None:
        length = min(length, max(extent - first, 0) // step)
    count = min(length, max(size // step, 1))
    start = (length - count) // 2
    return slice(start, start + count)


def _valid(reference: Tensor, levels: Levels) -> Tensor:
    """Where the reference keeps clear of both ends of the clip range."""
    low = levels.clip_range[0] + min(2 * levels.adc_step, 1e-3)
    return (reference <= HIGHEST_VALID) & (reference > low)


def pattern_extent(model: NoiseGenerator) -> tuple[int, int] | None:
    """(rows, columns) [sensor pixels] that all fixed patterns and gain maps of a model cover; None without any."""
    maps = [getattr(c, name) for c in model.physical.each() for name in ("pattern", "unit_map") if hasattr(c, name)]
    return (min(m.shape[-2] for m in maps), min(m.shape[-1] for m in maps)) if maps else None


@torch.no_grad()
def generate(model: NoiseGenerator, recording: Recording, *, generator: torch.Generator) -> Tensor:
    """Generated frames of a recording's scene, (T, C, h, w): exact laws, as the camera would record them.

    A model without ``uniform`` has the ADC step inside its read noise; rounding would count it twice, so its frames are
    clipped but not rounded.
    """
    clean = recording.clean.expand_as(recording.frames).unsqueeze(0)
    levels = model.physical.levels
    if levels is None or "uniform" in model.physical.components:
        return model.simulate(clean, generator=generator, origin=recording.origin)[0]
    signal = model.before(clean)
    noise = model.physical.exact_noise(signal, generator=generator, origin=recording.origin)
    return model.after(clean, signal + noise).clamp(*levels.clip_range)[0]


def pair(model: NoiseGenerator, recording: Recording, *, generator: torch.Generator) -> Pair:
    """Real and generated residuals of one recording, made alike."""
    generated = recording.residual(generate(model, recording, generator=generator))
    return Pair(recording, recording.residual(recording.frames), generated)


@torch.no_grad()
def expected_squares(model: NoiseGenerator, recording: Recording) -> dict[str, Tensor]:
    """Closed form of the mean squared residual per component, word -> (1, C, h, w); "sum" for all of the physics.

    variance + mean^2; where centred, variance (T - 1) / T, and 0 for what is constant over the burst.
    """
    clean, origin = recording.clean.unsqueeze(0), recording.origin
    found: dict[str, Tensor] = {}
    total_variance, total_mean = torch.zeros_like(clean), torch.zeros_like(clean)
    for component in model.physical.each():
        variance = component.variance(clean, origin=origin)
        mean = component.mean(clean, origin=origin)
        if recording.centred:
            frames = len(recording.frames)
            variance = (variance - _frame_offset(component)) * ((frames - 1) / frames)
            variance, mean = variance * (not component.static), torch.zeros_like(mean)
        found[component.name] = (variance + mean.square())[0]
        total_variance, total_mean = total_variance + variance, total_mean + mean
    return found | {"sum": (total_variance + total_mean.square())[0]}


def _frame_offset(component: NoiseComponent) -> float:
    """Variance that a component gives to a whole frame: removed with the frames' offsets."""
    return float(component.stored("std0")) ** 2 if component.name == "periodic" else 0.0
