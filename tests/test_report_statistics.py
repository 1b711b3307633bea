"""What the page computes: the fitted line, two-dimensional spectra, autocorrelation, quantiles."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from noisemodel import Levels, stream
from noisemodel.evaluation.recording import Pair, Recording
from noisemodel.evaluation.report.distributions import TAIL_VALUES, probabilities
from noisemodel.evaluation.report.fitted_line import fit_line
from noisemodel.evaluation.report.spectrum_2d import correlation, spectrum_2d
from noisemodel.sensor import pack_mosaic

LEVELS = Levels(0.0, 1000.0)


def pair_of(real: Tensor, generated: Tensor, layout: str = "planes", valid: Tensor | None = None) -> Pair:
    """A dark of residuals (T, C, h, w)."""
    zero = torch.zeros_like(real[:1])
    valid = torch.ones_like(zero, dtype=torch.bool) if valid is None else valid
    return Pair(Recording("d", "dark", layout, LEVELS, real, zero, zero, valid, (0, 0), False), real, generated)


def rows_and_white(row_std: float, name: str, frames: int = 8, side: int = 128) -> Tensor:
    """(T, 1, side, side): row noise beside white noise of std 1."""
    generator = stream(0, "report", name)
    white = torch.randn(frames, 1, side, side, generator=generator)
    return white + row_std * torch.randn(frames, 1, side, 1, generator=generator)


def test_the_line_is_found_and_its_intervals_cover_it() -> None:
    signal = torch.tensor([200.0, 500.0, 900.0, 1400.0, 2000.0], dtype=torch.float64)  # the intercept lies outside
    error = torch.full_like(signal, 2.0)
    trials, covered, at = 400, np.zeros(2), np.array([100.0])
    inside = 0
    for trial in range(trials):
        noise = torch.randn(5, generator=stream(trial, "line"), dtype=torch.float64)
        found = fit_line(signal, 0.4 * signal + 0.8 + error * noise, error)
        assert found is not None and found.freedom == 3
        halves = 1.96 * np.sqrt(np.diag(found.covariance)) / found.widening
        covered += np.abs(np.array([found.slope - 0.4, found.intercept - 0.8])) <= halves
        inside += int(abs(found.at(at) - 40.8)[0] <= found.half_width(at)[0] / found.widening)
    margin = 5 * math.sqrt(0.95 * 0.05 * trials)
    assert np.all(np.abs([*covered, inside] - np.float64(0.95 * trials)) <= margin)


def test_a_line_that_does_not_fit_says_so() -> None:
    signal = torch.linspace(0, 1000, 8, dtype=torch.float64)
    found = fit_line(signal, signal + 1e-3 * signal**2, torch.full((8,), 2.0, dtype=torch.float64))
    assert found is not None and found.p_value < 1e-6 and found.widening > 3
    assert found.residuals[0] > 0 > found.residuals[4] < 0 < found.residuals[-1]  # bowed
    exact = fit_line(signal[:2], signal[:2], torch.ones(2))
    assert exact is not None and math.isnan(exact.p_value) and exact.slope == pytest.approx(1.0)
    assert fit_line(signal[:1], signal[:1], torch.ones(1)) is None
    assert fit_line(torch.ones(3), torch.ones(3), torch.ones(3)) is None


def test_row_noise_is_a_vertical_line_in_the_spectrum_and_white_noise_is_flat() -> None:
    """Rows share their noise: all its power is at frequency 0 across columns, 1 + L s^2 over 1 + s^2."""
    found = spectrum_2d([pair_of(rows_and_white(0.5, "a"), rows_and_white(0.0, "b"))])
    side = len(found.frequency)
    assert float(found.real.mean()) == pytest.approx(1.0) and found.frequency[side // 2] == 0
    column = found.real[:, side // 2]
    expected = (1 + side * 0.25) / 1.25
    draws = side * found.spectra / 2  # frequencies +f and -f are one
    assert float(column.mean()) == pytest.approx(expected, rel=5 / math.sqrt(draws))
    others = torch.cat([found.real[:, : side // 2], found.real[:, side // 2 + 1 :]], dim=1)
    assert float(others.mean()) == pytest.approx(1 / 1.25, rel=5 / math.sqrt(others.numel() * found.spectra / 2) + 0.01)
    assert float(found.generated[:, side // 2].mean()) == pytest.approx(1 / 1.25, rel=0.1)


def test_a_mosaic_is_seen_in_sensor_pixels() -> None:
    """Row noise of the sensor, packed: neighbours in a row are correlated s^2 / (1 + s^2), in a column not at all."""
    sensor = rows_and_white(0.5, "mosaic", frames=8)[:, 0]
    packed = pack_mosaic(sensor)
    plain = rows_and_white(0.5, "other", frames=8)
    for pair in (pair_of(packed, packed, "mosaic"), pair_of(plain, plain)):
        found = correlation([pair], 3)
        assert float(found.real[3, 3]) == 1.0 and torch.allclose(found.real, found.real.flip(0, 1))
        scatter = 5 * 0.25 / 1.25 * math.sqrt(2 / (8 * 128)) + 5 / math.sqrt(8 * 128**2)
        assert torch.all((found.real[3, 4:] - 0.2).abs() < scatter)
        assert torch.all(found.real[4:, 3].abs() < 5 * 0.2 / math.sqrt(8 * 125) + 5 / math.sqrt(8 * 125 * 128))
        assert torch.all(found.real_error[3, 4:] < scatter)


def test_saturated_pixels_do_not_count() -> None:
    residual = rows_and_white(0.0, "mask", frames=4, side=64)
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., :20, :] = False
    spoilt = torch.where(valid, residual, 1000.0)
    clean, damaged = (pair_of(r, r, valid=valid) for r in (residual, spoilt))
    torch.testing.assert_close(spectrum_2d([clean]).real, spectrum_2d([damaged]).real)
    torch.testing.assert_close(correlation([clean], 4).real, correlation([damaged], 4).real)
    assert float(correlation([clean], 4).real[4, 5:].abs().max()) < 5 / math.sqrt(4 * 44 * 60)


def test_quantiles_reach_as_far_as_there_are_values() -> None:
    chance = probabilities(100_000)
    assert chance[0] == pytest.approx(TAIL_VALUES / 100_000) and np.all(np.diff(chance) > 0)
    np.testing.assert_allclose(chance + chance[::-1], 1.0)
    assert probabilities(10)[0] == 0.25
