"""Every component broken once: the checks of the other files must notice.

A mutant replaces `_sample` (or `_simulate`, `_variance`) of one component; the check that runs on it is the one that
the real component passes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import noise_checks as checks
import pytest
import torch
from noise_checks import LAW, Draw
from torch import Tensor

from noisemodel.components import NoiseComponent, Params
from noisemodel.components.lines import line_shape, spread_lines
from noisemodel.components.pattern import crop_map
from noisemodel.sensor import Crop

Broken = Callable[[Any, Tensor, Crop, Params, torch.Generator], Tensor]  # the component first


@dataclass(frozen=True)
class Mutant:
    """Which law, what is wrong, the broken method, and the check that must notice, on which layout."""

    law: str
    fault: str
    broken: Broken
    check: Callable[[Draw, str], None]
    layout: str = "mosaic"
    method: str = "_sample"


def normal(burst: Tensor, generator: torch.Generator, shape: tuple[int, ...] | None = None) -> Tensor:
    return torch.randn(burst.shape if shape is None else shape, generator=generator, dtype=burst.dtype)


def original(component: NoiseComponent, *arguments: Any) -> Tensor:
    return type(component)._sample(component, *arguments)


def moments(law: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_moments(draw, LAW[law], layout, 0)


def shape_of(law: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_distribution(draw, LAW[law], layout, 0)


def streams(law: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_streams(draw, LAW[law], layout, 0)


def samples(law: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_independent_samples(draw, LAW[law], layout, 0)


def white(draw: Draw, layout: str) -> None:
    checks.check_white(draw, layout, 0)


def lines(*, along_rows: bool, static: bool) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_lines(draw, layout, 0, along_rows=along_rows, static=static)


def phase(draw: Draw, layout: str) -> None:
    checks.check_periodic(draw, layout, 0)


def phase_per_sample(draw: Draw, layout: str) -> None:
    checks.check_periodic(draw, layout, 0, origin=torch.tensor([[0, 1], [4, 6]]).repeat(30, 1))


def place(law: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_place(draw, LAW[law], layout, 0)


def poisson(draw: Draw, layout: str) -> None:
    checks.check_poisson(draw, 0)


# Draws with the right variance and the wrong structure.


def white_with_std(std: float) -> Broken:
    return lambda component, burst, crop, params, generator: std * normal(burst, generator)


def of_shape(std: float, *axes: int) -> Broken:
    """Gaussian noise of the right variance that is constant over ``axes`` of (N, T, C, H, W)."""

    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return std * normal(burst, generator, tuple(1 if i in axes else n for i, n in enumerate(burst.shape)))

    return broken


def repeated(axis: int) -> Broken:
    """The component's own draw, its first index along ``axis`` for all."""

    def broken(component: Any, burst: Tensor, *rest: Any) -> Tensor:
        return original(component, burst, *rest).expand(burst.shape).narrow(axis, 0, 1)

    return broken


def of_original(change: Callable[[Tensor], Tensor]) -> Broken:
    return lambda component, *arguments: change(original(component, *arguments))


def scaled_line(change: Callable[[Tensor], Tensor]) -> Broken:
    """The line's own structure with a changed std."""

    def broken(component: Any, *arguments: Any) -> Tensor:
        std = component.value("std")
        return original(component, *arguments) / std * change(std)

    return broken


def other_direction(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    n, t, _, h, w = burst.shape
    along_rows = not component.along_rows
    shape = (n, 1 if component.static else t, *line_shape(component.layout, h if along_rows else w))
    draws = normal(burst, generator, shape)
    return component.value("std") * spread_lines(draws, component.layout, along_rows=along_rows)


def other_static(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    """Redrawn per frame where it is static, and the other way round."""
    n, t, _, h, w = burst.shape
    shape = (n, t if component.static else 1, *line_shape(component.layout, h if component.along_rows else w))
    return component.value("std") * spread_lines(
        normal(burst, generator, shape), component.layout, along_rows=component.along_rows
    )


def smooth_lines(component: Any, *arguments: Any) -> Tensor:
    """Neighbouring lines averaged: the right variance, but not white."""
    noise = original(component, *arguments)
    return (noise + noise.roll(1, -2 if component.along_rows else -1)) / math.sqrt(2)


def interleaved_wrongly(component: Any, *arguments: Any) -> Tensor:
    """Planes 0,2 share a row: the mosaic's rows and columns confused."""
    noise = original(component, *arguments)
    return noise[:, :, [0, 2, 1, 3]]


def line_mutants(word: str, *, along_rows: bool, static: bool) -> list[Mutant]:
    structure = lines(along_rows=along_rows, static=static)
    along, std = (4 if along_rows else 3), checks.LINE
    frames = (1,) if static else ()
    return [
        Mutant(word, "variance for std", scaled_line(torch.square), moments(word)),
        Mutant(word, "std 10 % off", scaled_line(lambda s: 1.1 * s), moments(word)),
        Mutant(word, "white", white_with_std(std), structure),
        Mutant(word, "other direction", other_direction, structure),
        Mutant(word, "static and per frame confused", other_static, structure),
        Mutant(word, "planes not shared", of_shape(std, along, *frames), structure),
        Mutant(word, "channels not shared", of_shape(std, along, *frames), structure, "planes"),
        Mutant(word, "one line per cell", of_shape(std, along, 2, *frames), structure),
        Mutant(word, "planes interleaved wrongly", interleaved_wrongly, structure),
        Mutant(word, "lines correlated", smooth_lines, structure, "planes"),
        Mutant(word, "batch shared", repeated(0), structure),
        Mutant(word, "one offset per frame", of_shape(std, 2, 3, 4, *frames), structure),
        Mutant(word, "one-sided", of_original(torch.abs), moments(word)),
    ]


# Shot noise.


def gain_of(component: Any) -> Tensor:
    return component.value("gain").detach()


def shot(change: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Broken:
    """Noise from the signal x, the gain g and normal draws z."""

    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return change(burst, gain_of(component), normal(burst, generator))

    return broken


def photons(change: Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Broken:
    """Noise from x+, the gain g and a Poisson sampler."""

    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return change(burst.clamp_min(0), gain_of(component), partial(torch.poisson, generator=generator))

    return broken


def rounded_photons(x: Tensor, g: Tensor, z: Tensor) -> Tensor:
    light = x.clamp_min(0)
    return g * (light / g + (light / g).sqrt() * z).round() - light


SHOT = [
    Mutant("shot", "variance for std", shot(lambda x, g, z: g * x.clamp_min(0) * z), moments("shot")),
    Mutant("shot", "std without the gain", shot(lambda x, g, z: x.clamp_min(0).sqrt() * z), moments("shot")),
    Mutant("shot", "gain outside the root", shot(lambda x, g, z: g * x.clamp_min(0).sqrt() * z), moments("shot")),
    Mutant("shot", "noise of |x| in the dark", shot(lambda x, g, z: (g * x.abs()).sqrt() * z), moments("shot")),
    Mutant("shot", "of the mean signal", shot(lambda x, g, z: (g * x.mean().clamp_min(0)).sqrt() * z), moments("shot")),
    Mutant("shot", "one-sided", of_original(torch.abs), moments("shot")),
    Mutant("shot", "one draw for all planes", repeated(2), white),
    Mutant("shot", "one draw for all frames", repeated(1), white),
    Mutant("shot", "one draw for the batch", repeated(0), white),
    Mutant("shot", "constant along rows", repeated(4), white),
]
POISSON = [
    Mutant("shot", fault, photons(law), check, method="_simulate")
    for fault, law, check in (
        ("g Poisson(x)", lambda x, g, p: g * p(x) - g * x, moments("shot")),
        ("Poisson(x / g) not scaled back", lambda x, g, p: p(x / g) - x / g, moments("shot")),
        ("x not taken off", lambda x, g, p: g * p(x / g), moments("shot")),
        ("g and 1 / g confused", lambda x, g, p: p(g * x) / g - x, moments("shot")),
        ("gain 8 % off", lambda x, g, p: 1.08 * g * p(x / (1.08 * g)) - x, moments("shot")),
        ("gain 3 % off", lambda x, g, p: 1.03 * g * p(x / (1.03 * g)) - x, poisson),
        ("at least one photon", lambda x, g, p: g * p(x / g).clamp_min(1) - x, poisson),
    )
] + [
    Mutant("shot", "Gaussian, not photons", of_original(lambda noise: noise), poisson, method="_simulate"),
    Mutant("shot", "Gaussian, rounded to photons", shot(rounded_photons), poisson, method="_simulate"),
]


def uniform_of_the_same_variance(
    c: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator
) -> Tensor:
    return checks.READ * math.sqrt(12) * (torch.rand(burst.shape, generator=generator) - 0.5)


def scale_shared_by_a_frame(c: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    return checks.READ * normal(burst, generator) * normal(burst, generator, (*burst.shape[:2], 1, 1, 1))


def global_generator(component: Any, burst: Tensor, *rest: Any) -> Tensor:
    return checks.READ * torch.randn_like(burst)


def same_every_time(component: Any, burst: Tensor, *rest: Any) -> Tensor:
    return checks.READ * normal(burst, torch.Generator().manual_seed(3))


READ = [
    Mutant("read", fault, broken, check)
    for fault, broken, check in (
        ("variance for std", white_with_std(checks.READ**2), moments("read")),
        ("std 3 % off", white_with_std(1.03 * checks.READ), moments("read")),
        ("biased", of_original(lambda noise: noise + 0.05 * checks.READ), moments("read")),
        ("half of it is missing", of_original(lambda noise: noise.clamp_min(0) * math.sqrt(2)), moments("read")),
        ("uniform of the same variance", uniform_of_the_same_variance, shape_of("read")),
        ("constant along rows", of_shape(checks.READ, 4), white),
        ("constant along columns", of_shape(checks.READ, 3), white),
        ("planes shared", of_shape(checks.READ, 2), white),
        ("frames shared", of_shape(checks.READ, 1), white),
        ("batch shared", of_shape(checks.READ, 0), samples("read")),
        ("blurred", of_original(lambda noise: (noise + noise.roll(1, -1)) / math.sqrt(2)), white),
        ("scale shared by a frame", scale_shared_by_a_frame, white),
        ("global generator", global_generator, streams("read")),
        ("same draw every time", same_every_time, streams("read")),
    )
]

TL = "readtl(0.14)"
TL_STD = checks.TUKEY * math.sqrt(checks.tukey_variance(0.14))
HEAVY = "readtl(-0.1)"
HEAVY_STD = checks.TUKEY * math.sqrt(checks.tukey_variance(-0.1))


def tukey(change: Callable[[Tensor, float], Tensor]) -> Broken:
    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return checks.TUKEY * change(torch.rand(burst.shape, generator=generator).clamp(1e-7, 1 - 1e-7), 0.14)

    return broken


TUKEY = [
    Mutant(TL, "scale for std", white_with_std(checks.TUKEY), moments(TL)),
    Mutant(HEAVY, "Gaussian of the same variance", white_with_std(HEAVY_STD), shape_of(HEAVY)),
    Mutant(TL, "sign of lambda", tukey(lambda u, k: (u**-k - (1 - u) ** -k) / -k), moments(TL)),
    Mutant(TL, "not divided by lambda", tukey(lambda u, k: u**k - (1 - u) ** k), moments(TL)),
    Mutant(TL, "one-sided", tukey(lambda u, k: (u**k - 1) / k), moments(TL)),
    Mutant(TL, "constant along rows", of_shape(TL_STD, 4), white),
]
UNIFORM = [
    Mutant("uniform", "in [0, w)", of_original(lambda noise: noise + checks.WIDTH / 2), moments("uniform")),
    Mutant("uniform", "in [-w, w)", of_original(lambda noise: 2 * noise), moments("uniform")),
    Mutant("uniform", "width for std", of_original(lambda noise: noise * math.sqrt(12)), moments("uniform")),
    Mutant(
        "uniform", "Gaussian of the same variance", white_with_std(checks.WIDTH / math.sqrt(12)), shape_of("uniform")
    ),
    Mutant("uniform", "planes shared", repeated(2), white),
]


# What stays on the sensor.


def moved(origin: Callable[[Tensor, torch.Generator], Tensor]) -> Broken:
    """The map at a place that ``origin`` makes from the right one, (1 or N, 2)."""

    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        assert isinstance(crop.origin, Tensor)
        there = Crop(crop.layout, crop.shape, origin(crop.origin, generator), crop.device)
        return original(component, burst, there, params, generator)

    return broken


def transposed(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    square = component.pattern[..., :40, :40].mT
    return crop_map(square, crop, "pattern")


def plane_pixels(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    """Origin in plane pixels instead of sensor pixels, and all planes alike."""
    return original(component, burst, crop, params, generator)[:, :, :1]


MAPS = [
    Mutant(word, fault, broken, place(word))
    for word in ("fixed1", "learnedfixed", "prnu")
    for fault, broken in (
        ("at a random place", moved(lambda o, g: torch.randint(0, 12, o.shape, generator=g))),
        ("always at the corner", moved(lambda o, g: torch.zeros_like(o))),
        ("rows and columns swapped", moved(lambda o, g: o.flip(1))),
        ("odd origins rounded down", moved(lambda o, g: o // 2 * 2)),
        ("origin in cells", moved(lambda o, g: o // 2)),
        ("first origin for all", moved(lambda o, g: o[:1])),
        ("planes alike", plane_pixels),
        ("sign", of_original(torch.neg)),
    )
] + [
    Mutant("fixed1", "transposed", transposed, place("fixed1")),
    Mutant(
        "fixed1",
        "proportional to the signal",
        lambda c, burst, *rest: burst * original(c, burst, *rest),
        place("fixed1"),
    ),
    Mutant(
        "prnu", "not proportional", lambda c, burst, *rest: original(c, torch.ones_like(burst), *rest), place("prnu")
    ),
    Mutant("prnu", "1 + gain", lambda c, burst, *rest: burst + original(c, burst, *rest), place("prnu")),
    Mutant(
        "prnu",
        "redrawn",
        lambda c, burst, crop, params, generator: 0.01 * burst * normal(burst, generator),
        place("prnu"),
    ),
]


def waves(
    angle: Callable[[Tensor, float], Tensor] = lambda place, freq: 2 * math.pi * freq * place,
    std: Callable[[list[Tensor]], list[Tensor]] = lambda stds: stds,
    draws: Callable[[Tensor], Tensor] = lambda abc: abc,
    axis: str = "column",
    scale: Callable[[Tensor], float] = lambda burst: 1.0,
) -> Broken:
    """Periodic noise of which one thing is changed."""

    def broken(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        a, b, c = draws(normal(burst, generator, (3, *burst.shape[:2], 1, 1, 1)))
        where = crop.columns.unsqueeze(-2) if axis == "column" else crop.rows.unsqueeze(-1)
        turn = angle(where.double(), component.freq).unsqueeze(1).float()
        s0, s1, s2 = std([component.value(f"std{i}").detach() for i in range(3)])
        return scale(burst) * (s0 * a + s1 * b * turn.cos() + s2 * c * turn.sin())

    return broken


TURN = 2 * math.pi
COLUMN = "periodic(column)"
PERIODIC = [
    Mutant(COLUMN, "phase ignores the origin", moved(lambda o, g: torch.zeros_like(o)), phase),
    Mutant(COLUMN, "first origin for all", moved(lambda o, g: o[:1]), phase_per_sample),
    Mutant(COLUMN, "phase of the row's origin", moved(lambda o, g: o.flip(1)), phase),
    Mutant(COLUMN, "phase per plane", waves(lambda k, f: TURN * f * 2 * (k // 2)), phase),
    Mutant(COLUMN, "along rows", waves(axis="row"), phase),
    Mutant(COLUMN, "abs: positive", of_original(torch.abs), phase),
    Mutant(COLUMN, "abs: positive, moments", of_original(torch.abs), moments(COLUMN)),
    Mutant(COLUMN, "frequency doubled", waves(lambda k, f: 2 * TURN * f * k), phase),
    Mutant(COLUMN, "variance for std", waves(std=lambda s: [v.square() for v in s]), moments(COLUMN)),
    Mutant(COLUMN, "no constant", waves(std=lambda s: [0 * s[0], s[1], s[2]]), phase),
    Mutant(COLUMN, "cos and sin exchanged", waves(std=lambda s: [s[0], s[2], s[1]]), phase),
    Mutant(COLUMN, "one std for all", waves(std=lambda s: [s[0]] * 3), moments(COLUMN)),
    Mutant(COLUMN, "b = c", waves(draws=lambda abc: abc[[0, 1, 1]]), phase),
    Mutant(COLUMN, "frames shared", waves(draws=lambda abc: abc[:, :, :1]), phase),
    Mutant(COLUMN, "batch shared", waves(draws=lambda abc: abc[:, :1]), phase),
    Mutant(COLUMN, "grows with the crop", waves(scale=lambda burst: math.sqrt(burst.shape[-1] / 8)), moments(COLUMN)),
    Mutant(COLUMN, "white of the same variance", lambda c, burst, crop, params, g:
           c._variance(burst, crop, params).sqrt() * normal(burst, g), phase),
]  # fmt: skip

# Rows with a spectrum, and gains of rows.


def row_process(word: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_row_process(draw, layout, 0, alternates=word == "rowparity")


def row_place(word: str) -> Callable[[Draw, str], None]:
    return lambda draw, layout: checks.check_row_place(draw, LAW[word], layout, 0)


def row_gain(draw: Draw, layout: str) -> None:
    checks.check_row_gain(draw, layout, 0)


def with_attribute(name: str, change: Callable[[Any], Any]) -> Broken:
    """The component's own draw, one of its attributes changed for the call."""

    def broken(component: Any, *arguments: Any) -> Tensor:
        before = getattr(component, name)
        setattr(component, name, change(before))
        try:
            return original(component, *arguments)
        finally:
            setattr(component, name, before)

    return broken


def tied_ends(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    """A circular draw over the 26 rows of the crop, without doubling."""
    true = component._unit_profile
    component._unit_profile = lambda burst, rows, generator: true(burst, 13, generator).repeat(1, 1, 5)
    try:
        return original(component, burst, crop, params, generator)
    finally:
        component._unit_profile = true


def white_rows(component: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
    """row1 of the same variance, with the sign of the columns where there is one."""
    shape = (*burst.shape[:2], *line_shape(component.layout, burst.shape[-2]))
    noise = math.sqrt(checks.ROW_VARIANCE) * spread_lines(
        normal(burst, generator, shape), component.layout, along_rows=True
    )
    sign = 1 - 2 * (crop.columns % 2) if component.alternates else torch.ones(1, 1, 1)
    return noise * sign[:, None, :, None]


def other_alternation(component: Any, burst: Tensor, crop: Crop, *rest: Any) -> Tensor:
    """The sign of the columns where there is none, and the other way round."""
    return original(component, burst, crop, *rest) * (1 - 2 * (crop.columns % 2))[:, None, :, None]


def sign_of_the_row(component: Any, burst: Tensor, crop: Crop, *rest: Any) -> Tensor:
    noise = original(component, burst, crop, *rest)
    return noise[..., :1] * (1 - 2 * (crop.rows % 2))[:, None, :, :, None]


def row_process_mutants(word: str) -> list[Mutant]:
    law = row_process(word)
    return [
        Mutant(word, "white rows", white_rows, law),
        Mutant(word, "first row tied to the last", tied_ends, law, "planes"),
        Mutant(word, "spectrum turned round", with_attribute("shape", lambda s: torch.nn.Parameter(s.flip(0))), law),
        Mutant(word, "share taken for density", with_attribute("edges", lambda e: (0, 0.125, 0.25, 0.375, 0.5)), law),
        Mutant(word, "no jitter", with_attribute("numbers", lambda n: n | {"jitter2": 0.0}), law),
        Mutant(word, "line at double frequency", with_attribute("numbers", lambda n: n | {"freq1": 0.22}), law),
        Mutant(word, "std 10 % off", of_original(lambda noise: 1.1 * noise), law),
        Mutant(word, "std 10 % off, moments", of_original(lambda noise: 1.1 * noise), moments(word)),
        Mutant(word, "frames shared", repeated(1), law),
        Mutant(word, "batch shared", repeated(0), law),
        Mutant(word, "sign of columns", other_alternation, law),
        Mutant(word, "sign of rows", sign_of_the_row, law),
        Mutant(word, "planes interleaved wrongly", interleaved_wrongly, law),
        Mutant(word, "always at the corner", moved(lambda o, g: torch.zeros_like(o)), row_place(word)),
        Mutant(word, "rows and columns swapped", moved(lambda o, g: o.flip(1)), row_place(word)),
        Mutant(word, "first origin for all", moved(lambda o, g: o[:1]), row_place(word)),
        Mutant(word, "odd origins rounded down", moved(lambda o, g: o // 2 * 2), row_place(word), "planes"),
        Mutant(word, "one-sided", of_original(torch.abs), moments(word)),
    ]


def of_row_gain(signal: Callable[[Tensor], Tensor]) -> Broken:
    return lambda component, burst, *rest: original(component, signal(burst), *rest)


SECOND_ORDER = [
    Mutant("rowgain", "of the positive signal", of_row_gain(lambda x: x.clamp_min(0)), moments("rowgain")),
    Mutant("rowgain", "not proportional", of_row_gain(torch.ones_like), row_gain),
    Mutant("rowgain", "of the mean signal", of_row_gain(lambda x: x.mean().expand_as(x)), row_gain),
    Mutant("rowgain", "root of the signal", of_row_gain(lambda x: x.clamp_min(0).sqrt()), moments("rowgain")),
    Mutant("rowgain", "std 10 % off", of_original(lambda noise: 1.1 * noise), moments("rowgain")),
    Mutant("rowgain", "white", lambda c, burst, crop, params, g: 0.02 * burst * normal(burst, g), row_gain),
    Mutant("rowgain", "along columns", lambda c, burst, crop, params, g:
           0.02 * burst * normal(burst, g, (*burst.shape[:3], 1, burst.shape[-1])), row_gain),
    Mutant("rowgain", "planes interleaved wrongly", interleaved_wrongly, row_gain),
    Mutant("rowgain", "frames shared", repeated(1), moments("rowgain")),
    Mutant("excess", "shot noise", lambda c, burst, crop, params, g:
           (checks.EXCESS * burst.clamp_min(0)).sqrt() * normal(burst, g), moments("excess")),
    Mutant("excess", "also in the dark", lambda c, burst, *rest: original(c, burst.abs(), *rest), moments("excess")),
    Mutant("excess", "std for variance", lambda c, burst, crop, params, g:
           checks.EXCESS * burst.clamp_min(0) * normal(burst, g), moments("excess")),
    Mutant("excess", "constant along rows", repeated(4), white),
    Mutant("excess", "planes shared", repeated(2), white),
    Mutant("readmap", "one std for all", lambda c, burst, crop, params, g: checks.READ * normal(burst, g),
           moments("readmap")),
    Mutant("readmap", "map of the variance", lambda c, burst, *rest:
           original(c, burst, *rest) * c.unit_map[0, 5, 3].sqrt(), moments("readmap")),
    Mutant("readmap", "always at the corner", moved(lambda o, g: torch.zeros_like(o)), moments("readmap")),
    Mutant("readmap", "rows and columns swapped", moved(lambda o, g: o.flip(1)), moments("readmap")),
    Mutant("readmap", "planes alike", plane_pixels, moments("readmap")),
]  # fmt: skip

MUTANTS = [
    *SHOT, *POISSON, *READ, *TUKEY, *UNIFORM,
    *line_mutants("row1", along_rows=True, static=False), *line_mutants("rowt", along_rows=True, static=True),
    *line_mutants("col1", along_rows=False, static=False), *line_mutants("colt", along_rows=False, static=True),
    *MAPS, *PERIODIC, *row_process_mutants("rowspectrum"), *row_process_mutants("rowparity"), *SECOND_ORDER,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.law}: {m.fault}")
@torch.no_grad()
def test_the_check_notices(mutant: Mutant) -> None:
    component = LAW[mutant.law].build(mutant.layout)
    draw = getattr(component, mutant.method.removeprefix("_"))
    setattr(component, mutant.method, MethodType(mutant.broken, component))
    with pytest.raises(AssertionError):
        mutant.check(draw, mutant.layout)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.law}: {m.fault}")
@torch.no_grad()
def test_the_same_check_passes_on_the_component(mutant: Mutant) -> None:
    component = LAW[mutant.law].build(mutant.layout)
    mutant.check(getattr(component, mutant.method.removeprefix("_")), mutant.layout)


WRONG_VARIANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "std": lambda variance: variance.sqrt(),
    "twice": lambda variance: 2 * variance,
    "without its last term": lambda variance: variance - variance.min() / 2,
    "signed": lambda variance: -variance,
}


OTHER_SIGNAL: dict[str, Callable[[Tensor], Tensor]] = {  # where there is no last term
    "shot": torch.abs,
    "excess": torch.abs,
    "rowgain": lambda x: x.clamp_min(0),
}


@pytest.mark.parametrize("fault", WRONG_VARIANCES)
@pytest.mark.parametrize("law", checks.RANDOM_LAWS, ids=lambda law: law.id)
def test_a_wrong_closed_form_is_noticed(law: checks.Law, fault: str) -> None:
    component = law.build("mosaic")
    true = component._variance
    component._variance = lambda *arguments: WRONG_VARIANCES[fault](true(*arguments) + 0.0)  # type: ignore[method-assign]
    if law.id in OTHER_SIGNAL and fault == "without its last term":
        component._variance = lambda burst, *rest: true(OTHER_SIGNAL[law.id](burst), *rest)  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        checks.check_closed_form(component, law, "mosaic")


@pytest.mark.parametrize("law", checks.LAWS, ids=lambda law: law.id)
def test_a_wrong_mean_is_noticed(law: checks.Law) -> None:
    component = law.build("mosaic")
    true = component._mean
    component._mean = lambda burst, crop: true(burst, crop) + 1e-3 * burst  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        checks.check_closed_form(component, law, "mosaic")


def test_a_gradient_that_is_not_finite_is_noticed() -> None:
    """sqrt without care at x = 0."""
    component = LAW["shot"].build("mosaic")

    def careless(self: Any, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return (self.value("gain") * burst.clamp_min(0)).sqrt() * normal(burst, generator)

    component._sample = MethodType(careless, component)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="gradient"):
        checks.check_gradients(component, LAW["shot"], "mosaic", 0)


@pytest.mark.parametrize("law", checks.RANDOM_LAWS, ids=lambda law: law.id)
def test_a_lost_gradient_is_noticed(law: checks.Law) -> None:
    component = law.build("mosaic")
    component._sample = lambda *arguments: original(component, *arguments).detach()  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        checks.check_gradients(component, law, "mosaic", 0)
