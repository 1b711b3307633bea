"""Closed-form calibration: what cannot be told, checks that a fault is noticed, moments, a real sensor."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_calibration as whole
import torch
from scipy import stats
from test_calibration import (
    LEVELS,
    READ,
    ROW,
    SIZE,
    Recording,
    calibrate,
    calibrated,
    check_std,
    errors_of,
    ramp,
    record,
)

import noisemodel.calibration.line_terms as line_terms
import noisemodel.calibration.moments as moments
import noisemodel.calibration.waves as waves
from datasets import load_bursts
from datasets.burst import Burst
from noisemodel import PhysicalNoise, stream
from noisemodel.calibration import BurstMoments, Evidence, burst_moments, calibrate_closed_form
from noisemodel.calibration.figures import figures
from noisemodel.calibration.residuals import LineStats, Residuals
from noisemodel.errors import InputError

IMX541 = Path(__file__).parents[2] / "shared/data/imx541"


def test_readtl_finds_its_shape_in_the_dark() -> None:
    rng = np.random.default_rng(3)
    shape, scale = -0.2, 1.5
    dn = np.clip(stats.tukeylambda.rvs(shape, scale=scale, size=(8, *SIZE), random_state=rng) + 100, 0, 1100)
    dark = Burst("dark", "dark", Recording(dn), "planes", LEVELS)
    result = calibrate_closed_form([dark], "readtl", LEVELS)
    assert result.start["readtl_lambda"] == pytest.approx(shape, abs=0.08)
    variance = (result.start["readtl_scale"] * 1000) ** 2 * stats.tukeylambda.var(result.start["readtl_lambda"])
    assert variance == pytest.approx(scale**2 * stats.tukeylambda.var(shape), rel=0.03)
    scenes = calibrate_closed_form([record(ramp(30, 600), 4, 0)], "shot_read_readtl", LEVELS)
    assert any("shape needs dark bursts" in note for note in scenes.notes)


# What cannot be.


def test_falling_variance_is_refused() -> None:
    rng = np.random.default_rng(0)
    scene = ramp(30, 600)
    dn = 100 + scene + (10 - scene / 100) * rng.standard_normal((4, *SIZE))
    burst = Burst("falls", "scene", Recording(dn), "planes", LEVELS)
    with pytest.raises(InputError, match="variance does not grow with signal"):
        calibrate_closed_form([burst], "shot_read", LEVELS)
    assert "shot_gain" not in calibrate_closed_form([burst], "read", LEVELS).start
    darks = [record(0.0, 4, i, kind="dark") for i in range(2)]
    for bursts in (darks, [record(300.0, 4, 0, kind="flat")]):
        with pytest.raises(InputError, match="add brighter bursts"):
            calibrate_closed_form(bursts, "shot_read", LEVELS)


def test_no_valid_pixel_is_refused() -> None:
    dn = 1080 + np.random.default_rng(0).standard_normal((4, *SIZE))
    with pytest.raises(InputError, match="no pixel lies between"):
        calibrate_closed_form([Burst("bright", "scene", Recording(dn), "planes", LEVELS)], "shot_read", LEVELS)


def test_what_is_not_there_starts_at_a_noted_floor() -> None:
    bursts = [record(ramp(30, 600), 4, i, row=0.0, column=0.0, wave=0.0) for i in range(2)]
    result = calibrate_closed_form(bursts, "shot_read_row1_col1_periodic", LEVELS)
    dark = math.sqrt(result.white_line[0])
    for word in ("row1", "col1"):
        assert 0 < result.start[f"{word}_std"] < 0.1 * dark
    assert result.start["periodic_freq"] == 1 / 4
    assert any(note.startswith("periodic: no line") for note in result.notes)
    floored = [note for note in result.notes if "starts at" in note]
    assert len(floored) >= 2 and all(std > 0 for std in result.start["periodic_std"])


# Break it once: the checks notice.


def test_without_its_t_over_t_minus_1_the_bias_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Biased(Residuals):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.variance = self.variance * (len(self.measuring) - 1) / len(self.measuring)

    monkeypatch.setattr(moments, "Residuals", Biased)
    mean, error = errors_of(4, range(10, 16))
    assert (np.abs(mean[:2]) > 5 * error[:2]).all(), (mean, error)


def test_a_white_part_left_in_the_row_means_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = line_terms.line_variance

    def with_white(line: LineStats) -> line_terms.LineVariance:
        return original(dataclasses.replace(line, white=torch.where(line.white.isnan(), line.white, 0.0)))

    monkeypatch.setattr(line_terms, "line_variance", with_white)
    mean, error = errors_of(4, range(10, 16), size=(96, 32))
    assert abs(mean[2]) > 5 * error[2], (mean, error)


def test_a_wave_left_in_the_columns_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(m: BurstMoments, freq: float) -> LineStats:
        return m.columns

    monkeypatch.setattr(waves, "without_wave", kept)
    with pytest.raises(AssertionError, match="col1"):
        whole.test_row_column_and_periodic_noise_of_an_own_recording("planes", True)


def test_a_line_taken_for_the_wrong_axis_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Turned(Residuals):
        def lines(self, axis: int, static: torch.Tensor | None) -> LineStats:
            return super().lines(-3 - axis, static)

    square = [record(ramp(30, 900, (96, 96)), 4, i, size=(96, 96), column=0.0, wave=0.0) for i in range(3)]
    check_std(calibrated(square)[2], ROW, 96 * 9, READ**2 / 96 + 2.5, "row1")
    monkeypatch.setattr(moments, "Residuals", Turned)
    with pytest.raises(AssertionError, match="row1"):
        check_std(calibrated(square)[2], ROW, 96 * 9, READ**2 / 96 + 2.5, "row1")


def test_what_line_means_take_from_dark_pixels_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dark column beside bright ones: the row means carry light's noise into it, and out of it again."""
    scene = np.full(SIZE, 800.0)
    scene[:, :8] = 5.0
    quiet = {"row": 0.0, "column": 0.0, "wave": 0.0}

    def off() -> float:
        """Mean variance of the dark pixels less the true one, in standard errors of what it was measured from."""
        bursts = [burst_moments(record(scene, 9, i, kind="flat", **quiet)) for i in range(12)]
        seen = [float(m.variance[0, :, 1:7].mean()) * LEVELS.range_dn**2 for m in bursts]
        carried = READ**2 + 5 * 0.5 + 2 * 0.5 * 800 / SIZE[1]
        return (np.mean(seen) - READ**2 - 5 * 0.5) / (carried * math.sqrt(2 / (12 * 8 * SIZE[0] * 6)))

    assert abs(off()) < 5
    monkeypatch.setattr(Residuals, "_unmixed", lambda self, variance: variance)
    assert abs(off()) > 5


# Moments themselves.


def test_moments_do_not_depend_on_where_the_burst_lies() -> None:
    """Phase of the wave by the burst's origin: a window of the sensor gives the wave of the sensor."""
    whole = record(0.0, 12, 0, kind="dark", truth=True, column=0.0)
    window = dataclasses.replace(
        whole, source=Recording(whole.source.dn[..., 13:]), origin=(0, 13), truth=torch.zeros(1, 96, 115)
    )
    one, other = (calibrate_closed_form([b], "read_periodic", LEVELS).start["periodic_std"] for b in (whole, window))
    # f = 5/64 is no whole number of waves in 115 columns: the frequency is a bin beside it.
    assert np.allclose(one[1:], other[1:], rtol=0.3)


def test_moments_have_the_signal_and_count_of_what_is_valid() -> None:
    scene = ramp(30, 600)
    scene[:, -32:] = 2000.0
    for truth in (True, False):
        found = burst_moments(record(scene, 6, 0, truth=truth))
        levels = found.levels
        assert int(levels.count.sum()) == 96 * 96
        mean = float((levels.signal * levels.count).sum() / levels.count.sum()) * 1000
        assert mean == pytest.approx(scene[:, :96].mean(), abs=2)
        assert int((~found.columns.white.isnan()).sum()) == 96 and not found.rows.white.isnan().any()


# A real sensor.


@pytest.mark.skipif(not IMX541.is_dir(), reason=f"recordings of the IMX541 are not in {IMX541}")
def test_imx541() -> None:
    """0.42 DN/e- and 0.886 DN of white noise in the dark, each to 3 %."""
    data = load_bursts(IMX541, black_level=10.3, white_level=4095)
    start, result = calibrate(data, "shot_read_row1")
    assert start["shot_gain"] == pytest.approx(0.42, rel=0.03)
    assert start["read_std"] == pytest.approx(0.886, rel=0.03)
    assert not result.held
    found = figures(Evidence(data.bursts, data.levels))
    truth = {"gain_dn_per_e": (0.401, 0.424), "dark_std_dn": (0.886,), "row_std_dn": (0.12,), "black_dn": (10.32,)}
    for name, values in truth.items():  # the maker's 0.422 DN/e-; fits of the low and of all light differ by 5 %
        assert all(found[name].low <= value <= found[name].high for value in values), (name, found[name])
    assert 0.115 < found["row_std_dn"].value < 0.125
    assert found["noisy_pixel_share"].value == pytest.approx(5.5e-3, rel=0.3)  # random telegraph: about 0.5 %


def test_black_subtracted_frames_are_not_taken_for_clipped(tmp_path: Path) -> None:
    """The same numbers, raw and with the black level subtracted, are one camera: negative darks are not cut."""
    rng = np.random.default_rng(0)
    signals = {"dark_0": 0.0, "dim": 40.0, "bright": 600.0}
    frames = {
        k: np.rint(rng.poisson(x / 0.5, (8, 96, 96)) * 0.5 + rng.normal(64, 2, (8, 96, 96))) for k, x in signals.items()
    }
    found = []
    for name, black in (("raw", 64.0), ("subtracted", 0.0)):
        (tmp_path / name).mkdir()
        for burst, dn in frames.items():
            np.save(tmp_path / name / f"{burst}.npy", (dn - 64 + black).astype(np.float32))
        data = load_bursts(tmp_path / name, black_level=black, white_level=959 + black)
        found.append(calibrate_closed_form(data.bursts, "shot_read", data.levels).start)
        recorded = PhysicalNoise.from_noiselist("shot_read", layout="planes", levels=data.levels, **found[-1]).simulate(
            torch.zeros(1, 1, 96, 96), generator=stream(0, "recorded", name)
        )
        assert float(recorded.min()) < -3 / 959
    assert found[0]["read_std"] == pytest.approx(found[1]["read_std"], rel=1e-6)
    assert found[0]["shot_gain"] == pytest.approx(found[1]["shot_gain"], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_one_light_level_does_not_tell_gain_from_read_noise(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dn = rng.poisson(600, (8, 64, 64)) * 0.5 + rng.normal(64, 2, (8, 64, 64))
    np.save(tmp_path / "flat_0.npy", np.rint(dn).astype(np.uint16))
    data = load_bursts(tmp_path, black_level=64, white_level=1023)
    with pytest.raises(InputError, match=r"add (darks|brighter)"):
        calibrate_closed_form(data.bursts, "shot_read", data.levels)
