"""The fit of a row spectrum: what was simulated is found again, and a real sensor's rows are reproduced."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from noisemodel import InputError, PhysicalNoise, stream
from noisemodel.calibration.row_spectrum import RowSpectrumFit, fit_row_spectrum
from noisemodel.components.row_spectrum import bin_overlaps, spectrum_edges

IMX541 = Path(__file__).parents[2] / "shared/data/imx541"
HEIGHT = 600
STD, WHITE = 0.8, 0.05  # of the smooth part; variance of a row's mean from pixel noise
EDGES, DENSITY = (0.0, 0.02, 0.1, 0.4, 0.5), (9.0, 3.0, 0.5, 2.0)
LINES = ((20.3 / HEIGHT, 0.5, 0.4 / HEIGHT), (0.21, 0.3, 0.9 / HEIGHT))
TRUE_DENSITY = torch.tensor(DENSITY).double()
TRUE_DENSITY *= STD**2 / (TRUE_DENSITY * torch.tensor(EDGES).double().diff()).sum()


def centred(rows: Tensor) -> Tensor:
    """(T, L) less the mean over frames and over each frame's rows."""
    rows = rows - rows.mean(dim=0)
    return rows - rows.mean(dim=1, keepdim=True)


def profiles(
    bursts: int, frames: int, seed: int, *, white: float = WHITE, lines: tuple[tuple[float, float, float], ...] = LINES
) -> list[Tensor]:
    """Row means of the component's own law, with white noise."""
    model = PhysicalNoise.from_noiselist(
        "rowspectrum", layout="planes", sensor_size=(HEIGHT, 4), rowspectrum_std=STD, rowspectrum_psd=DENSITY,
        rowspectrum_edges=EDGES, rowspectrum_lines=lines,
    )  # fmt: skip
    generator = stream(seed, "rows")
    rows = model.exact_noise(torch.zeros(bursts, frames, 1, HEIGHT, 1).double(), generator=generator)[:, :, 0, :, 0]
    rows = rows + math.sqrt(white) * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    return [centred(burst) for burst in rows]


@pytest.fixture(scope="module")
def fit() -> RowSpectrumFit:
    return fit_row_spectrum(profiles(6, 10, 0), [WHITE] * 6)


FRAMES = 6 * 9  # independent ones behind that fit


def test_lines_are_found_again(fit: RowSpectrumFit) -> None:
    assert len(fit.lines) == 2
    for line, (freq, std, jitter) in zip(fit.lines, LINES, strict=True):
        for seen, true, error in (
            (line.freq, freq, line.freq_error),
            (line.std, std, line.std_error),
            (line.jitter, jitter, line.jitter_error),
        ):
            assert abs(seen - true) <= 5 * error
        assert line.freq_error < 0.3 / HEIGHT and line.jitter_error < 0.3 / HEIGHT
        assert line.std_error == pytest.approx(std / math.sqrt(2 * 2 * FRAMES), rel=0.5)  # a, b: two squares a frame


def test_the_smooth_part_is_found_again(fit: RowSpectrumFit) -> None:
    assert abs(fit.std - STD) <= 5 * fit.std_error
    assert fit.std_error < 0.02 * STD
    overlap = (
        torch.minimum(fit.edges[1:, None], torch.tensor(EDGES[1:]))
        - torch.maximum(fit.edges[:-1, None], torch.tensor(EDGES[:-1]))
    ).clamp(min=0)
    true = (overlap.double() @ TRUE_DENSITY) / fit.edges.diff()
    assert bool((fit.low <= fit.psd).all() and (fit.psd <= fit.high).all())
    outside = int(((true < fit.low) | (true > fit.high)).sum())
    assert outside <= 5  # of 24 intervals of 95 %: 1.2 expected, more than 5 has a chance of 1e-3
    se = (fit.high - fit.low) / (2 * 1.96)
    assert bool(((fit.psd - true).abs() <= 5 * se).all())


def test_powers_add_up(fit: RowSpectrumFit) -> None:
    total = sum(float(p.square().sum()) / (len(p) - 1) / (HEIGHT - 1) for p in profiles(6, 10, 0)) / 6
    assert fit.variance == pytest.approx(total - WHITE, rel=0.01)  # of the very frames it was fitted to
    assert fit.covariance(0) == pytest.approx(fit.variance)
    assert fit.band_power(0.0, 0.5) == pytest.approx(fit.variance, rel=1e-3)
    parts = [fit.band_power(low, high) for low, high in itertools.pairwise((0.0, 0.03, 0.05, 0.3, 0.5))]
    assert sum(parts) == pytest.approx(fit.band_power(0.0, 0.5))
    assert fit.band_power(18 / HEIGHT, 23 / HEIGHT) > LINES[0][1] ** 2 / 2


def test_the_covariance_is_that_of_the_rows(fit: RowSpectrumFit) -> None:
    rows = profiles(1, 400, 5, white=0.0)[0]
    for lag in (1, 2, 5, 30):
        products = (rows[:, lag:] * rows[:, :-lag]).mean(dim=1)
        spread = float(products.std()) * math.sqrt(1 / 400 + 1 / FRAMES)
        assert abs(fit.covariance(lag) - float(products.mean())) <= 5 * spread + fit.variance / HEIGHT


@pytest.mark.parametrize("frames", (2, 3))
def test_few_frames_give_no_bias(frames: int) -> None:
    """At T = 2 the correction that must be there is a factor of 2."""
    found = [fit_row_spectrum(profiles(7, frames, seed), [WHITE] * 7).variance for seed in range(6)]
    true = STD**2 + sum(std**2 for _, std, _ in LINES)
    assert abs(np.mean(found) - true) <= 5 * np.std(found, ddof=1) / math.sqrt(6)
    assert np.std(found, ddof=1) / math.sqrt(6) < 0.05 * true


def test_start_values_build_the_law_again(fit: RowSpectrumFit) -> None:
    for word in ("rowspectrum", "rowparity"):
        model = PhysicalNoise.from_noiselist(word, layout="planes", sensor_size=(HEIGHT, 4), **fit.start(word))
        component = model.component(word)
        centre = (fit.edges[1:] + fit.edges[:-1]) / 2
        torch.testing.assert_close(component.psd(centre).detach(), fit.psd, rtol=1e-4, atol=0.0)
        assert float(model.variance(torch.zeros(1, 1, 2, 2)).detach().mean()) == pytest.approx(fit.variance, rel=1e-5)
        for line, found in zip(component.lines, fit.lines, strict=True):
            assert line == pytest.approx((found.freq, found.std, found.jitter, found.steady), rel=1e-5)


def test_white_rows_show_lines_as_often_as_said() -> None:
    """Chance 0.1 that a spectrum shows one: 100 of them show at most 10 + 5 sqrt(9)."""
    generator = stream(0, "white rows")
    alarms = 0
    for _ in range(100):
        rows = centred(torch.randn((5, 200), generator=generator, dtype=torch.float64))
        alarms += bool(fit_row_spectrum([rows], [0.5], bins=8, false_alarm=0.1).lines)
    assert alarms <= 10 + 5 * math.sqrt(9)


def test_a_smooth_rise_is_no_line() -> None:
    """Without lines, however many frames there are."""
    assert not fit_row_spectrum(profiles(20, 20, 3, lines=()), [WHITE] * 20).lines


@pytest.mark.parametrize("seed", (102, 106))
def test_the_edge_of_a_step_is_no_line(seed: int) -> None:
    """The spectrum falls by 6 and rises by 4 between two ordinates; a two-sided median calls that a line here."""
    assert len(fit_row_spectrum(profiles(6, 10, seed), [WHITE] * 6).lines) == 2


def test_loud_bursts_do_not_decide() -> None:
    """A bright burst of 100 times the white part moves nothing by more than its share of the weight."""
    quiet = profiles(4, 10, 1)
    loud = profiles(2, 10, 2, white=100 * WHITE)
    alone = fit_row_spectrum(quiet, [WHITE] * 4)
    together = fit_row_spectrum([*quiet, *loud], [WHITE] * 4 + [100 * WHITE] * 2)
    assert abs(together.std - alone.std) <= 3 * alone.std_error
    assert together.std_error < 1.2 * alone.std_error


def test_rows_without_noise_of_their_own_are_floored() -> None:
    rows = centred(torch.randn((10, 200), generator=stream(1, "white"), dtype=torch.float64))
    fit = fit_row_spectrum([rows], [1.0])
    assert bool((fit.psd > 0).all()) and fit.std < 0.5
    assert bool((fit.low <= fit.psd).all())


@pytest.mark.parametrize("height", (32, 33, 101, 1128))
@pytest.mark.parametrize("bins", (2, 5, 24, 60))
def test_every_bin_has_an_ordinate(height: int, bins: int) -> None:
    rows = centred(torch.randn((4, height), generator=stream(2, "white"), dtype=torch.float64))
    fit = fit_row_spectrum([rows], [0.0], bins=bins, false_alarm=1e-9)
    ordinates = torch.arange(1, (height - 1) // 2 + 1) / height
    assert bool((torch.histogram(ordinates.double(), fit.edges)[0] > 0).all())
    assert len(fit.edges) <= bins + 1 and float(fit.edges[0]) == 0.0 and float(fit.edges[-1]) == 0.5
    total = float(rows.square().sum()) / 3 / height
    assert fit.std**2 == pytest.approx(total, rel=5 * math.sqrt(2 / (3 * height)) + 3 / height)


def test_edges_are_fine_at_both_ends() -> None:
    edges = spectrum_edges(24, 1e-3)
    assert len(edges) == 25 and float(edges[0]) == 0 and float(edges[-1]) == 0.5
    torch.testing.assert_close(edges.flip(0), 0.5 - edges)
    assert bool((edges.diff() > 0).all()) and float(edges.diff()[0]) == pytest.approx(1e-3)


@pytest.mark.parametrize("length", (8, 50, 2256))
def test_power_is_exact_at_any_length(length: int) -> None:
    edges = spectrum_edges(16, 1e-3)
    torch.testing.assert_close(bin_overlaps(length, edges).sum(dim=0), edges.diff())


GOOD = torch.randn((3, 64), generator=stream(0, "good"))


@pytest.mark.parametrize(
    ("rows", "white", "options", "words"),
    [
        ([], [], {}, "one per burst, got none"),
        ([torch.zeros(64)], [0.0], {}, r"\(T, L\)"),
        ([GOOD, torch.randn(3, 65, generator=stream(0, "odd"))], [0.0, 0.0], {}, "one length"),
        ([GOOD[:, :20]], [0.0], {}, "at least 32 rows"),
        ([GOOD[:1]], [0.0], {}, "2 frames or more"),
        ([GOOD], [], {}, "one variance"),
        ([GOOD], [-1.0], {}, "one variance"),
        ([GOOD / 0], [0.0], {}, "NaN"),
        ([0 * GOOD], [0.0], {}, "all 0"),
        ([GOOD], [0.0], {"bins": 1}, "bins must be 2"),
        ([GOOD], [0.0], {"false_alarm": 0.0}, "false_alarm"),
    ],
)
def test_wrong_profiles_are_refused(rows: list[Tensor], white: list[float], options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_row_spectrum(rows, white, **options)


# A real sensor.


def dark(exposure: str, *, alternating: bool) -> tuple[Tensor, float]:
    """Row means of a dark burst [DN], and the variance that a row's mean has from pixel noise."""
    frames = torch.from_numpy(np.load(IMX541 / f"dark_exp{exposure}us.npz")["frames"].astype(np.float32))
    residual = frames - frames.mean(dim=0)
    white = float(residual.square().sum(dtype=torch.float64)) / (len(frames) - 1) / residual[0].numel()
    if alternating:
        residual = residual * (1 - 2 * (torch.arange(frames.shape[2]) % 2))
    return centred(residual.double().mean(dim=2)), white / frames.shape[2]


def figures(rows: Tensor) -> Tensor:
    """Per frame: variance, covariances at lags 1 and 2, and powers at 20 (+- 3) and 40 (+- 4) cycles, (5, T)."""
    length = rows.shape[1]
    power = torch.fft.rfft(rows).abs().square() * (2 / length**2)
    bands = [power[:, centre - half : centre + half + 1].sum(dim=1) for centre, half in ((20, 3), (40, 4))]
    lags = [(rows[:, k:] * rows[:, : length - k]).mean(dim=1) for k in (0, 1, 2)]
    return torch.stack([*lags, *bands])


@pytest.mark.skipif(not IMX541.is_dir(), reason=f"recordings of the IMX541 are not in {IMX541}")
@pytest.mark.parametrize("word", ("rowspectrum", "rowparity"))
def test_imx541(word: str) -> None:
    """Fitted to one dark burst, the law has the correlations and the line powers of another.

    Within 2 standard errors of the difference of two bursts of 8 frames; the spread is that of all 16 frames about
    their common mean, for lines wander between bursts too.
    """
    (rows, white), (other, other_white) = (dark(e, alternating=word == "rowparity") for e in ("000081", "001757"))
    fit = fit_row_spectrum([rows], [white])
    height, frames = rows.shape[1], len(rows)
    assert len(fit.lines) >= 4
    model = PhysicalNoise.from_noiselist(word, layout="planes", sensor_size=(height, 4), **fit.start(word))
    drawn = model.exact_noise(torch.zeros(1, 500, 1, height, 1), generator=stream(0, "imx541"))[0, :, 0, :, 0].double()
    drawn += math.sqrt(other_white) * torch.randn(drawn.shape, generator=stream(0, "pixels"), dtype=torch.float64)
    generated = figures(drawn - drawn.mean(dim=1, keepdim=True)).mean(dim=1)
    real = torch.stack([figures(r * math.sqrt(frames / (frames - 1))) for r in (rows, other)], dim=1)  # (5, 2, T)
    mean = real.mean(dim=(1, 2))
    correlations = real[1:3] - (mean[1:3] / mean[0])[:, None, None] * real[:1]  # of a ratio, to first order
    checked = torch.cat([correlations / mean[0], real[3:]])
    error = checked.flatten(1).std(dim=1) * math.sqrt(2 / frames)
    expected = torch.cat([real[1:3, 1].mean(dim=1) / real[0, 1].mean(), real[3:, 1].mean(dim=1)])
    seen = torch.cat([generated[1:3] / generated[0], generated[3:]])
    assert bool(((seen - expected).abs() <= 2 * error).all()), ((seen - expected) / error).tolist()
    if word == "rowspectrum":
        assert math.sqrt(fit.variance) == pytest.approx(0.12, abs=0.006)
        twenty = max(fit.lines, key=lambda line: line.std)
        assert abs(twenty.freq * height - 20) < 3 and twenty.std == pytest.approx(0.073, rel=0.2)


# Steady lines: random phase, constant power.

LENGTH, LINE = 512, 0.05


def line_frames(steady: float, frames: int, seed: int = 0) -> torch.Tensor:
    lines = ((40 / LENGTH, LINE, 0.0, steady),)
    model = PhysicalNoise.from_noiselist(
        "rowspectrum", layout="planes", sensor_size=(LENGTH, 1), rowspectrum_std=0.01, rowspectrum_lines=lines
    )
    with torch.no_grad():
        noise = model.measure(torch.zeros(1, frames, 1, LENGTH, 1), generator=stream(seed, "steady")).noise
    return noise[0, :, 0, :, 0].double()


@pytest.mark.parametrize("steady", [0.0, 0.6, 1.0])
def test_a_line_keeps_its_power_and_its_scatter_follows_its_steady_share(steady: float) -> None:
    """With L the line's power per frame over its mean: E L = 1, var L = 1 - m^2; phases even over a turn."""
    frames = 4000
    turn = 2 * torch.pi * 40 / LENGTH * torch.arange(LENGTH, dtype=torch.float64)
    phasor = 2 / LENGTH * (line_frames(steady, frames).to(torch.complex128) @ torch.exp(1j * turn))
    smooth = 2 * 0.01**2 / LENGTH  # variance that the smooth part adds to each of a, b
    power = phasor.abs().square() / (2 * LINE**2)
    variance = 1 - steady**2
    assert abs(float(power.mean()) - 1 - smooth / LINE**2) < 5 * math.sqrt(variance / frames + 1e-4 / frames)
    spread = 5 * (math.sqrt(8 / frames) * variance + 0.02)
    assert abs(float(power.var()) - variance) < spread
    assert float(phasor.angle().cos().mean().abs()) < 5 * math.sqrt(0.5 / frames)


def test_a_steady_line_is_told_from_a_gaussian_one() -> None:
    """Two bursts of 8 frames, 20 cameras each: most steady ones are seen, hardly a Gaussian one is taken for one."""
    told = {}
    for steady in (0.0, 1.0):
        shares = []
        for seed in range(20):
            bursts = [line_frames(steady, 8, seed=100 * half + seed) for half in range(2)]
            centred = [b - b.mean(dim=0) for b in bursts]
            fit = fit_row_spectrum([b - b.mean(dim=1, keepdim=True) for b in centred], [0.0, 0.0])
            shares.append(fit.lines[0].steady if fit.lines else 0.0)
        told[steady] = sum(share > 0.5 for share in shares)
    assert told[1.0] >= 12
    assert told[0.0] <= 3
