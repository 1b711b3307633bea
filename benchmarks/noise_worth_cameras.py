"""The cameras of noise_worth.py, and the kinds of noise that a denoiser is trained on for each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

import noisemodel
from datasets import Burst, BurstSet, SimulatedCamera, load_bursts
from datasets.simulated import SimulatedFrames
from noisemodel.calibration import calibrate
from noisemodel.noise_source import ModelSource, NoiseSource
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Origin
from noisemodel.sources import open_source
from train_gan_noisemodel import TrainOptions, train_on

IMX541_GAIN_DN = 0.422  # the vendor's EMVA 1288 figure [DN/e-]
TEST_DARK, TEST_BRIGHT = "dark_exp001757us", "bright_exp000522us"  # held out of everything
ROWS = replace(
    SimulatedCamera(), black_dn=64.0, gain=1.0, read_std=2.0, row1_std=4.0, rowt_std=0.0, periodic_std=(0.0, 0.0, 0.0),
    pattern_std=0.0,
)  # fmt: skip


@final
@dataclass(frozen=True)
class Recorded(NoiseSource):
    """What the simulated camera records of each image."""

    camera: SimulatedCamera
    model: None = None

    @property
    def layout(self) -> str:
        return "planes"

    def draw(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor:
        rng = np.random.default_rng(generator.initial_seed())
        frames = [self.camera.record(x.numpy(), 1, rng)[0] for x in clean.reshape(-1, *clean.shape[-2:]).double()]
        dn = torch.from_numpy(np.stack(frames).astype(np.float32))
        return self.camera.levels.to_fraction(dn).reshape(clean.shape)

    def describe(self) -> str:
        return "the simulated camera"


@dataclass(frozen=True)
class Camera:
    """What is known of a camera: training bursts and, for the test, its noise; ``true`` where a law is known."""

    name: str
    bursts: BurstSet
    gain: float
    test: NoiseSource
    true: PhysicalNoise | None
    folder: Path

    def model(self, name: str, make: Callable[["Camera", Path], None]) -> noisemodel.NoiseGenerator:
        """A model made once and kept."""
        path, done = self.folder / name, self.folder / f"{name}.done"
        if not done.exists():
            make(self, path)
            done.touch()
        return noisemodel.load(path).requires_grad_(False)


def imx541(frames: Path, out: Path) -> Camera:
    data = load_bursts(frames, black_level=10.3, white_level=4095)
    training, held = data.without((TEST_DARK, TEST_BRIGHT)), replace(data, bursts=_named(data, TEST_DARK))
    gain = IMX541_GAIN_DN * data.levels.adc_step
    return Camera("imx541", training, gain, _darks(held, gain), None, out / "imx541")


def rows(out: Path) -> Camera:
    """Two darks and three flats of 512x512, 8 frames each, of a mono camera."""

    def burst(name: str, kind: Any, level: float, seed: int) -> Burst:
        exposure = np.full((512, 512), level)
        frames = SimulatedFrames(Path(name), ROWS, exposure, 8, seed, np.zeros_like(exposure))
        return Burst(name, kind, frames, "planes", ROWS.levels)

    bursts = [burst(f"dark_{i}", "dark", 0.0, i) for i in range(2)]
    bursts += [burst(f"flat_{level:g}", "flat", level, 10 + i) for i, level in enumerate((0.01, 0.1, 0.4))]
    step = ROWS.levels.adc_step
    true = PhysicalNoise.from_noiselist(
        "shot_read_row1", layout="planes", levels=ROWS.levels, shot_gain=ROWS.gain * step,
        read_std=ROWS.read_std * step, row1_std=ROWS.row1_std * step,
    )  # fmt: skip
    data = BurstSet("rows", ROWS.levels, "planes", None, tuple(bursts))
    return Camera("rows", data, ROWS.gain * step, Recorded(ROWS), true, out / "rows")


def _named(data: BurstSet, name: str) -> tuple[Burst, ...]:
    return tuple(burst for burst in data.bursts if burst.name == name)


def _darks(data: BurstSet, gain: float) -> NoiseSource:
    return open_source(f"darks:frames,{gain:.8g}", layout="planes", levels=data.levels, open_bursts=lambda _: data)


def _calibrate(camera: Camera, path: Path) -> None:
    data = camera.bursts
    found = calibrate(data.bursts, data.levels, sensor_size=data.sensor_size)
    print(f"{camera.name}: calibrated {found.physical.noiselist}", flush=True)
    noisemodel.save(noisemodel.NoiseGenerator(found.physical), path)


def _learn(camera: Camera, path: Path) -> None:
    camera.model("calibrated", _calibrate)
    options = TrainOptions(
        init=str(camera.folder / "calibrated"), save_path=path, overwrite=True, gpus=0, num_iter=300, max_time=10.0
    )
    train_on(camera.bursts, options)


def calibrated(camera: Camera, mean_signal: float) -> NoiseSource:
    return ModelSource("calibrated", camera.model("calibrated", _calibrate), exact=True)


def learned(camera: Camera, mean_signal: float) -> NoiseSource:
    return ModelSource("learned", camera.model("learned", _learn), exact=True)


def closed_form(camera: Camera) -> tuple[float, float]:
    """Gain by the photon-transfer line, and the variance of darks from frame to frame, rows and rounding included."""
    physical = camera.model("calibrated", _calibrate).physical
    gain = next(p.value for p in physical.parameters_table() if p.name == "shot.gain")
    everywhere = (slice(None), slice(None))
    variances = [float(b.read(range(b.shape[0]), *everywhere).var(dim=0).mean()) for b in camera.bursts.darks]
    return gain, sum(variances) / len(variances)


def poisson_gaussian(camera: Camera, mean_signal: float) -> NoiseSource:
    gain, variance = closed_form(camera)
    return open_source(f"poisson-gaussian:{gain:.8g},{variance**0.5:.8g}", layout="planes")


def gaussian(camera: Camera, mean_signal: float) -> NoiseSource:
    """The mean variance over the training pictures."""
    gain, variance = closed_form(camera)
    return open_source(f"gaussian:{(gain * mean_signal + variance) ** 0.5:.8g}", layout="planes")


def darks(camera: Camera, mean_signal: float) -> NoiseSource:
    return _darks(replace(camera.bursts, bursts=camera.bursts.darks), closed_form(camera)[0])


def true(camera: Camera, mean_signal: float) -> NoiseSource:
    assert camera.true is not None
    return ModelSource("true", noisemodel.NoiseGenerator(camera.true).requires_grad_(False).eval(), exact=True)


# Kind of noise -> (words of the table, the source).
KINDS: dict[str, tuple[str, Callable[[Camera, float], NoiseSource]]] = {
    "gaussian": ("Gaussian, std of the mean", gaussian),
    "poisson-gaussian": ("Poisson-Gaussian, closed form", poisson_gaussian),
    "calibrated": ("ours, calibrated", calibrated),
    "learned": ("ours, calibrated and learned", learned),
    "darks": ("Poisson + the camera's dark frames", darks),
    "true": ("the true noise", true),
}
REFERENCE = {"imx541": "darks", "rows": "true"}
