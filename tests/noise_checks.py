"""Checks of noise against its law; the same functions run on the components and on their mutants.

A tolerance is 5 standard errors of the number of INDEPENDENT draws, or the p-value of 5 standard errors.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import scipy.integrate
import scipy.stats
import torch
from torch import Tensor

from noisemodel import stream
from noisemodel.components import (
    Col1,
    ColT,
    Excess,
    FixedPattern,
    LearnedFixedPattern,
    NoiseComponent,
    Periodic,
    PhotoResponse,
    Read,
    ReadMap,
    Row1,
    RowGain,
    RowParity,
    RowSpectrum,
    RowT,
    Shot,
    TukeyLambdaRead,
    Uniform,
)  # fmt: skip
from noisemodel.sensor import Origin

P_VALUE = 2 * float(scipy.stats.norm.sf(5))  # of 5 standard errors
SIGNALS = (-0.05, 0.0, 0.02, 0.3, 0.9)
ORIGIN = (5, 3)
PLANES = {"mosaic": 4, "planes": 3}
SHARED_ROW = {"mosaic": ((0, 1), (2, 3)), "planes": ((0, 1, 2),)}
SHARED_COLUMN = {"mosaic": ((0, 2), (1, 3)), "planes": ((0, 1, 2),)}


class Draw(Protocol):
    """What is under test: a component's sample or simulate, or the noise of a whole model."""

    def __call__(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor: ...


@dataclass(frozen=True)
class Place:
    """Sensor row and column of every pixel of a crop, (C, H, W) or (N, 1, C, H, W)."""

    rows: Tensor
    columns: Tensor


Moment = Callable[[Tensor, Place], Tensor]  # of the signal x and the place


def zero(x: Tensor, place: Place) -> Tensor:
    return torch.zeros_like(x)


@dataclass(frozen=True)
class Law:
    """A component, its moments written out again, and which of its values are independent draws.

    shape: samples per signal, frames, height and width of the scene that `check_moments` draws on.
    independent: (N, T, C, H, W), layout -> (draws, places).
    """

    id: str
    build: Callable[[str], NoiseComponent]
    variance: Moment
    shape: tuple[int, int, int, int]
    independent: Callable[[Tensor, str], Tensor]
    mean: Moment = zero
    cdf: Callable[[Tensor], Tensor] | None = None  # of (noise - mean) / std


def sensor_place(layout: str, origin: tuple[int, int], height: int, width: int) -> Place:
    """Plane p of a mosaic is the position (p // 2, p % 2) of each 2x2 cell; other planes have all pixels."""
    rows = torch.zeros(PLANES[layout], height, width, dtype=torch.int64)
    columns = torch.zeros_like(rows)
    step = 2 if layout == "mosaic" else 1
    for plane in range(PLANES[layout]):
        dy, dx = (plane // 2, plane % 2) if layout == "mosaic" else (0, 0)
        rows[plane] = (origin[0] + dy + step * torch.arange(height)).unsqueeze(1)
        columns[plane] = (origin[1] + dx + step * torch.arange(width)).unsqueeze(0)
    return Place(rows, columns)


# Which values are independent draws: (N, T, C, H, W) -> (draws, places).


def every_pixel(noise: Tensor, layout: str) -> Tensor:
    return noise.reshape(-1, 1)


def per_row(noise: Tensor, layout: str) -> Tensor:
    return noise[:, :, :: 2 if layout == "mosaic" else 3, :, 0].reshape(-1, 1)


def per_column(noise: Tensor, layout: str) -> Tensor:
    return noise[:, :, : 2 if layout == "mosaic" else 1, 0, :].reshape(-1, 1)


def per_row_of_burst(noise: Tensor, layout: str) -> Tensor:
    return per_row(noise[:, :1], layout)


def per_column_of_burst(noise: Tensor, layout: str) -> Tensor:
    return per_column(noise[:, :1], layout)


def per_frame(noise: Tensor, layout: str) -> Tensor:
    return noise.flatten(2).flatten(0, 1)


# The laws.

GAIN, READ, WIDTH, LINE = 0.004, 0.01, 0.02, 0.003
TUKEY = 0.002
PERIODIC = (0.002, 0.005, 0.0008)
SENSOR = (40, 50)
PATTERN = 0.01 * torch.randn(SENSOR, generator=stream(0, "test", "pattern"), dtype=torch.float64)
ROW_GAIN, EXCESS = 0.02, 0.003
WIDE_SENSOR = (64, 80)
READ_MAP = torch.rand(WIDE_SENSOR, generator=stream(0, "test", "read map"), dtype=torch.float64) + 0.5
READ_MAP *= READ / READ_MAP.square().mean().sqrt()
ROW_EDGES, ROW_DENSITY = (0.0, 0.03, 0.2, 0.4, 0.5), (20.0, 1.0, 0.3, 1.0)
ROW_STD, ROW_LINES = 0.005, ((0.11, 0.002, 0.0), (0.3, 0.004, 0.01))
ROW_VARIANCE = ROW_STD**2 + sum(std**2 for _, std, _ in ROW_LINES)


def tukey_variance(shape: float) -> float:
    """Integral of Q(u)^2 over (0, 1), in log u where Q is steep, twice the lower half."""

    def integrand(log_u: float) -> float:
        u = math.exp(log_u)
        upper = math.log1p(-u)
        if shape == 0:
            return (log_u - upper) ** 2 * u
        return ((math.exp(shape * log_u) - math.exp(shape * upper)) / shape) ** 2 * u

    return 2 * float(scipy.integrate.quad(integrand, -700, math.log(0.5), limit=400, epsabs=0, epsrel=1e-9)[0])


def tukey_law(shape: float) -> Law:
    std = math.sqrt(tukey_variance(shape))
    return Law(
        f"readtl({shape})",
        lambda layout: TukeyLambdaRead(layout, scale=TUKEY, lambda_=shape),
        lambda x, place: torch.full_like(x, TUKEY**2 * tukey_variance(shape)),
        (1, 2, 64, 64),
        every_pixel,
        cdf=lambda z: torch.as_tensor(scipy.stats.tukeylambda.cdf(z * std, shape)),
    )


def periodic_law(axis: str, frequency: dict[str, float] | None = None) -> Law:
    """s0^2 + s1^2 cos^2 + s2^2 sin^2 of the absolute sensor column or row."""

    def variance(x: Tensor, place: Place) -> Tensor:
        default = {4: 1 / 8, 3: 1 / 4}[x.shape[-3]]
        turns = (place.columns if axis == "column" else place.rows).double()
        angle = 2 * math.pi * turns * (default if frequency is None else frequency[""])
        s0, s1, s2 = PERIODIC
        return (s0**2 + s1**2 * angle.cos() ** 2 + s2**2 * angle.sin() ** 2).expand_as(x)

    freq = None if frequency is None else frequency[""]
    return Law(
        f"periodic({axis})" if frequency is None else f"periodic({axis}, {freq:.2f})",
        lambda layout: Periodic(layout, std=PERIODIC, freq=freq, axis=axis),
        variance,
        (48, 64, 1, 9) if axis == "column" else (48, 64, 9, 1),
        per_frame,
        cdf=normal_cdf,
    )


def normal_cdf(z: Tensor) -> Tensor:
    return torch.as_tensor(scipy.stats.norm.cdf(z))


def uniform_cdf(z: Tensor) -> Tensor:
    return torch.as_tensor(scipy.stats.uniform.cdf(z, -math.sqrt(3), 2 * math.sqrt(3)))


def pattern_at(x: Tensor, place: Place) -> Tensor:
    return PATTERN[place.rows, place.columns].expand_as(x)


def line_law(component: type[Row1] | type[RowT] | type[Col1] | type[ColT]) -> Law:
    rows, static = component in (Row1, RowT), component in (RowT, ColT)
    pick = {
        (True, False): per_row, (False, False): per_column,
        (True, True): per_row_of_burst, (False, True): per_column_of_burst,
    }[rows, static]  # fmt: skip
    count = (24, 2) if static else (1, 48)
    return Law(
        component.name,
        lambda layout: component(layout, std=LINE),
        lambda x, place: torch.full_like(x, LINE**2),
        (*count, 128, 3) if rows else (*count, 3, 128),
        pick,
        cdf=normal_cdf,
    )


def row_process(component: type[RowSpectrum] | type[RowParity], layout: str) -> NoiseComponent:
    return component(layout, std=ROW_STD, psd=ROW_DENSITY, edges=ROW_EDGES, lines=ROW_LINES, sensor_size=WIDE_SENSOR)


def row_process_law(component: type[RowSpectrum] | type[RowParity]) -> Law:
    return Law(
        component.name,
        lambda layout: row_process(component, layout),
        lambda x, place: torch.full_like(x, ROW_VARIANCE),
        (48, 64, 6, 2),
        per_frame,
        cdf=normal_cdf,
    )


def row_covariance(lag: int) -> float:
    """Sum of power_j cos(2 pi j k / L) at L = 2 x height, power_j by summing S over fine steps; and of the lines."""
    length, steps = 2 * WIDE_SENSOR[0], 2000
    fine = (torch.arange(steps * length // 2, dtype=torch.float64) + 0.5) / (steps * length)
    density = torch.tensor(ROW_DENSITY, dtype=torch.float64)[
        torch.bucketize(fine, torch.tensor(ROW_EDGES[1:-1]).double())
    ]
    cell = (fine * length).round() / length
    smooth = float((density * (2 * math.pi * lag * cell).cos()).sum() / density.sum()) * ROW_STD**2
    return smooth + sum(
        std**2 * math.cos(2 * math.pi * freq * lag) * math.exp(-2 * (math.pi * lag * jitter) ** 2)
        for freq, std, jitter in ROW_LINES
    )


PATTERN_SCENE = (1, 2, 6, 9)
LAWS = [
    Law("shot", lambda layout: Shot(layout, gain=GAIN), lambda x, place: GAIN * x.clamp(min=0), (1, 2, 64, 64),
        every_pixel, cdf=normal_cdf),
    Law("read", lambda layout: Read(layout, std=READ), lambda x, place: torch.full_like(x, READ**2), (1, 2, 64, 64),
        every_pixel, cdf=normal_cdf),
    tukey_law(0.14), tukey_law(0.0), tukey_law(-0.1), tukey_law(1.5),
    Law("uniform", lambda layout: Uniform(layout, width=WIDTH), lambda x, place: torch.full_like(x, WIDTH**2 / 12),
        (1, 2, 64, 64), every_pixel, cdf=uniform_cdf),
    Law("excess", lambda layout: Excess(layout, coefficient=EXCESS), lambda x, place: EXCESS * x.clamp(min=0) ** 2,
        (1, 2, 64, 64), every_pixel, cdf=normal_cdf),
    Law("readmap", lambda layout: ReadMap(layout, map_=READ_MAP),
        lambda x, place: READ_MAP[place.rows, place.columns].square().expand_as(x), (48, 64, 2, 3), per_frame,
        cdf=normal_cdf),
    line_law(Row1), line_law(RowT), line_law(Col1), line_law(ColT),
    row_process_law(RowSpectrum), row_process_law(RowParity),
    Law("rowgain", lambda layout: RowGain(layout, std=ROW_GAIN), lambda x, place: ROW_GAIN**2 * x**2, (1, 48, 128, 3),
        per_row, cdf=normal_cdf),
    Law("fixed1", lambda layout: FixedPattern(layout, PATTERN), zero, PATTERN_SCENE, every_pixel, mean=pattern_at),
    Law("learnedfixed", lambda layout: LearnedFixedPattern(layout, PATTERN), zero, PATTERN_SCENE, every_pixel,
        mean=pattern_at),
    Law("prnu", lambda layout: PhotoResponse(layout, map_=PATTERN), zero, PATTERN_SCENE, every_pixel,
        mean=lambda x, place: x * pattern_at(x, place)),
    periodic_law("column"), periodic_law("row"), periodic_law("column", {"": 0.21}),
]  # fmt: skip
LAW = {law.id: law for law in LAWS}
RANDOM_LAWS = [law for law in LAWS if law.cdf is not None]


def scene(law: Law, layout: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every signal of `SIGNALS` on its own samples, (signals x samples, T, C, H, W)."""
    samples, frames, height, width = law.shape
    signals = torch.tensor(SIGNALS, dtype=dtype).repeat_interleave(samples)
    return signals.view(-1, 1, 1, 1, 1).repeat(1, frames, PLANES[layout], height, width)


# Moments and shape.


def check_closed_form(component: NoiseComponent, law: Law, layout: str, dtype: torch.dtype = torch.float32) -> None:
    """mean() and variance() are the law's, in the shape and type of the image."""
    clean = scene(law, layout, dtype)
    place = sensor_place(layout, ORIGIN, *law.shape[2:])
    for given, expected in (
        (component.mean(clean, origin=ORIGIN), law.mean(clean.double(), place)),
        (component.variance(clean, origin=ORIGIN), law.variance(clean.double(), place)),
    ):
        assert given.shape == clean.shape and given.dtype == dtype
        scale = float(expected.abs().max())
        error = float((given.detach().double() - expected).abs().max())
        assert error <= 3e-6 * scale, f"{law.id}: off by {error:.2e} of {scale:.2e}"


def check_moments(draw: Draw, law: Law, layout: str, seed: int, dtype: torch.dtype = torch.float32) -> None:
    """Mean and variance of drawn noise at every signal, to 5 standard errors of its independent draws."""
    clean = scene(law, layout, dtype)
    noise = draw(clean, generator=stream(seed, "moments", law.id, layout), origin=ORIGIN)
    assert noise.shape == clean.shape and noise.dtype == dtype
    place = sensor_place(layout, ORIGIN, *law.shape[2:])
    centred = noise.double() - law.mean(clean.double(), place)
    variance = law.variance(clean.double(), place)
    samples = law.shape[0]
    for i, signal in enumerate(SIGNALS):
        of_signal = slice(i * samples, (i + 1) * samples)
        check_sample_moments(
            law.independent(centred[of_signal], layout),
            law.independent(variance[of_signal], layout)[0],
            f"x = {signal}",
        )


def check_sample_moments(values: Tensor, variance: Tensor | float, what: str = "") -> None:
    """(draws, places) of mean 0 and this variance: the variance's standard error comes from the fourth moment."""
    count = values.shape[0]
    variance = torch.as_tensor(variance, dtype=torch.float64)
    values = values.double()
    rounding = 1e-7
    mean_error, mean_se = values.mean(0).abs(), (variance / count).sqrt()
    assert bool((mean_error <= 5 * mean_se + rounding).all()), (
        f"{what}: mean {float(mean_error.max()):.3e} with standard error {float(mean_se.max()):.3e}"
    )
    square, fourth = values.square().mean(0), values.pow(4).mean(0)
    error, se = (square - variance).abs(), ((fourth - square.square()) / count).sqrt()
    off, of = float((error / variance).max()), float((se / variance).max())
    assert bool((error <= 5 * se + rounding**2 + 1e-6 * variance).all()), (
        f"{what}: variance off by {off:.2%} with standard error {of:.2%}"
    )


def check_distribution(draw: Draw, law: Law, layout: str, seed: int) -> None:
    """Kolmogorov-Smirnov: independent draws at x = 0.9 against the law's cumulative distribution."""
    cdf = law.cdf
    assert cdf is not None
    clean = scene(law, layout)[-law.shape[0] :]
    noise = draw(clean, generator=stream(seed, "distribution", law.id, layout), origin=ORIGIN)
    variance = law.variance(clean.double(), sensor_place(layout, ORIGIN, *law.shape[2:]))
    values = law.independent(noise.double() / variance.sqrt(), layout)[:, 0]
    p_value = float(scipy.stats.kstest(values.numpy(), lambda z: cdf(torch.as_tensor(z)).numpy()).pvalue)
    assert p_value > P_VALUE, f"{law.id}: shape of the distribution has p = {p_value:.1e}"


def check_poisson(draw: Draw, seed: int) -> None:
    """x + noise is GAIN times a Poisson count of mean x / GAIN (chi-squared); 0 photons where x <= 0."""
    for i, signal in enumerate((-0.05, 0.0, 0.01, 0.2)):
        clean = torch.full((1, 4, 64, 64), signal)
        light = max(signal, 0.0)
        noise = draw(clean, generator=stream(seed, "poisson", i))
        counts = (noise.double() + light) / GAIN
        assert float((counts - counts.round()).abs().max()) < 1e-3, "x + noise is not a whole number of photons"
        photons = counts.round().flatten()
        if light == 0:
            assert not photons.any(), "photons without light"
            continue
        rate = light / GAIN
        inner = [k for k in range(int(rate + 8 * math.sqrt(rate)) + 2) if scipy.stats.poisson.pmf(k, rate) > 1e-3]
        edges = [-math.inf, *(k + 0.5 for k in inner[:-1]), math.inf]
        cdf = scipy.stats.poisson.cdf([math.floor(e) if math.isfinite(e) else e for e in edges], rate)
        cdf[0], cdf[-1] = 0.0, 1.0
        expected = photons.numel() * (cdf[1:] - cdf[:-1])
        seen = [int(((photons > a) & (photons <= b)).sum()) for a, b in itertools.pairwise(edges)]
        p_value = float(scipy.stats.chisquare(seen, expected, sum_check=False).pvalue)
        assert p_value > P_VALUE, f"photon counts at x = {signal} have p = {p_value:.1e}"


# Structure.


def check_uncorrelated(a: Tensor, b: Tensor, what: str) -> None:
    """Zero-mean values and their squares: correlation 0 to 5 / sqrt(n)."""
    a, b = a.double().flatten(), b.double().flatten()
    for power, x, y in ((1, a, b), (2, a.square() - a.square().mean(), b.square() - b.square().mean())):
        products = x * y
        se = float(products.square().mean().sqrt()) / math.sqrt(products.numel())
        correlation = float(products.mean())
        assert abs(correlation) <= 5 * se, f"{what}: power {power} correlates by {correlation / se:.1f} standard errors"


def check_white(draw: Draw, layout: str, seed: int) -> None:
    """No correlation over columns, rows, planes, frames and samples."""
    clean = torch.full((3, 4, PLANES[layout], 24, 32), 0.3)
    noise = draw(clean, generator=stream(seed, "white", layout), origin=ORIGIN)
    for axis, name in ((-1, "columns"), (-2, "rows"), (2, "planes"), (1, "frames"), (0, "samples")):
        for lag in (1, 2):
            length = noise.shape[axis] - lag
            check_uncorrelated(noise.narrow(axis, 0, length), noise.narrow(axis, lag, length), f"{name} {lag} apart")


def check_lines(draw: Draw, layout: str, seed: int, *, along_rows: bool, static: bool) -> None:
    """Constant along a line, shared by the planes that it crosses, white over lines, frames and samples."""
    clean = torch.full((16, 2, PLANES[layout], 40, 56) if static else (4, 6, PLANES[layout], 40, 56), 0.3)
    noise = draw(clean, generator=stream(seed, "lines", layout), origin=ORIGIN)
    along = -1 if along_rows else -2
    assert bool((noise == noise.narrow(along, 0, 1)).all()), "not constant along its line"
    lines = noise.select(along, 0)  # (N, T, C, lines)
    sharing = (SHARED_ROW if along_rows else SHARED_COLUMN)[layout]
    for group in sharing:
        for plane in group[1:]:
            assert bool((lines[:, :, plane] == lines[:, :, group[0]]).all()), f"planes {group} do not share their lines"
    if static:
        assert bool((lines == lines[:, :1]).all()), "changes over the frames of a burst"
        lines = lines[:, :1]
    sensor_lines = torch.stack([lines[:, :, group[0]] for group in sharing], dim=-1).flatten(-2)  # (N, T, sensor lines)
    for lag in (1, 2, 3):
        check_uncorrelated(sensor_lines[..., :-lag], sensor_lines[..., lag:], f"lines {lag} apart")
    if not static:
        check_uncorrelated(sensor_lines[:, :-1], sensor_lines[:, 1:], "frames")
    check_uncorrelated(sensor_lines[:-1], sensor_lines[1:], "samples")


def check_row_process(draw: Draw, layout: str, seed: int, *, alternates: bool) -> None:
    """Constant along a row, but for (-1)^column; shared by planes; covariance of rows that of the spectrum.

    Every pair of rows (r, r + k) of the crop has it: wherever they lie, first and last too.
    """
    height, width = (13, 5) if layout == "mosaic" else (26, 5)
    clean = torch.full((30, 40, PLANES[layout], height, width), 0.3)
    noise = draw(clean, generator=stream(seed, "row process", layout), origin=ORIGIN).double()
    if alternates:
        noise = noise * (1 - 2 * (sensor_place(layout, ORIGIN, height, width).columns % 2))
    assert bool((noise == noise[..., :1]).all()), "not constant along its row, or the wrong sign"
    for group in SHARED_ROW[layout]:
        for plane in group[1:]:
            assert bool((noise[:, :, plane] == noise[:, :, group[0]]).all()), f"planes {group} do not share their rows"
    rows = torch.stack([noise[:, :, group[0], :, 0] for group in SHARED_ROW[layout]], dim=-1).flatten(-2)
    for middle in (0, rows.shape[-1] // 2):
        check_uncorrelated(rows[:, :-1, middle], rows[:, 1:, middle], "frames")
        check_uncorrelated(rows[:-1, :, middle], rows[1:, :, middle], "samples")
    for lag in (0, 1, 2, 3, 5, 9, 16, rows.shape[-1] - 1):
        products = (rows[..., lag:] * rows[..., : rows.shape[-1] - lag]).flatten(0, 1)  # (frames, places)
        error = products.mean(0) - row_covariance(lag)
        off = float((error.abs() / (products.std(0) / math.sqrt(len(products)))).max())
        assert off <= 5, f"covariance of rows {lag} apart is {off:.1f} standard errors off"


def check_row_place(draw: Draw, law: Law, layout: str, seed: int) -> None:
    """A crop shows the rows of its place: the same stream on the whole sensor, cut, at one origin or one per sample."""
    whole = law.build("planes").simulate(torch.zeros(3, 2, 1, *WIDE_SENSOR), generator=stream(seed, "row place"))
    origins: list[Origin] = [(0, 0), (1, 0), (0, 1), (7, 11), torch.tensor([[2, 3], [11, 4], [5, 20]])]
    for origin in origins:
        clean = torch.full((3, 2, PLANES[layout], 6, 9), 0.3)
        noise = draw(clean, generator=stream(seed, "row place"), origin=origin)
        for i, (row, column) in enumerate(torch.as_tensor(origin).expand(3, 2).tolist()):
            place = sensor_place(layout, (row, column), 6, 9)
            error = float((noise[i] - whole[i, :, 0][:, place.rows, place.columns]).abs().max())
            assert error < 1e-7, f"{law.id}: off by {error:.1e} at origin {(row, column)}"


def check_row_gain(draw: Draw, layout: str, seed: int) -> None:
    """Noise over signal is one number per sensor row and frame, white over rows, frames and samples."""
    signal = torch.rand((4, 6, PLANES[layout], 40, 56), generator=stream(seed, "signal"), dtype=torch.float64) + 0.2

    def gain(clean: Tensor, **place: Any) -> Tensor:
        ratio = draw(signal, **place) / signal
        assert float((ratio - ratio[..., :1]).abs().max()) < 1e-12, "not proportional to the signal along a row"
        return ratio[..., :1].expand(ratio.shape).float()

    check_lines(gain, layout, seed, along_rows=True, static=False)


def check_periodic(
    draw: Draw, layout: str, seed: int, *, axis: str = "column", freq: float | None = None, origin: Origin = ORIGIN
) -> None:
    """s0 a + s1 b cos(2 pi f k) + s2 c sin(2 pi f k), k the absolute sensor column: project, then test a, b and c."""
    freq = (1 / 8 if layout == "mosaic" else 1 / 4) if freq is None else freq
    samples, frames = 60, 40
    size = (3, 20) if axis == "column" else (20, 3)
    clean = torch.full((samples, frames, PLANES[layout], *size), 0.3)
    noise = draw(clean, generator=stream(seed, "periodic", layout, axis), origin=origin).double()
    origins = torch.as_tensor(origin).expand(samples, 2).tolist()
    amplitudes = torch.zeros(samples, frames, 3, dtype=torch.float64)
    for i, (row, column) in enumerate(origins):
        place = sensor_place(layout, (row, column), *size)
        angle = 2 * math.pi * freq * (place.columns if axis == "column" else place.rows).double().flatten()
        waves = torch.stack([torch.ones_like(angle), angle.cos(), angle.sin()], dim=1)  # (pixels, 3)
        seen = noise[i].flatten(1).T  # (pixels, frames)
        solved = torch.linalg.lstsq(waves, seen).solution  # (3, frames)
        left_over = float((waves @ solved - seen).abs().max())
        assert left_over < 1e-6, f"{left_over:.1e} beside the waves of the absolute sensor {axis}"
        amplitudes[i] = solved.T
    for i, std in enumerate(PERIODIC):
        check_sample_moments(amplitudes[..., i].reshape(-1, 1), std**2, f"amplitude {i}")
        check_uncorrelated(amplitudes[..., i], amplitudes[..., (i + 1) % 3], f"amplitudes {i} and {(i + 1) % 3}")
        check_uncorrelated(amplitudes[:, :-1, i], amplitudes[:, 1:, i], "frames")
        check_uncorrelated(amplitudes[:-1, :, i], amplitudes[1:, :, i], "samples")


def check_place(draw: Draw, law: Law, layout: str, seed: int) -> None:
    """The map stays at its place on the sensor: one origin or one per sample, odd ones too, any draw."""
    generator = stream(seed, "place", law.id)
    clean = torch.rand((3, 2, PLANES[layout], 6, 9), generator=generator)
    origins: list[Origin] = [(0, 0), (1, 0), (0, 1), (7, 11), torch.tensor([[2, 3], [11, 4], [5, 20]])]
    for origin in origins:
        noise = draw(clean, generator=generator, origin=origin)
        for i, (row, column) in enumerate(torch.as_tensor(origin).expand(3, 2).tolist()):
            expected = law.mean(clean[i].double(), sensor_place(layout, (row, column), 6, 9))
            error = float((noise[i].double() - expected).abs().max())
            assert error < 1e-8, f"{law.id}: off by {error:.1e} at origin {(row, column)}"


# Streams and samples.


def check_streams(draw: Draw, law: Law, layout: str, seed: int) -> None:
    """The stream alone decides the bits: not the global generator, not how often it was drawn before."""
    clean = scene(law, layout)[-1:, :, :, :16, :16]
    torch.manual_seed(1)
    first = draw(clean, generator=stream(seed, "bits"), origin=ORIGIN)
    torch.manual_seed(2)
    again = draw(clean, generator=stream(seed, "bits"), origin=ORIGIN)
    assert torch.equal(first, again), f"{law.id}: the same stream gave other bits"
    generator = stream(seed, "bits")
    draw(clean, generator=generator, origin=ORIGIN)
    after = draw(clean, generator=generator, origin=ORIGIN)
    other = draw(clean, generator=stream(seed, "other bits"), origin=ORIGIN)
    if law.cdf is not None:
        assert not torch.equal(first, other), f"{law.id}: another stream gave the same bits"
        assert not torch.equal(first, after), f"{law.id}: the second draw of a stream repeats the first"


def check_independent_samples(draw: Draw, law: Law, layout: str, seed: int) -> None:
    """Samples of a batch, and draws one after the other, do not correlate."""
    clean = scene(law, layout)[-2 * max(law.shape[0], 1) :].fill_(0.3)
    generator = stream(seed, "independent", law.id, layout)
    first, second = (draw(clean, generator=generator, origin=ORIGIN) for _ in range(2))
    half = clean.shape[0] // 2
    for place in range(min(3, law.independent(first[:half], layout).shape[1])):
        values = [law.independent(part, layout)[:, place] for part in (first[:half], first[half:], second[:half])]
        check_uncorrelated(values[0], values[1], "samples of a batch")
        check_uncorrelated(values[0], values[2], "two draws")


# Gradients.


def check_gradients(component: NoiseComponent, law: Law, layout: str, seed: int) -> None:
    """Every parameter's gradient is that of finite differences; the image's is finite, also at x <= 0."""
    component = component.double()
    clean = torch.tensor([-0.1, 0.0, 1e-12, 0.4]).double().view(4, 1, 1, 1, 1)
    clean = clean.repeat(1, 2, PLANES[layout], 3, 5).requires_grad_()
    weights = torch.randn(clean.shape, generator=stream(seed, "weights"), dtype=torch.float64)

    def loss() -> Tensor:
        noise = component.sample(clean, generator=stream(seed, "gradient"), origin=ORIGIN)
        return (noise * weights).sum()

    parameters = [p for p in component.parameters() if p.requires_grad]
    start = loss()
    if not start.requires_grad:
        assert not parameters, "no gradient for a parameter"
        return
    gradients = torch.autograd.grad(start, [clean, *parameters], allow_unused=True)
    assert gradients[0] is None or bool(torch.isfinite(gradients[0]).all()), "gradient of the image"
    for parameter, gradient in zip(parameters, gradients[1:], strict=True):
        assert gradient is not None and bool(torch.isfinite(gradient).all()), "gradient of a parameter"
        flat = parameter.data.view(-1)
        inside_crop = ORIGIN[0] * SENSOR[1] + ORIGIN[1]
        for place in [inside_crop] if len(flat) > inside_crop else range(len(flat)):
            value, step = float(flat[place]), 1e-5
            ends = []
            for shifted in (value + step, value - step):
                flat[place] = shifted
                ends.append(float(loss().detach()))
            flat[place] = value
            slope = (ends[0] - ends[1]) / (2 * step)
            given = float(gradient.view(-1)[place])
            right = abs(slope) > 1e-12 and abs(given - slope) <= 1e-4 * abs(slope) + 1e-9
            assert right, f"slope {slope}, gradient {given}"


# Whole models.


def check_frames_differ(noise: Tensor) -> None:
    """No two of the first frames of a burst repeat or correlate, whichever piece they were drawn in."""
    for a, b in itertools.combinations(noise.flatten(0, 1)[:6], 2):
        within_a, within_b = (frame - frame.mean(-1, keepdim=True) for frame in (a, b))
        check_uncorrelated(within_a, within_b, "frames")
        check_uncorrelated(a[::2, :, 0], b[::2, :, 0], "rows of frames")


def check_row_structure(noise: Tensor, white: float, row: float, what: str) -> None:
    """(rows, W) of independent rows: white variance inside a row, row + white / W of its mean."""
    noise = noise.double()
    width = noise.shape[1]
    means = noise.mean(1, keepdim=True)
    check_sample_moments(means, row + white / width, f"{what}, row means")
    inside = (noise - means).square().sum(1, keepdim=True) / (width - 1)  # chi-squared of width - 1 degrees
    se = float(inside.std()) / math.sqrt(inside.shape[0])
    seen = float(inside.mean())
    assert abs(seen - white) <= 5 * se, f"{what}: {seen:.3e} inside a row, not {white:.3e}"
