"""Closed-form calibration: what was simulated is found again, to 5 standard errors of its independent draws."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datasets import BurstSet, SimulatedCamera, simulated_bursts
from datasets.burst import Burst, Kind
from noisemodel import Levels
from noisemodel.calibration import ClosedForm, Evidence, calibrate_closed_form
from noisemodel.calibration.moments import SignalLevels
from noisemodel.calibration.photon_transfer import photon_transfer

WORDS = "shot_read_uniform_row1_rowt_fixed1_periodic"
SIZE = (96, 128)
CAMERA = SimulatedCamera()
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recording:
    """Frames in DN, held in memory."""

    dn: Array = field(repr=False)
    path: Path = Path("recording")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dn.shape

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Array:
        return self.dn[list(frames)][..., rows, columns]


LEVELS = Levels(100.0, 1100.0)
GAIN, READ, ROW, COLUMN, WAVE, FREQ = 0.5, 3.0, 1.2, 0.9, 0.8, 5 / 64


def record(
    exposure: Array | float,
    frames: int,
    seed: int,
    *,
    kind: Kind = "scene",
    layout: str = "planes",
    truth: bool = False,
    row: float = ROW,
    column: float = COLUMN,
    wave: float = WAVE,
    drift: float = 0.0,
    size: tuple[int, int] = SIZE,
    gain_map: Array | float = 0.0,
) -> Burst:
    """A burst with row, column and periodic noise, written out here; ``exposure`` and ``drift`` in DN."""
    rng = np.random.default_rng(seed)
    light = np.broadcast_to(np.asarray(exposure, float), size)
    dn = GAIN * rng.poisson(light * (1 + gain_map) / GAIN, (frames, *size)) + LEVELS.black_dn
    dn = dn + READ * rng.standard_normal(dn.shape) + drift * rng.standard_normal((frames, 1, 1))
    dn += row * rng.standard_normal((frames, size[0], 1)) + column * rng.standard_normal((frames, 1, size[1]))
    angle = 2 * np.pi * FREQ * np.arange(size[1])
    for phase in (np.cos(angle), np.sin(angle)):
        dn += wave * rng.standard_normal((frames, 1, 1)) * phase
    dn = np.clip(dn, 0, LEVELS.white_dn)
    clean = torch.from_numpy(light.copy()).float()[None] / LEVELS.range_dn
    if layout == "mosaic":
        clean = torch.stack([clean[0, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)])
    return Burst(f"{kind}{seed}", kind, Recording(dn), layout, LEVELS, truth=clean if truth else None)


def ramp(low: float, high: float, size: tuple[int, int] = SIZE) -> Array:
    return np.linspace(low, high, size[1]) * np.ones((size[0], 1))


def in_dn(start: dict[str, Any], levels: Levels) -> dict[str, Any]:
    """Start values in DN; the frequency as it is."""
    scaled = {k: np.array(v) * levels.range_dn for k, v in start.items() if k.endswith(("_gain", "_std"))}
    return {k: v for k, v in start.items() if k not in scaled} | scaled


def calibrate(data: BurstSet, words: str = WORDS) -> tuple[dict[str, Any], ClosedForm]:
    result = calibrate_closed_form(data.bursts, words, data.levels)
    return in_dn(result.start, data.levels), result


def check_std(seen: float, true: float, draws: float, others: float = 0.0, what: str = "") -> None:
    """A std from ``draws`` independent squares, of which ``others`` (a variance) was taken off again."""
    se = (true**2 + others) / true * math.sqrt(1 / (2 * draws))
    assert abs(seen - true) <= 5 * se, f"{what}: {seen:.4g}, not {true:.4g}: {(seen - true) / se:+.1f} standard errors"


def check_camera(data: BurstSet, words: str = WORDS, camera: SimulatedCamera = CAMERA) -> None:
    """Every figure of the simulated camera; 4 darks decide on the dark ones."""
    start, _ = calibrate(data, words)
    rows, columns = data.sensor_size
    bursts, darks = len(data.bursts), len(data.darks)
    frames = data.bursts[0].shape[0]
    pixels, extra = rows * columns, frames - 1
    used = extra if data.has_truth or frames < 3 else frames - len(range(0, frames, 3)) - 1
    white = camera.read_std**2 + 1 / 12
    lines = camera.row1_std**2 + camera.periodic_std[1] ** 2
    # The waves of a whole frame are one draw each: they stay in the intercept, and are taken off with their own error.
    wave_error = camera.periodic_std[1] ** 2 * math.sqrt(1 / (darks * extra))
    read_error = math.hypot((white + lines) * math.sqrt(2 / (darks * pixels * used)), wave_error)
    assert abs(start["read_std"] ** 2 - camera.read_std**2) < 5 * read_error, f"read {start['read_std']:.4f}"
    gain = start["shot_gain"]
    assert abs(gain / camera.gain - 1) < 5 * math.sqrt(2 / (4 * pixels * used)), f"gain {gain:.5f}"
    row_white = white / columns
    check_std(start["row1_std"], camera.row1_std, darks * rows * extra, row_white, "row1")
    if "rowt" in words:
        rest = (camera.row1_std**2 + row_white) / frames
        check_std(start["rowt_std"], camera.rowt_std, rows * (darks - 1), rest, "rowt")
    assert start["periodic_freq"] == camera.periodic_freq
    for i in (1, 2):
        rest = 2 * white / pixels
        check_std(start["periodic_std"][i], camera.periodic_std[i], darks * extra, rest, f"periodic.std{i}")
    s0_bursts = bursts if data.has_truth else darks
    s0_rest = (camera.row1_std**2 + white / columns) / rows
    check_std(start["periodic_std"][0], camera.periodic_std[0], s0_bursts * extra, s0_rest, "periodic.std0")


# The simulated camera.


@pytest.mark.parametrize("with_truth", (True, False))
@pytest.mark.parametrize("seed", (0, 1))
def test_the_simulated_camera_is_found_again(with_truth: bool, seed: int) -> None:
    check_camera(simulated_bursts(seed=seed, frames=4, size=SIZE, with_truth=with_truth))


def test_another_camera_is_found_again() -> None:
    camera = SimulatedCamera(
        gain=2.5, read_std=6.0, row1_std=2.0, rowt_std=1.0, periodic_std=(1.0, 1.5, 1.5), periodic_freq=3 / 32
    )
    check_camera(simulated_bursts(seed=3, frames=5, size=SIZE, camera=camera), camera=camera)


def errors_of(frames: int, seeds: range, size: tuple[int, int] = (64, 96)) -> tuple[Array, Array]:
    """Mean relative error of shot, read and row1 without ground truth, and its standard error, over seeds."""
    found = []
    for seed in seeds:
        data = simulated_bursts(seed=seed, frames=frames, size=size, with_truth=False)
        start, _ = calibrate(data, "shot_read_uniform_row1_periodic")
        found.append([start["shot_gain"] / 1.0 - 1, start["read_std"] / 2.5 - 1, start["row1_std"] / 0.8 - 1])
    errors = np.array(found)
    return errors.mean(axis=0), errors.std(axis=0, ddof=1) / math.sqrt(len(errors))


@pytest.mark.parametrize("frames", (2, 3, 4, 8))
def test_no_bias_without_ground_truth(frames: int) -> None:
    """5 standard errors of the mean over seeds; at T = 4 the correction that must be there is 15 % of a std."""
    mean, error = errors_of(frames, range(10, 26))
    assert (np.abs(mean) < 5 * error).all(), (mean, error)
    assert (5 * error < [0.02, 0.04, 0.10]).all(), error  # the check is sharp enough to see a wrong T / (T - 1)


def test_rowt_fixed_pattern_come_from_darks_and_are_held_without_truth() -> None:
    data = simulated_bursts(seed=2, frames=8, size=SIZE, with_truth=False)
    _, result = calibrate(data)
    assert sorted(result.held) == ["fixed1", "periodic.std0", "rowt"]
    assert not result.notes  # darks say it all
    true = data.true_pattern.double() * data.levels.range_dn
    measured = Evidence(data.bursts, data.levels).pattern[0] * data.levels.range_dn
    error = measured - true
    white = (2.5**2 + 1 / 12) / 32  # 4 darks of 8 frames
    single = error - error.mean(dim=1, keepdim=True) - error.mean(dim=0) + error.mean()
    freedom = (SIZE[0] - 1) * (SIZE[1] - 1)
    assert abs(float(single.square().sum()) / freedom - white) < 5 * white * math.sqrt(2 / freedom)
    pattern = result.start["fixed1_pattern"].double().squeeze() * data.levels.range_dn
    banding = 0.36 / 4 + 0.64 / 32 + white / SIZE[1]  # some of it goes out of the pattern
    assert float((pattern - true).mean(dim=1).var()) < banding * (1 + 5 * math.sqrt(2 / SIZE[0]))


@pytest.mark.parametrize("layout", ("mosaic", "planes"))
def test_banding_of_few_darks_is_no_fixed_pattern(layout: str) -> None:
    """What is left of rowt in the mean of 4 darks goes out of the pattern; its columns stay."""
    banding, left = 4.0, []
    for seed in range(6):
        rng = np.random.default_rng((1, seed))
        columns, darks = 2.0 * rng.standard_normal((1, SIZE[1])), []
        for i in range(4):
            burst = record(0.0, 6, 10 * seed + i, kind="dark", layout=layout, column=0, wave=0)
            burst.source.dn[...] += banding * rng.standard_normal((SIZE[0], 1)) + columns
            darks.append(burst)
        result = calibrate_closed_form(darks, "read_row1_rowt_fixed1", LEVELS)
        pattern = result.start["fixed1_pattern"].squeeze().double() * LEVELS.range_dn
        rest = (ROW**2 + READ**2 / 128) / 6
        check_std(in_dn(result.start, LEVELS)["rowt_std"], banding, SIZE[0] * 3, rest, "rowt")
        left.append(float(pattern.mean(dim=1).var()))
        assert float((pattern.mean(dim=0) - torch.from_numpy(columns[0])).std()) < 5 * READ / math.sqrt(24 * 96)
    assert np.mean(left) < 0.25 * banding**2 / 4, f"banding of {np.mean(left) ** 0.5:.2f} DN is left"


def test_without_darks_static_terms_are_noted() -> None:
    data = simulated_bursts(seed=2, frames=4, size=SIZE, with_truth=False)
    result = calibrate_closed_form(data.scenes, WORDS + "_prnu_colt", data.levels)
    assert sorted(result.held) == ["colt", "fixed1", "periodic.std0", "prnu", "rowt"]
    for word in ("rowt", "colt", "fixed1", "prnu", "periodic.std0"):
        assert any(note.startswith(f"{word}:") for note in result.notes), word
    assert "fixed1_pattern" not in result.start and result.start["prnu_std"] < 1e-5


def test_with_truth_nothing_is_held() -> None:
    data = simulated_bursts(seed=2, frames=4, size=SIZE)
    result = calibrate_closed_form(data.bursts, WORDS, data.levels)
    assert not result.held and not result.notes


def test_the_line_through_variances_goes_on_below_black() -> None:
    """A dark burst's mean lies a little above or below 0: clipped there, its light would be overstated."""
    x = torch.tensor([-2.0, -0.5, 0.3, 2.5, 50.0], dtype=torch.float64)
    same = torch.ones_like(x)
    levels = SignalLevels(x, 9 + 0.5 * x, 0.01 * same, 100 * same, 0 * same)
    line = photon_transfer([SimpleNamespace(levels=levels, burst=SimpleNamespace(kind="scene", name="five"))])
    assert (line.intercept.value, line.gain.value) == pytest.approx((9.0, 0.5))


def test_rounding_is_taken_off_the_read_noise() -> None:
    """``uniform`` explains 1/12 DN^2 of what ``read`` would be without it."""
    data = [record(ramp(30, 600), 4, i) for i in range(2)]
    with_uniform, without = (calibrated(data, f"shot_read{words}_row1")[1] for words in ("_uniform", ""))
    assert without**2 - with_uniform**2 == pytest.approx(1 / 12)


# Column noise, layouts, lamps, highlights, prnu.


@pytest.mark.parametrize("layout", ("planes", "mosaic"))
@pytest.mark.parametrize("truth", (True, False))
def test_row_column_and_periodic_noise_of_an_own_recording(layout: str, truth: bool) -> None:
    frames, bursts = 6, 5
    data = [record(ramp(30, 900), frames, i, layout=layout, truth=truth) for i in range(2)]
    data += [record(0.0, frames, 10 + i, layout=layout, truth=truth, kind="dark") for i in range(bursts)]
    start = in_dn(calibrate_closed_form(data, "shot_read_row1_col1_periodic", LEVELS).start, LEVELS)
    extra = bursts * (frames - 1)
    check_std(start["row1_std"], ROW, SIZE[0] * extra, READ**2 / SIZE[1], "row1")
    check_std(start["col1_std"], COLUMN, SIZE[1] * extra, READ**2 / SIZE[0], "col1")
    assert start["periodic_freq"] == FREQ
    for i in (1, 2):  # column noise at the same frequency is in the wave's estimate: var 2 COLUMN^2 / columns
        rest = (COLUMN**2 + READ**2 / SIZE[0]) * 2 / SIZE[1]
        check_std(start["periodic_std"][i], WAVE, extra, rest, f"periodic.std{i}")
    assert abs(start["shot_gain"] / GAIN - 1) < 5 * math.sqrt(2 / (2 * SIZE[0] * SIZE[1] * (frames - 3)))
    of_pixels = (READ**2 + ROW**2 + COLUMN**2 + WAVE**2) * math.sqrt(2 / (SIZE[0] * SIZE[1] * bursts * (frames - 3)))
    # Taken off again, each with its own error: waves from few frames, lines from many.
    taken = [
        WAVE**2 / math.sqrt(extra),
        COLUMN**2 * math.sqrt(2 / (SIZE[1] * extra)),
        ROW**2 * math.sqrt(2 / (SIZE[0] * extra)),
    ]
    assert abs(start["read_std"] ** 2 - READ**2) < 5 * math.hypot(of_pixels, *taken)


def calibrated(bursts: Sequence[Burst], words: str = "shot_read_row1") -> Array:
    start = in_dn(calibrate_closed_form(bursts, words, LEVELS).start, LEVELS)
    return np.array([float(start[key]) for key in ("shot_gain", "read_std", "row1_std")])


@pytest.mark.parametrize("truth", (True, False))
def test_lamp_drift_moves_nothing(truth: bool) -> None:
    """The same noise, with and without an offset per frame of 5 times the read noise."""
    quiet = {"truth": truth, "column": 0.0, "wave": 0.0}
    steady = [record(ramp(30, 600), 4, i, **quiet) for i in range(3)]
    moved = []
    for i, burst in enumerate(steady):
        offsets = 15.0 * np.random.default_rng(100 + i).standard_normal((4, 1, 1))
        offsets -= offsets.mean()
        moved.append(dataclasses.replace(burst, source=Recording(burst.source.dn + offsets)))
    np.testing.assert_allclose(calibrated(moved), calibrated(steady), rtol=2e-3)


def test_saturated_highlights_move_nothing() -> None:
    """A quarter of the picture far above white: all that counts is the rest."""
    quiet = {"column": 0.0, "wave": 0.0}
    scene = ramp(30, 600)
    scene[:, -32:] = 2000.0
    start = calibrated([record(scene, 4, i, **quiet) for i in range(4)])
    rows = SIZE[0] * 4 * 3
    pixels = SIZE[0] * 96 * 4  # one degree of freedom of 4 frames: two of them sort the pixels
    assert abs(start[0] / GAIN - 1) < 5 * math.sqrt(2 / pixels) * 2
    mean_white = (GAIN * 315 + READ**2) / 96
    check_std(start[2], ROW, rows, mean_white, "row1")
    start_dark = READ**2 + GAIN * 30
    assert abs(start[1] ** 2 - READ**2) < 5 * start_dark * math.sqrt(2 / pixels) * 3


def test_prnu_from_flats() -> None:
    gain_map = 0.02 * np.random.default_rng(7).standard_normal(SIZE)
    quiet = {"row": 0.0, "column": 0.0, "wave": 0.0}
    flats = [record(level, 8, i, kind="flat", gain_map=gain_map, **quiet) for i, level in enumerate((100.0, 600.0))]
    result = calibrate_closed_form(flats, "shot_read_prnu", LEVELS)
    temporal = (GAIN * 600 + READ**2) / 8 / 600**2
    check_std(result.start["prnu_std"], float(gain_map.std()), gain_map.size, temporal, "prnu")
    assert result.held == ["prnu"]
