"""A model of the published starlight script as one of ours, with what changes said in words."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from noisemodel.components import FixedPattern, LearnedFixedPattern, NoiseComponent
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.legacy_generator import LegacyGenerator
from noisemodel.physical import PhysicalNoise

SMALLEST = 1e-12  # a number below it [fraction of white] makes no noise, and no logarithm


class Converted(NamedTuple):
    """A model of ours, and what became of each published term, one line each."""

    model: NoiseGenerator
    changes: tuple[str, ...]


class Part(NamedTuple):
    """Start values of words of ours, and what is to be said of them."""

    start: Mapping[str, Any]
    said: str


def convert_published(old: LegacyGenerator, *, without_network: bool = False) -> Converted:
    """The model of ours that is equal to ``old`` in law where that can be, and nearest to it elsewhere.

    Args:
        old: from `noisemodel.legacy.read_published`.
        without_network: leave the U-Net out, which ours cannot express.
    Raises: InputError for what has no place in our model.
    """
    if old.network is not None and not without_network:
        raise InputError(
            f"{old.file}: its {old.kind} adds inside its blocks before the activation, which our U-Net does not; "
            "use the run as it is, or say --without_network to convert the physics alone"
        )
    crop = old.args.get("crop_size", 256)
    if not isinstance(crop, int) or crop < 4:
        raise InputError(f"{old.file}: crop_size {crop!r} in args.txt is no number of pixels; correct it")
    parts = [CONVERSIONS[term.name](term, crop) for term in old.physical.each() if not _is_line(term)]
    parts += _lines({term.name: _value(term, "std") for term in old.physical.each() if _is_line(term)})
    start = {name: value for part in parts for name, value in part.start.items()}
    words = list(dict.fromkeys(name.split("_")[0] for name in start))
    if not words:
        raise InputError(f"{old.file} has no noise that ours can express; use the run as it is")
    changes = [part.said for part in parts]
    if old.network is not None:
        changes.append(f"{old.kind}: left out; the physics alone is what its network got, not what it gave")
    changes.append("clip to [0, 1]: ours has no levels yet; with levels simulate clips, measure never does")
    if start.keys() & {"fixed1_pattern", "learnedfixed_pattern"}:
        changes.append("planes: now by position (0,0), (0,1), (1,0), (1,1) of a cell; were (0,0), (0,1), (1,1), (1,0)")
    physical = PhysicalNoise.from_noiselist("_".join(words), layout="mosaic", **start)
    return Converted(NoiseGenerator(physical).eval(), tuple(changes))


def _value(term: NoiseComponent, key: str) -> float:
    return float(term.stored(key).detach())


def _is_line(term: NoiseComponent) -> bool:
    return term.name in ("oldrow1", "oldrowt")


def _shot_read(term: NoiseComponent, crop: int) -> Part:
    """(a x + b)^2 = b^2 + 2 a b x + a^2 x^2: read, shot and excess noise, exactly."""
    slope = _value(term, "slope") if "slope" in term.units else 0.0
    offset = _value(term, "offset")
    if slope * offset < 0:
        raise InputError(
            f"std = |{slope:.3g} x + {offset:.3g}| falls with the signal and rises again: no sum of variances does; "
            "use the run as it is"
        )
    found = {"shot_gain": 2 * slope * offset, "read_std": abs(offset), "excess_coefficient": slope**2}
    said = (
        f"shot, read: std = {slope:.4g} x + {offset:.4g}, was meant as the variance; the std stays, equal in law, as "
    )
    return _kept(found, said + "read_std = b, shot_gain = 2 a b, excess_coefficient = a^2 (for x >= 0)")


def _uniform(term: NoiseComponent, crop: int) -> Part:
    width = _value(term, "width")
    said = f"uniform: was U(0, {width:.4g}), is recentred to U(-w/2, w/2); it no longer brightens by {width / 2:.4g}"
    return _kept({"uniform_width": abs(width)}, said)


def _lines(stds: Mapping[str, float]) -> list[Part]:
    """row1 and rowt were constant along H, new in every frame: col1 of the summed variance."""
    if not stds:
        return []
    std = math.hypot(*stds.values())
    words = ", ".join(word.removeprefix("old") for word in stds)
    said = (
        f"{words}: constant along H and new in every frame, which is column noise: col1 with std {std:.4g}, the "
        "variance of every pixel kept. Planes that share a sensor column now share a draw, and no others do; row1 had "
        "a draw for each plane, rowt one for all four"
    )
    return [_kept({"col1_std": std}, said)]


def _periodic(term: NoiseComponent, crop: int) -> Part:
    """Before abs: (p0 a + 2 p1 b cos(pi k / 2) - 2 p2 c sin(pi k / 2)) / sqrt(H W), with k in pixels of a plane."""
    stds = [abs(_value(term, f"p{i}")) * (1 if i == 0 else 2) / crop for i in range(3)]
    if min(stds) < SMALLEST:
        raise InputError(f"a periodic term with stds {stds} is no wave of ours; use the run as it is")
    said = (
        "periodic: was |wave|, never negative, of half the period, weaker in larger crops; is the wave itself, as in "
        f"the {crop} x {crop} crops of its training: mean 0, the same mean square, one draw for all planes, stds "
        + ", ".join(f"{std:.4g}" for std in stds)
    )
    return Part({"periodic_std": tuple(stds)}, said)


def _fixed(term: NoiseComponent, crop: int) -> Part:
    assert isinstance(term, FixedPattern | LearnedFixedPattern)
    pattern = term.pattern.detach().clone()
    return Part({f"{term.name}_pattern": pattern}, f"{term.name}: the same pattern, at the crop's place, not at random")


def _kept(start: Mapping[str, float], said: str) -> Part:
    """Those start values that make noise."""
    return Part({name: value for name, value in start.items() if value > SMALLEST}, said)


CONVERSIONS: dict[str, Callable[[NoiseComponent, int], Part]] = {
    "oldshotread": _shot_read,
    "olduniform": _uniform,
    "oldperiodic": _periodic,
    "fixed1": _fixed,
    "learnedfixed": _fixed,
}
