"""The embedded data set: bundled pictures recorded by a simulated camera whose parameters are known.

The camera is written in numpy apart from noisemodel.components, so that a slip there shows as a difference here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import skimage.data
import torch

from datasets.burst import Burst, BurstSet, Kind
from datasets.unprocessing import mosaic_rggb, unprocess
from noisemodel.errors import InputError
from noisemodel.sensor import Levels, pack_mosaic
from noisemodel.streams import stream

Array = np.ndarray[Any, Any]

# Colour pictures inside scikit-image's wheel, each with the exposure its 99.5th percentile gets [fraction of white].
PICTURES: dict[str, tuple[Callable[[], Array], float]] = {
    "astronaut": (skimage.data.astronaut, 0.7),
    "coffee": (skimage.data.coffee, 0.25),
    "rocket": (skimage.data.rocket, 0.1),
    "motorcycle": (lambda: skimage.data.stereo_motorcycle()[0], 0.5),
    "hubble": (skimage.data.hubble_deep_field, 0.4),
}
BRIGHTEST_PERCENTILE, BRIGHTEST = 99.5, 0.8
DARK_BURSTS = 4
FLAT_LEVELS = (0.02, 0.08, 0.25, 0.6)


@final
@dataclass(frozen=True)
class SimulatedCamera:
    """DN = clip(round(gain Poisson(x (white - black) / gain) + black + noise)), every std in DN, gain in DN/e-.

    Args:
        bits: of the ADC; codes run from 0 to 2**bits - 1.
        read_std: white Gaussian noise.
        row1_std: one offset per sensor row and frame.
        rowt_std: one offset per sensor row and burst.
        periodic_std: (s0, s1, s2) of s0 a + s1 b cos(2 pi f k) + s2 c sin(2 pi f k) per frame, k the sensor column.
        periodic_freq: f, cycles per sensor pixel.
        pattern_std: of the fixed pattern over the sensor; column_share of its variance is constant along a column.
    """

    black_dn: float = 256.0
    white_dn: float = 4095.0
    bits: int = 12
    gain: float = 1.0
    read_std: float = 2.5
    row1_std: float = 0.8
    rowt_std: float = 0.6
    periodic_std: tuple[float, float, float] = (0.4, 0.6, 0.6)
    periodic_freq: float = 1 / 8
    pattern_std: float = 1.5
    column_share: float = 0.5

    @property
    def levels(self) -> Levels:
        """Black and white level."""
        return Levels(self.black_dn, self.white_dn)

    @property
    def parameters(self) -> dict[str, float]:
        """What a noise model of this camera must find [fraction of white]."""
        in_dn = {"shot.gain": self.gain, "read.std": self.read_std, "uniform.width": 1.0, "row1.std": self.row1_std}
        periodic = {f"periodic.std{i}": std for i, std in enumerate(self.periodic_std)}
        step = self.levels.adc_step
        return {name: value * step for name, value in {**in_dn, "rowt.std": self.rowt_std, **periodic}.items()}

    def pattern(self, rows: int, columns: int, rng: np.random.Generator) -> Array:
        """Draw a fixed pattern of ``pattern_std`` over a sensor [DN]: columns and single pixels."""
        shared = np.sqrt(self.column_share) * rng.standard_normal(columns)
        single = np.sqrt(1.0 - self.column_share) * rng.standard_normal((rows, columns))
        return self.pattern_std * (shared + single)

    def record(self, clean: Array, frames: int, rng: np.random.Generator, pattern: Array | float = 0.0) -> Array:
        """Record a burst.

        Args:
            clean: (rows, columns) noise-free exposure per sensor pixel [fraction of white].
            frames: T.
            rng: where the noise is drawn.
            pattern: fixed pattern [DN], (rows, columns).
        Returns: (T, rows, columns) uint16 [DN].
        """
        rows, columns = clean.shape
        electrons = np.maximum(clean, 0.0) * self.levels.range_dn / self.gain
        static = self.black_dn + pattern + self.rowt_std * rng.standard_normal((rows, 1))
        phase = 2.0 * np.pi * self.periodic_freq * np.arange(columns)
        waves = np.stack([np.ones(columns), np.cos(phase), np.sin(phase)])  # (3, columns)
        burst = np.empty((frames, rows, columns), np.uint16)
        for t in range(frames):
            dn = self.gain * rng.poisson(electrons) + static
            dn += self.read_std * rng.standard_normal((rows, columns), np.float32)
            dn += self.row1_std * rng.standard_normal((rows, 1))
            dn += (np.array(self.periodic_std) * rng.standard_normal(3)) @ waves
            burst[t] = np.clip(np.rint(dn), 0, 2**self.bits - 1)
        return burst


@final
@dataclass(frozen=True, eq=False)
class SimulatedFrames:
    """Frames of the simulated camera, recorded when first read; a copy in another process records the same ones.

    Args:
        path: a name, for messages.
        exposure: (rows, columns) noise-free [fraction of white].
        frames: T.
        seed: of the noise of this burst.
        pattern: fixed pattern of the sensor [DN].
    """

    path: Path
    camera: SimulatedCamera
    exposure: Array = field(repr=False)
    frames: int
    seed: int
    pattern: Array = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, rows, columns)."""
        return (self.frames, *self.exposure.shape)

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Array:
        """(n, h, w) of the recorded burst [DN]."""
        return self._recorded[list(frames), rows, columns]

    @cached_property
    def _recorded(self) -> Array:
        """The whole burst."""
        return self.camera.record(self.exposure, self.frames, np.random.default_rng(self.seed), self.pattern)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the recipe, not the recording."""
        return {name: value for name, value in self.__dict__.items() if name != "_recorded"}


def exposed_picture(name: str, size: tuple[int, int]) -> Array:
    """The raw exposure of one of `PICTURES`, (rows, columns) on an RGGB mosaic [fraction of white].

    The middle of the picture, mirrored at its edges where ``size`` is larger.
    """
    load, exposure = PICTURES[name]
    picture = load()[..., :3] / 255.0
    for axis, length in enumerate(size):
        missing = max(length - picture.shape[axis], 0)
        widths = [(missing // 2, missing - missing // 2) if a == axis else (0, 0) for a in range(3)]
        picture = np.pad(picture, widths, mode="symmetric")
        start = (picture.shape[axis] - length) // 2
        picture = np.take(picture, range(start, start + length), axis=axis)
    mosaic = mosaic_rggb(unprocess(picture))
    return np.clip(mosaic * (exposure / np.percentile(mosaic, BRIGHTEST_PERCENTILE)), 0.0, BRIGHTEST)


def simulated_bursts(
    *,
    seed: int = 0,
    frames: int = 16,
    size: tuple[int, int] = (512, 512),
    with_truth: bool = True,
    camera: SimulatedCamera | None = None,
) -> BurstSet:
    """Bursts of pictures, darks and flats of a simulated RGGB camera with its true parameters and fixed pattern.

    Args:
        seed: of the fixed pattern and of all noise.
        frames: T of every burst.
        size: sensor (rows, columns), both even.
        with_truth: whether the bursts carry the noise-free exposure, as planes.
        camera: the default 12-bit camera if None.
    Returns: 5 scenes, 4 darks and 4 flats; each is recorded when it is first read.
    Raises: InputError for fewer than 2 frames or odd sizes.
    """
    if frames < 2 or min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise InputError(f"a simulated burst needs at least 2 frames and even sizes, got {frames} and {size}")
    camera = camera or SimulatedCamera()
    pattern = camera.pattern(*size, np.random.default_rng(stream(seed, "simulated", "pattern").initial_seed()))
    levels = camera.levels

    def burst(kind: Kind, name: str, exposure: Array) -> Burst:
        noise_seed = stream(seed, "simulated", name).initial_seed()
        source = SimulatedFrames(Path(f"simulated/{name}"), camera, exposure, frames, noise_seed, pattern)
        truth = pack_mosaic(torch.from_numpy(exposure).float()) if with_truth else None
        return Burst(name, kind, source, "mosaic", levels, truth=truth)

    scenes = [burst("scene", name, exposed_picture(name, size)) for name in PICTURES]
    darks = [burst("dark", f"dark_{i}", np.zeros(size)) for i in range(DARK_BURSTS)]
    flats = [burst("flat", f"flat_{level:g}", np.full(size, level)) for level in FLAT_LEVELS]
    true_pattern = torch.from_numpy(pattern / levels.range_dn).float()
    bursts = (*scenes, *darks, *flats)
    return BurstSet("simulated", levels, "mosaic", "RGGB", bursts, camera.parameters, true_pattern)
