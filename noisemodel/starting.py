"""Where training starts: default values, the closed form, or another model, then what the user sets and holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from noisemodel.calibration.closed_form import ClosedForm
from noisemodel.commandline import option
from noisemodel.errors import InputError
from noisemodel.generator import UNET_OPTS, NoiseGenerator
from noisemodel.physical import START, PhysicalNoise
from noisemodel.sensor import Levels
from noisemodel.streams import seeded, stream

# Endings of start values that are facts about the camera, not figures to be learned.
FACTS = ("_pattern", "_freq", "_edges", "_lines", "_map")


@dataclass(frozen=True)
class StartOptions:
    """What a model starts from, as options."""

    network: Literal["noUnet", "Unet", "Unet_cat", "Unet_first"] = option("noUnet", "the network beside the physics")
    unet_opts: str = option(UNET_OPTS, "residual<True|False>_<down>_<up>_<activation>, see docs/training.md")
    unet_width: int = option(32, "channels of the U-Net at full size")
    init: str = option("calibrated", "start values: default, calibrated (closed form), or a model file or run folder")
    start: tuple[str, ...] = option((), "start values NAME=VALUE, in DN, e- or the parameter's own unit")
    fix: tuple[str, ...] = option((), "held parameters NAME=VALUE, in DN, e- or the parameter's own unit")
    fixed_pattern: Path | None = option(None, "measured pattern [DN above black] for fixed1 or learnedfixed")


@dataclass(frozen=True)
class Sensor:
    """The camera that a model is for: layout, levels, (rows, columns) in sensor pixels, planes of its images."""

    layout: str
    levels: Levels
    size: tuple[int, int]
    planes: int

    def model(self, noiselist: str, start: Mapping[str, Any]) -> PhysicalNoise:
        """A model of this camera at given start values."""
        return PhysicalNoise.from_noiselist(
            noiselist, layout=self.layout, levels=self.levels, sensor_size=self.size, **start
        )

    def check_cover(self, physical: PhysicalNoise) -> None:
        """Raise InputError unless the model's maps reach the last pixel of the sensor, in as many planes."""
        step = 2 if self.layout == "mosaic" else 1
        corner = (self.size[0] - step, self.size[1] - step)
        pixel = torch.zeros(1, self.planes, 1, 1)
        physical.mean(pixel, origin=corner)
        physical.variance(pixel, origin=corner)


def start_generator(
    sensor: Sensor,
    noiselist: str,
    closed: ClosedForm,
    held: list[str],
    options: StartOptions,
    *,
    base: NoiseGenerator | None,
    pattern: Tensor | None,
    seed: int,
) -> NoiseGenerator:
    """The generator at its start values: --init, then --start, then --fix.

    Args:
        sensor: the data's camera.
        noiselist: words of the model.
        closed: what calibration says of them.
        held: words and parameters that the data cannot identify: these are calibrated in any case.
        options: see `StartOptions`.
        base: the model that --init names, if it names one.
        pattern: measured fixed pattern [DN above black], if one is given.
        seed: of the network's weights.
    Raises: InputError where base, pattern and noiselist contradict each other.
    """
    if pattern is not None:
        if not {"fixed1", "learnedfixed"} & set(noiselist.split("_")):
            raise InputError(f"--fixed_pattern is for fixed1 or learnedfixed, {noiselist!r} has neither; add one")
        if base is not None:
            raise InputError(f"--init {options.init} has a pattern of its own; leave --fixed_pattern out")
    if base is not None:
        physical = _from_base(base, sensor, noiselist, options.init)
    else:
        physical = sensor.model(noiselist, _start_values(closed, held, options.init, pattern, sensor.levels))
    assignments = [(text, physical.assign) for text in options.start] + [(text, physical.fix) for text in options.fix]
    for text, apply in sorted(assignments, key=lambda item: not item[0].startswith("shot.gain")):
        apply(text)  # the gain first: electrons are converted with it
    with seeded(stream(seed, "network weights")):
        generator = NoiseGenerator(
            physical,
            options.network,
            channels=sensor.planes,
            unet_opts=options.unet_opts,
            unet_width=options.unet_width,
        )
    if base is not None and base.network is not None:
        wanted, had = ({**g.config(), "physical": None} for g in (generator, base))
        if wanted != had:
            differing = " ".join(f"--{name} {had[name]}" for name in had if had[name] != wanted[name])
            raise InputError(f"--init {options.init} has a network of its own; give {differing}")
        generator.load_state_dict(base.state_dict())
    sensor.check_cover(physical)
    return generator


def _from_base(base: NoiseGenerator, sensor: Sensor, noiselist: str, name: str) -> PhysicalNoise:
    """The physics of another model, for this camera's levels."""
    if (base.physical.noiselist, base.physical.layout) != (noiselist, sensor.layout):
        raise InputError(
            f"--init {name} is {base.physical.noiselist}, {base.physical.layout}; "
            f"the run wants {noiselist}, {sensor.layout}"
        )
    physical = base.physical.train()
    physical.levels = sensor.levels
    if "uniform" in physical.components and "width" in physical.component("uniform").fixed:
        physical.component("uniform").store("width", sensor.levels.adc_step)
    return physical


def _start_values(
    closed: ClosedForm, held: list[str], init: str, pattern: Tensor | None, levels: Levels
) -> dict[str, Any]:
    """Start values for --init default or calibrated; what cannot be learned is calibrated in any case."""
    start = dict(closed.start)
    if init == "default":
        start = {k: v for k, v in start.items() if k.endswith(FACTS) or START[k][0] in held}
    if pattern is not None:
        start.pop("learnedfixed_pattern", None)
        start["fixed1_pattern"] = pattern * levels.adc_step
    return start
