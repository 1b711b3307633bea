"""Where training starts: default values, the closed form, or another model, then what the user sets and holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from noisemodel.calibration.closed_form import ClosedForm
from noisemodel.checkpoint import read_model
from noisemodel.commandline import option
from noisemodel.errors import InputError
from noisemodel.generator import UNET_OPTS, NoiseGenerator
from noisemodel.iso_groups import figures_of, starting_law
from noisemodel.iso_law import IsoLaw, following
from noisemodel.legacy_generator import LegacyGenerator
from noisemodel.physical import START, PhysicalNoise
from noisemodel.sensor import Levels
from noisemodel.streams import seeded, stream

# Endings of start values that are facts about the camera, not figures to be learned.
FACTS = ("_pattern", "_freq", "_edges", "_lines", "_map")
SAME_LEVELS = 0.01  # of white - black, by which the levels of one camera's model and data may differ


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
        if not takes_pattern(noiselist):
            raise InputError(f"--fixed_pattern is for fixed1 or learnedfixed, {noiselist!r} has neither; add one")
        if base is not None:
            raise InputError(f"--init {options.init} has a pattern of its own; leave --fixed_pattern out")
    if base is not None:
        physical = _from_base(base, sensor, noiselist, options.init)
    else:
        physical = sensor.model(noiselist, start_values(closed, held, options.init, pattern, sensor.levels))
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
        wanted, had = ({**g.config(), "physical": None, "iso_law": None} for g in (generator, base))
        if wanted != had:
            differing = " ".join(f"--{name} {had[name]}" for name in had if had[name] != wanted[name])
            raise InputError(f"--init {options.init} has a network of its own; give {differing}")
        generator.load_state_dict({k: v for k, v in base.state_dict().items() if not k.startswith("iso_law.")})
    sensor.check_cover(physical)
    return generator


def start_together(
    sensor: Sensor,
    noiselist: str,
    closed: Mapping[int, ClosedForm],
    held: list[str],
    options: StartOptions,
    *,
    base: NoiseGenerator | None,
    pattern: Tensor | None,
    seed: int,
    iso0: int,
) -> NoiseGenerator:
    """As `start_generator`, at ISO0; with a law against ISO where ``closed`` (ISO -> closed form) has more than one."""
    generator = start_generator(sensor, noiselist, closed[iso0], held, options, base=base, pattern=pattern, seed=seed)
    if len(closed) > 1:
        generator.iso_law = start_law(
            sensor, closed, held, options, generator.physical, base=base, pattern=pattern, iso0=iso0
        )
    return generator


def base_model(init: str, isos: Sequence[int]) -> NoiseGenerator:
    """The model that --init names; of one with a law against ISO, what it says of the data's only ISO (0: ISO0).

    Raises: InputError for a model of the published scripts.
    """
    model = read_model(init)
    refuse_published(model, "--init", init)
    if model.iso_law is None or len(isos) > 1:
        return model
    return model.at_iso(isos[0] or model.iso_law.iso0)


def refuse_published(model: NoiseGenerator, option: str, path: str | Path) -> None:
    """Raise InputError, with the way out, for a model that ``option`` names and no training here can go on with."""
    if isinstance(model, LegacyGenerator):
        raise InputError(
            f"{option} {path} is a run of the published scripts, whose laws are not trained here; convert it first: "
            f"python convert.py {path} --out FOLDER, then give {option} FOLDER"
        )


def held_words(closed: Mapping[int, ClosedForm], rows: int, *, has_truth: bool) -> tuple[list[str], list[str]]:
    """Words and parameters that the data cannot identify, at whatever ISO, and notes: these, and the closed form's.

    Args:
        closed: ISO -> closed form.
        rows: of a crop [sensor pixels].
        has_truth: whether residuals are taken from ground truth, so that static words show.
    """
    held: list[str] = []
    notes: list[str] = []
    for iso, each in closed.items():
        still = [] if has_truth else each.held
        short = each.unresolved(rows)
        found = [*each.notes]
        found += [f"{name}: constant over a burst, so not identifiable by training on it; held" for name in still]
        found += [f"{name}: crops of {rows} rows cannot part it from the smooth spectrum; held" for name in short]
        notes += [f"ISO {iso}: {note}" if len(closed) > 1 else note for note in found]
        held += [name for name in [*still, *short] if name not in held]
    return held, notes


def takes_pattern(noiselist: str) -> bool:
    """Whether a measured pattern is for one of the words."""
    return not {"fixed1", "learnedfixed"}.isdisjoint(noiselist.split("_"))


def with_pattern(closed: ClosedForm, physical: PhysicalNoise) -> dict[str, Any]:
    """Start values of the closed form, with the model's measured pattern where it has none of its own."""
    start = dict(closed.start)
    if "fixed1" in physical.components:
        start.setdefault("fixed1_pattern", physical.component("fixed1").pattern)
    return start


def start_law(
    sensor: Sensor,
    closed: Mapping[int, ClosedForm],
    held: list[str],
    options: StartOptions,
    physical: PhysicalNoise,
    *,
    base: NoiseGenerator | None,
    pattern: Tensor | None,
    iso0: int,
) -> IsoLaw:
    """The law against ISO at its start: that of --init, or through each ISO's start values; then --start at ISO0.

    Args:
        sensor, held, options, base, pattern: as `start_generator`.
        closed: ISO -> what calibration says.
        physical: the model at its start values; what --fix holds, all ISOs share.
        iso0: the ISO of those values.
    """
    figures, set_by_user = figures_of(physical), [text.partition("=")[0] for text in options.start]
    if base is not None and base.iso_law is not None:
        rows = {name: base.iso_law.rows[name] for name in following(physical) if name in base.iso_law.names}
        law = IsoLaw(rows, base.iso_law.iso0, list(closed))
    else:
        models = {
            iso: sensor.model(physical.noiselist, start_values(each, held, options.init, pattern, sensor.levels))
            for iso, each in closed.items()
        }
        law = starting_law(models, closed, physical, iso0)
        set_by_user = list(figures) if base is not None else set_by_user
    law.move_to({name: figures[name] for name in set_by_user if name in figures})
    return law


def _from_base(base: NoiseGenerator, sensor: Sensor, noiselist: str, name: str) -> PhysicalNoise:
    """The physics of another model, for this camera's levels."""
    if (base.physical.noiselist, base.physical.layout) != (noiselist, sensor.layout):
        raise InputError(
            f"--init {name} is {base.physical.noiselist}, {base.physical.layout}; "
            f"the run wants {noiselist}, {sensor.layout}"
        )
    physical = base.physical.train()
    _check_levels(physical.levels, sensor.levels, name)
    physical.levels = sensor.levels
    known = sensor.levels.rounding and "uniform" in physical.components
    if known and "width" in physical.component("uniform").fixed:
        physical.component("uniform").store("width", sensor.levels.rounding)
    return physical


def _check_levels(had: Levels | None, wanted: Levels, name: str) -> None:
    """Raise InputError where a model's fractions of white are not the data's: other black or white level."""
    if had is None:
        return
    most = SAME_LEVELS * wanted.range_dn
    if abs(had.range_dn - wanted.range_dn) > most or abs(had.black_dn - wanted.black_dn) > most:
        raise InputError(
            f"--init {name} is for black {had.black_dn:g} and white {had.white_dn:g} DN, the data have "
            f"{wanted.black_dn:g} and {wanted.white_dn:g}: its fractions of white mean other noise; give the levels "
            "that it was made with, or --init calibrated"
        )


def start_values(
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
