"""Where noise comes from: the one table of ``--noise KIND:ARGUMENT``."""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

from noisemodel.checkpoint import load
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.noise_source import ColourSource, ModelSource, NoiseSource
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Levels
from noisemodel.sensor.mosaic import check_layout
from noisemodel.sensor.noise_profile import NoiseProfile, read_cfa, read_noise_profile
from noisemodel.sensor.rendering import plane_colours
from noisemodel.sources_darks import DarkFrames, DarksSource, darks_of
from noisemodel.sources_export import read_profile_json
from noisemodel.sources_published import ELD_RANGE_DN, read_darktable, read_eld

NUMBER = re.compile(r"(?P<value>[-+0-9.eE]+)(/(?P<over>[0-9.]+))?(?P<unit>DN)?")
OpenBursts = Callable[[Path], Any]

__all__ = ["KINDS", "NoiseSource", "is_kind", "open_source"]


@final
@dataclass(frozen=True)
class Settings:
    """What a source is opened for.

    Args:
        levels: of the data: recorded values are rounded and clipped by them, and DN are converted with them.
        layout: "mosaic" or "planes".
        cfa: colours of a mosaic by position, for noise that differs by colour.
        exact: exact laws (Poisson photons), rounded and clipped where levels are known, as a camera records; False
            gives the unclipped Gaussian stand-in of `NoiseGenerator.measure`.
        open_bursts: opens a folder of bursts; needed by ``darks`` only.
    """

    levels: Levels | None = None
    layout: str = "mosaic"
    cfa: str | None = None
    exact: bool = True
    open_bursts: OpenBursts | None = None


class Kind(NamedTuple):
    """A row of the table: how the argument is written, and what opens it."""

    form: str
    open: Callable[[str, str, Settings], NoiseSource]


def is_kind(text: str) -> bool:
    """Whether a text is KIND:ARGUMENT, known or misspelt, and not a checkpoint or run folder."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and (kind in KINDS or not (Path(text).exists() or Path(text).suffix == ".safetensors"))


def open_source(
    text: str,
    *,
    levels: Levels | None = None,
    layout: str = "mosaic",
    cfa: str | None = None,
    exact: bool = True,
    open_bursts: OpenBursts | None = None,
) -> NoiseSource:
    """Open a source of noise from ``KIND:ARGUMENT`` of `KINDS`, or from a checkpoint or run folder.

    Args:
        text: e.g. "gaussian:25/255", "runs/camera".
        levels, layout, cfa, exact, open_bursts: see `Settings`.
    Raises: InputError in one line that names what would do.
    """
    settings = Settings(levels, check_layout(layout), cfa, exact, open_bursts)
    kind, colon, argument = text.partition(":")
    if colon and kind in KINDS:
        if not argument:
            raise InputError(f"noise {kind}: needs its argument; write {kind}:{KINDS[kind].form}")
        return KINDS[kind].open(text, argument, settings)
    if (
        Path(text).exists()
        or not re.fullmatch(r"[a-z_ -]{2,}", kind, re.IGNORECASE)
        or Path(text).suffix == ".safetensors"
    ):
        return _checkpoint(text, settings)
    close = difflib.get_close_matches(kind.lower(), KINDS, n=1)
    forms = ", ".join(["FILE", *(f"{name}:{row.form}" for name, row in KINDS.items())])
    did = f"; did you mean {close[0]}:{KINDS[close[0]].form}?" if close else ""
    raise InputError(f"noise {text!r} is neither a file nor a known kind{did} (known: {forms})")


def parse_number(text: str, levels: Levels | None, what: str, *, zero: bool = False) -> float:
    """A positive number as a fraction of white: ``0.1``, ``25/255``, or ``3DN`` with levels.

    Raises: InputError for another form, DN without levels, or a value above the white level, which was meant in DN.
    """
    match = NUMBER.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        value = float(match["value"]) / float(match["over"] or 1)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"cannot read {what} {text!r}; write e.g. 0.01, 2.5/255 or 3DN") from None
    if match["unit"]:
        if levels is None:
            raise InputError(f"{what} {text} needs the black and white level; give them, or a fraction of white")
        value *= levels.adc_step
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError(f"{what} must be a positive number, got {text}")
    if value > 1:
        raise InputError(
            f"{what} {text} is {value:.0%} of the white level; write {text}/255 or {text}DN if that is meant"
        )
    return value


def _split(argument: str, count: int, kind: str) -> list[str]:
    """The last ``count`` - 1 fields after commas, and the rest before them (a path may have commas)."""
    fields = [field.strip() for field in argument.rsplit(",", count - 1)]
    if len(fields) != count or not all(fields):
        raise InputError(f"noise {kind}:{argument} has another form; write {kind}:{KINDS[kind].form}")
    return fields


def _built(noiselist: str, settings: Settings, **start: Any) -> NoiseGenerator:
    physical = PhysicalNoise.from_noiselist(noiselist, layout=settings.layout, levels=settings.levels, **start)
    return NoiseGenerator(physical).requires_grad_(False).eval()


def _checkpoint(text: str, settings: Settings) -> NoiseSource:
    path = Path(text)
    model = load(path).requires_grad_(False)
    physical = model.physical
    if physical.layout != settings.layout:
        raise InputError(
            f'{path} is a model of layout "{physical.layout}", the data have "{settings.layout}"; match them'
        )
    physical.levels = physical.levels or settings.levels
    return ModelSource(text, model, settings.exact)


def _gaussian(text: str, argument: str, settings: Settings) -> NoiseSource:
    """The textbook law: never rounded or clipped."""
    std = parse_number(argument, settings.levels, "STD")
    return ModelSource(text, _built("read", replace(settings, levels=None), read_std=std), settings.exact)


def _poisson_gaussian(text: str, argument: str, settings: Settings) -> NoiseSource:
    gain, std = _split(argument, 2, "poisson-gaussian")
    slope = parse_number(gain, settings.levels, "G")
    offset = parse_number(std, settings.levels, "STD", zero=True) ** 2
    return _from_profile(text, NoiseProfile(((slope, offset),)), settings, "")


def _profile(text: str, argument: str, settings: Settings) -> NoiseSource:
    path = Path(argument)
    if path.suffix.lower() == ".json":
        pairs = read_profile_json(path)
        try:
            return _from_profile(text, NoiseProfile(pairs), settings, "exported")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    profile = read_noise_profile(path)
    if profile is None:
        raise InputError(f"{path} has no NoiseProfile (DNG tag 51041); calibrate the camera, or use darktable:")
    cfa = settings.cfa or read_cfa(path)
    return _from_profile(text, profile, replace(settings, cfa=cfa), "stated by its maker, not measured")


def _eld(text: str, argument: str, settings: Settings) -> NoiseSource:
    file, gain = _split(argument, 2, "eld")
    try:
        gain_dn = float(gain)
        noise = read_eld(Path(file), gain_dn)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"K must be a number of DN per electron, got {gain!r}") from error
    try:
        model = _built("shot_readtl_row1_uniform", settings, **noise.start_values(settings.levels), **_step(settings))
    except InputError as error:
        raise InputError(f"{file} at K = {gain}: {error}") from error
    return ModelSource(text, model, settings.exact, f"K = {gain_dn:g} DN/e- of 14 bits, lambda {noise.shape:.3g}")


def _step(settings: Settings) -> dict[str, float]:
    """Without levels, the quantisation of ELD's 14-bit cameras."""
    return {} if settings.levels is not None else {"uniform_width": 1 / ELD_RANGE_DN}


def _darktable(text: str, argument: str, settings: Settings) -> NoiseSource:
    file, camera, iso_text = _split(argument, 3, "darktable")
    try:
        iso = float(iso_text.lower().removeprefix("iso"))
    except ValueError as error:
        raise InputError(
            f"ISO must be a number, got {iso_text!r}; write darktable:{KINDS['darktable'].form}"
        ) from error
    found = read_darktable(Path(file), camera, iso)
    between = " and ".join(f"{value:g}" for value in found.between)
    try:
        return _from_profile(text, found.profile, settings, f"{found.camera}, measured at ISO {between}")
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _darks(text: str, argument: str, settings: Settings) -> NoiseSource:
    folder, gain_text = _split(argument, 2, "darks")
    if settings.open_bursts is None:
        raise InputError("noise darks: needs a program that can open bursts; this one cannot")
    bursts = settings.open_bursts(Path(folder))
    if bursts.layout != settings.layout:
        raise InputError(
            f'the darks in {folder} have layout "{bursts.layout}", the data "{settings.layout}"; match them'
        )
    gain = parse_number(gain_text, bursts.levels, "G")
    shot = PhysicalNoise.from_noiselist("shot", layout=settings.layout, shot_gain=gain)
    dark_bursts = darks_of(bursts, Path(folder))
    return DarksSource(text, DarkFrames(dark_bursts, shot.requires_grad_(False), bursts.levels, settings.exact), gain)


def _from_profile(text: str, profile: NoiseProfile, settings: Settings, remark: str) -> NoiseSource:
    """var = S x + O as shot and read noise; by plane where the colours of the planes are known and differ in it."""
    remarks = [remark] if remark else []
    if min(o for _, o in profile.pairs) < 0:
        remarks.append("O < 0 taken as 0")
        profile = replace(profile, pairs=tuple((s, max(o, 0.0)) for s, o in profile.pairs))
    colours = plane_colours(settings.layout, settings.cfa, 4 if settings.layout == "mosaic" else 3)
    if not profile.per_colour or colours is None:
        if profile.per_colour:
            remarks.append("mean of its colours, whose differences are lost (say --cfa to keep them)")
        return ModelSource(text, _shot_and_read(*profile.mean(), settings), settings.exact, "; ".join(remarks))
    pairs = profile.of_colours(colours)
    if min(s for s, _ in pairs) <= 0:
        raise InputError(f"{text}: a colour has no shot noise (S = 0); the profile is unusable, fit the noise instead")
    model = _shot_and_read(*profile.mean(colours), settings)
    plane = _shot_and_read(*profile.mean(colours), replace(settings, layout="planes"))
    return ColourSource(text, model, plane.physical, pairs, settings.exact, "; ".join(remarks))


def _shot_and_read(slope: float, offset: float, settings: Settings) -> NoiseGenerator:
    """shot_gain = S and read_std = sqrt(O); a word is left out where its number is 0."""
    start = {"shot_gain": slope, "read_std": math.sqrt(offset)}
    start = {name: value for name, value in start.items() if value > 0}
    if max(slope, offset) > 1:
        raise InputError(f"a noise profile has S and O in fractions of white, got {slope:g} and {offset:g}")
    if not start:
        raise InputError("a noise profile with S = 0 and O = 0 adds nothing; fit the noise instead")
    return _built("_".join(name.split("_")[0] for name in start), settings, **start)


KINDS: dict[str, Kind] = {
    "gaussian": Kind("STD", _gaussian),
    "poisson-gaussian": Kind("G,STD", _poisson_gaussian),
    "profile": Kind("DNG", _profile),
    "eld": Kind("FILE,K", _eld),
    "darktable": Kind("FILE,CAMERA,ISO", _darktable),
    "darks": Kind("FOLDER,G", _darks),
}
