"""Bursts: repeated frames of one static scene, as planes in fractions of the white level."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from datasets.frames import FrameSource
from noisemodel.errors import InputError
from noisemodel.sensor import Levels, pack_mosaic
from noisemodel.sensor.noise_profile import NoiseProfile

Kind = Literal["scene", "dark", "flat"]

# Beyond these no black and white level of the data's own camera would take it [fraction of white].
HIGHEST_SIGNAL = 1.25
LOWEST_MEAN = -0.02
# float32 rounding of (white - black) / (white - black).
_WHITE = 1.0 - 1e-6


class Summary(NamedTuple):
    """What one pass over a burst tells.

    offsets: (T,) mean of each frame minus the mean over frames: lamp drift [fraction of white].
    level: (C,) mean of each plane [fraction of white].
    saturated: fraction of pixels at or above the white level.
    """

    offsets: Tensor
    level: Tensor
    saturated: float


@final
@dataclass(frozen=True, eq=False)
class Burst:
    """T frames of one static scene, read by crop.

    Args:
        name: its place in the data set, e.g. "darks/exposure_1".
        kind: "scene", "dark" (lens covered) or "flat" (even light).
        source: frames in DN: (T, H, W), or (T, C, H, W) planes (with layout "mosaic": C = 4, packed already).
        layout: "mosaic" (2x2 cells are packed by position) or "planes".
        levels: black and white level of the camera.
        origin: sensor pixel (row, column) of the recorded window's corner.
        truth: (C, H, W) noise-free exposure [fraction of white], where it is known.
        truth_source: instead of ``truth``, where it lies as a stack of one frame [DN]; it is read by crop, and
            ``truth`` then reads all of it at each access.
    Raises: InputError if a mosaic has odd sizes or not 4 planes, or truth and frames differ in size.
    """

    name: str
    kind: Kind
    source: FrameSource
    layout: str
    levels: Levels
    origin: tuple[int, int] = (0, 0)
    truth: Tensor | None = field(default_factory=lambda: None, repr=False)
    truth_source: FrameSource | None = None

    def __post_init__(self) -> None:
        """Check that the planes can be packed."""
        shape = self.source.shape
        if self.layout == "mosaic" and len(shape) == 4 and shape[1] != 4:
            raise InputError(f"a packed mosaic has 4 planes, {self.path} has {shape[1]}; say --layout planes")
        if self._packs and (shape[1] % 2 or shape[2] % 2):
            raise InputError(f"a mosaic has even height and width, {self.path} has {shape[1]}x{shape[2]}; crop it")
        if self.truth_source is not None:
            if self.truth_source.shape != (1, *shape[1:]):
                found = "x".join(map(str, self.truth_source.shape[1:]))
                raise InputError(f"{self.truth_source.path} is {found}, its frames {shape[1:]}; fetch both again")
            object.__delattr__(self, "truth")  # so that it is looked for, and read, when it is asked for

    def __getattr__(self, name: str) -> Tensor:
        """``truth`` that lies in ``truth_source``, whole."""
        if name == "truth" and self.__dict__.get("truth_source") is not None:
            return self.read_truth(slice(None), slice(None))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def path(self) -> Path:
        """Where the frames lie."""
        return self.source.path

    @property
    def _packs(self) -> bool:
        """Whether sensor pixels are packed into planes on reading."""
        return self.layout == "mosaic" and len(self.source.shape) == 3

    @property
    def pixel_step(self) -> int:
        """Sensor pixels from one plane pixel to the next: 2 on a mosaic."""
        return 2 if self.layout == "mosaic" else 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W) in planes."""
        frames, *channels, height, width = self.source.shape
        if self._packs:
            return frames, 4, height // 2, width // 2
        return frames, channels[0] if channels else 1, height, width

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """Read a crop of some frames.

        Args:
            frames: frame numbers in 0..T-1.
            rows, columns: slices with step 1, in plane pixels.
        Returns: (n, C, h, w) float32, fraction of white, not clipped.
        Raises: InputError if the file cannot be read.
        """
        return self._read(self.source, frames, rows, columns)

    @property
    def has_truth(self) -> bool:
        """Whether the noise-free exposure is known; nothing is read."""
        return self.truth_source is not None or self.truth is not None

    def read_truth(self, rows: slice, columns: slice) -> Tensor:
        """A crop of the noise-free exposure, and nothing else of its file.

        Args:
            rows, columns: slices with step 1, in plane pixels.
        Returns: (C, h, w) float32, fraction of white.
        Raises: InputError if there is none, or the file cannot be read.
        """
        if self.truth_source is not None:
            truth = self._read(self.truth_source, [0], rows, columns)[0]
            if not bool(torch.isfinite(truth).all()):
                raise InputError(f"{self.truth_source.path} holds NaN or infinite values; fetch it again")
            return truth
        if self.truth is None:
            raise InputError(f"no ground truth is known of {self.path}; use the mean of its frames")
        return self.truth[:, rows, columns]

    def _read(self, source: FrameSource, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """A crop of a source that is arranged as the frames are."""
        step = 2 if self._packs else 1
        spans = (axis.indices(length)[:2] for axis, length in ((rows, self.shape[2]), (columns, self.shape[3])))
        dn = _as_tensor(source.read(frames, *(slice(step * start, step * stop) for start, stop in spans)))
        if self._packs:
            dn = pack_mosaic(dn)
        elif dn.ndim == 3:
            dn = dn.unsqueeze(1)
        return self.levels.to_fraction(dn).float()

    def summary(self) -> Summary:
        """Offsets, levels and saturation, from one pass with one frame in memory; computed once.

        Raises: InputError if a frame holds NaN or infinite values, if the data contradict the black or white
            level, or if more than half of the pixels are saturated.
        """
        return self._summary

    @cached_property
    def _summary(self) -> Summary:
        """One streamed pass."""
        means, saturated = [], 0.0
        for t in range(self.shape[0]):
            frame = self.frame(t)
            means.append(frame.double().mean(dim=(-2, -1)))
            saturated += float((frame >= _WHITE).double().mean()) / self.shape[0]
        if saturated > 0.5:
            raise InputError(
                f"{self.path}: {saturated:.0%} of the pixels are saturated and say nothing about noise; "
                "expose less, or give the right --white_level"
            )
        plane_means = torch.stack(means)  # (T, C)
        frame_means = plane_means.mean(dim=1)
        return Summary((frame_means - frame_means.mean()).float(), plane_means.mean(dim=0).float(), saturated)

    def frame(self, t: int) -> Tensor:
        """Frame ``t``, (C, H, W) [fraction of white], checked.

        Raises: InputError if it holds NaN or infinite values, or contradicts the black or white level.
        """
        frame = self.read([t], slice(None), slice(None))[0]
        if not bool(torch.isfinite(frame).all()):
            raise InputError(f"frame {t} of {self.path} holds NaN or infinite values; repair or leave out the burst")
        highest, mean, levels = float(frame.max()), float(frame.mean()), self.levels
        if highest > HIGHEST_SIGNAL:
            raise InputError(
                f"{self.path} reaches {_dn(levels, highest)} DN, far above the white level {levels.white_dn:g} DN; "
                "give the right --white_level"
            )
        if mean < LOWEST_MEAN:
            raise InputError(
                f"{self.path} has a mean of {_dn(levels, mean)} DN, far below the black level {levels.black_dn:g} DN; "
                "give the right --black_level (0 if it is subtracted already)"
            )
        return frame


@final
@dataclass(frozen=True, eq=False)
class BurstSet:
    """Bursts of one camera at one setting.

    Args:
        name: of the data set.
        levels, layout, cfa: of all bursts; cfa such as "RGGB", None for mono, RGB or unknown.
        bursts: at least one.
        true_parameters: what made the noise, e.g. {"shot.gain": ..., "read.std": ...} [fraction of white], if known.
        true_pattern: (rows, columns) fixed pattern in sensor pixels [fraction of white], if known.
        measured_pattern: the same, as it was measured apart from these bursts: for ``fixed1``.
        stated_noise: what the camera's maker states of its noise, in the first file that says so.
    Raises: InputError if there is no burst, or bursts differ in layout, levels or planes.
    """

    name: str
    levels: Levels
    layout: str
    cfa: str | None
    bursts: tuple[Burst, ...]
    true_parameters: dict[str, float] | None = None
    true_pattern: Tensor | None = None
    measured_pattern: Tensor | None = None
    stated_noise: NoiseProfile | None = None

    def __post_init__(self) -> None:
        """Bursts of one set share layout, levels and number of planes."""
        if not self.bursts:
            raise InputError(f"data set {self.name} has no bursts; record at least one")
        first = self.bursts[0]
        for burst in self.bursts:
            if (burst.layout, burst.levels, burst.shape[1]) != (self.layout, self.levels, first.shape[1]):
                raise InputError(
                    f"bursts of one set share layout, levels and planes: {burst.path} has {burst.layout}, "
                    f"{burst.shape[1]} planes, {burst.levels}; {first.path} has {first.shape[1]}; keep them apart"
                )

    def _of_kind(self, kind: Kind) -> tuple[Burst, ...]:
        """Bursts of one kind, in order."""
        return tuple(burst for burst in self.bursts if burst.kind == kind)

    @property
    def scenes(self) -> tuple[Burst, ...]:
        """Bursts that are neither dark nor flat."""
        return self._of_kind("scene")

    @property
    def darks(self) -> tuple[Burst, ...]:
        """Bursts with the lens covered."""
        return self._of_kind("dark")

    @property
    def flats(self) -> tuple[Burst, ...]:
        """Bursts of even light."""
        return self._of_kind("flat")

    def without(self, patterns: Sequence[str]) -> "BurstSet":
        """The set without bursts whose names match one of ``patterns`` (as file names do: * and ?).

        Raises: InputError if a pattern matches nothing, or nothing is left.
        """
        for pattern in patterns:
            if not any(fnmatchcase(burst.name, pattern) for burst in self.bursts):
                names = ", ".join(burst.name for burst in self.bursts)
                raise InputError(f"no burst is called {pattern!r}; there are: {names}")
        kept = tuple(b for b in self.bursts if not any(fnmatchcase(b.name, pattern) for pattern in patterns))
        if not kept:
            raise InputError(f"{', '.join(patterns)} leaves out every burst; keep one at least")
        return replace(self, bursts=kept)

    @property
    def has_truth(self) -> bool:
        """Whether the ground truth of every burst is known."""
        return all(burst.has_truth for burst in self.bursts)

    @property
    def sensor_size(self) -> tuple[int, int]:
        """(rows, columns) in sensor pixels of the smallest sensor that holds every burst."""
        ends = [
            tuple(first + burst.pixel_step * size for first, size in zip(burst.origin, burst.shape[2:], strict=True))
            for burst in self.bursts
        ]
        return max(rows for rows, _ in ends), max(columns for _, columns in ends)


def _as_tensor(dn: np.ndarray[Any, Any]) -> Tensor:
    """DN as float32, or float64 where float32 would round them."""
    return torch.from_numpy(dn.astype(np.result_type(dn.dtype, np.float32), copy=False))


def _dn(levels: Levels, fraction: float) -> str:
    """A fraction of white in DN, for messages."""
    return f"{fraction * levels.range_dn + levels.black_dn:.4g}"
