"""The simulated camera: its records have the moments and the structure its true parameters say."""

import pickle
import sys

import numpy as np
import pytest
import torch

from datasets import SimulatedCamera, simulated_bursts
from datasets.simulated import PICTURES, exposed_picture
from datasets.unprocessing import inverse_smoothstep, inverse_srgb_gamma, mosaic_rggb, unprocess
from noisemodel.errors import InputError

QUIET = {"read_std": 0.0, "row1_std": 0.0, "rowt_std": 0.0, "periodic_std": (0.0, 0.0, 0.0)}


def test_pictures_load_without_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)  # what scikit-image downloads with
    for name in PICTURES:
        exposure = exposed_picture(name, (512, 640))
        assert exposure.shape == (512, 640)
        assert 0.0 <= exposure.min() < 0.02
        assert exposure.max() <= 0.8
    brightest = max(exposed_picture(name, (256, 256)).max() for name in PICTURES)
    assert 0.6 < brightest <= 0.8


def test_unprocessing_inverts_the_camera() -> None:
    x = np.linspace(0.0, 1.0, 101)
    np.testing.assert_allclose(inverse_smoothstep(3 * x**2 - 2 * x**3), x, atol=1e-7)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(inverse_srgb_gamma(encoded), x, atol=1e-4)
    grey = unprocess(np.full((2, 2, 3), 0.5))[0, 0]
    np.testing.assert_allclose(grey * [2.15, 1.0, 1.7], np.full(3, grey[1]))  # the gains make it grey again
    np.testing.assert_allclose(unprocess(np.ones((1, 1, 3))), 1.0)  # white stays saturated
    colours = np.arange(1.0, 4.0) * np.ones((4, 6, 3))
    np.testing.assert_array_equal(mosaic_rggb(colours)[:2, :2], [[1, 2], [2, 3]])


def test_the_set_holds_scenes_darks_and_flats_with_their_truth() -> None:
    bursts = simulated_bursts(frames=3, size=(64, 80))
    assert (len(bursts.scenes), len(bursts.darks), len(bursts.flats)) == (5, 4, 4)
    assert bursts.has_truth and bursts.sensor_size == (64, 80)
    assert (bursts.cfa, bursts.layout) == ("RGGB", "mosaic")
    assert all(burst.shape == (3, 4, 32, 40) == (3, *burst.truth.shape) for burst in bursts.bursts)
    assert all(not burst.truth.any() for burst in bursts.darks)
    hidden = simulated_bursts(frames=3, size=(64, 80), with_truth=False)
    assert not hidden.has_truth and hidden.true_parameters == bursts.true_parameters
    everything = ([0, 1, 2], slice(None), slice(None))
    for burst, other in zip(bursts.bursts, hidden.bursts, strict=True):
        assert torch.equal(burst.read(*everything), other.read(*everything))
        assert torch.equal(pickle.loads(pickle.dumps(burst)).read(*everything), burst.read(*everything))
    assert not torch.equal(bursts.darks[0].read(*everything), bursts.darks[1].read(*everything))
    other_seed = simulated_bursts(seed=1, frames=3, size=(64, 80))
    assert not torch.equal(other_seed.true_pattern, bursts.true_pattern)


def test_true_parameters_are_fractions_of_white() -> None:
    parameters = simulated_bursts(frames=2, size=(16, 16)).true_parameters
    in_dn = {name: value * (4095 - 256) for name, value in parameters.items()}
    assert in_dn == pytest.approx(
        {
            "shot.gain": 1.0,
            "read.std": 2.5,
            "uniform.width": 1.0,
            "row1.std": 0.8,
            "rowt.std": 0.6,
            "periodic.std0": 0.4,
            "periodic.std1": 0.6,
            "periodic.std2": 0.6,
        }
    )


@pytest.mark.parametrize("level", [0.0, 0.01, 0.1, 0.5])
def test_frame_differences_have_the_true_moments(level: float) -> None:
    """Var of a difference of two frames: 2 (g x + read^2 + 1/12 + row1^2 + s0^2 + (s1^2 + s2^2)/2)."""
    camera = SimulatedCamera(gain=1.5)
    burst = camera.record(np.full((256, 128), level), 40, np.random.default_rng(5), pattern=3.0)
    pairs = np.diff(burst.astype(np.float64), axis=0)[::2]  # (20, rows, columns)
    periodic = 0.4**2 + (0.6**2 + 0.6**2) / 2
    pixel = 1.5 * level * (4095 - 256) + 2.5**2 + 1 / 12
    # A wave of the whole frame is one draw per frame: its square is known to sqrt(2 / 20) only, from pairs.
    squares = (pairs**2).mean(axis=(1, 2))
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - 2 * (pixel + 0.8**2 + periodic)) < 5 * error
    waves = np.fft.rfft(pairs.mean(axis=1), axis=1)
    white = np.abs(np.delete(waves, [0, 16, 64], axis=1)) ** 2 / 128  # without s0, f = 1/8 and the real Nyquist bin
    single = (
        pairs
        - pairs.mean(axis=2, keepdims=True)
        - pairs.mean(axis=1, keepdims=True)
        + pairs.mean(axis=(1, 2), keepdims=True)
    )
    freedom = (255 / 256) * (127 / 128)
    rows = (single**2).mean(axis=(0, 2))
    assert abs(rows.mean() / freedom - 2 * pixel) < 5 * rows.std() / np.sqrt(len(rows))
    assert abs(white.mean() / (2 * pixel / 256) - 1) < 5 / np.sqrt(white.size)
    means = pairs.mean(axis=2) - pairs.mean(axis=(1, 2))[:, None]
    row_squares = (means**2).mean(axis=1) * 256 / 255
    expected = 2 * (0.8**2 + pixel / 128)
    assert abs(row_squares.mean() - expected) < 5 * row_squares.std() / np.sqrt(20)


def test_shot_noise_is_poisson_in_electrons() -> None:
    camera = SimulatedCamera(gain=4.0, **QUIET)
    burst = camera.record(np.full((64, 64), 20.0 / 3839), 50, np.random.default_rng(1)).astype(np.float64) - 256
    assert set(np.unique(burst % 4)) == {0.0}  # whole electrons
    n = burst.size
    electrons = burst / 4
    assert abs(electrons.mean() - 5) < 5 * np.sqrt(5 / n)
    assert abs(electrons.var() - 5) < 5 * np.sqrt((5 + 2 * 25) / n)  # Var of a Poisson's sample variance
    assert abs(((electrons - 5) ** 3).mean() - 5) < 5 * np.sqrt(
        (5 + 24 * 5**2 + 15 * 5**3) / n
    )  # skewed, as no Gaussian is


@pytest.mark.parametrize("part", ["row1", "rowt", "periodic"])
def test_structure(part: str) -> None:
    stds = {"row1": {"row1_std": 20.0}, "rowt": {"rowt_std": 20.0}, "periodic": {"periodic_std": (0.0, 20.0, 30.0)}}
    camera = SimulatedCamera(**{**QUIET, **stds[part]})
    burst = camera.record(np.zeros((64, 64)), 400, np.random.default_rng(2)).astype(np.float64) - 256
    if part == "periodic":
        assert (burst == burst[:, :1]).all()
        waves = np.fft.rfft(burst[:, 0], axis=1) / 32
        assert np.abs(np.delete(waves, 8, axis=1)).max() < 1  # rounding only
        for wave, std in ((waves[:, 8].real, 20.0), (-waves[:, 8].imag, 30.0)):
            assert abs((wave**2).mean() - std**2) < 5 * std**2 * np.sqrt(2 / 400)
        return
    assert (burst == burst[..., :1]).all()
    assert (burst == burst[:1]).all() == (part == "rowt")
    draws = burst[0, :, 0] if part == "rowt" else burst[..., 0]
    assert abs((draws**2).mean() - 20**2) < 5 * 20**2 * np.sqrt(2 / draws.size)


def test_fixed_pattern_has_columns_and_pixels_and_stays_in_the_mean() -> None:
    bursts = simulated_bursts(frames=16, size=(256, 256))
    pattern = bursts.true_pattern.double() * bursts.levels.range_dn
    columns = pattern.mean(dim=0)
    assert abs(float(columns.square().mean()) - 1.5**2 / 2) < 5 * 1.5**2 / 2 * (2 / 256) ** 0.5
    assert abs(float((pattern - columns).square().mean()) - 1.5**2 / 2) < 5 * 1.5**2 / 2 * (2 / 256**2) ** 0.5
    burst = bursts.darks[0]
    mean = (burst.read(range(16), slice(None), slice(None)).double().mean(dim=0)) * bursts.levels.range_dn
    packed = torch.stack([pattern[dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)])
    slope = float((mean * packed).sum() / packed.square().sum())
    # Standard error 0.006, most of it waves of 0.6 DN / sqrt(16 frames) along the columns of the pattern.
    assert abs(slope - 1) < 5 * 0.006


def test_values_are_clipped_to_the_codes() -> None:
    burst = SimulatedCamera(read_std=50.0, black_dn=20.0).record(np.full((32, 32), 0.0), 4, np.random.default_rng(0))
    assert burst.dtype == np.uint16 and burst.min() == 0
    assert SimulatedCamera().record(np.ones((32, 32)), 4, np.random.default_rng(0)).max() == 4095


def test_bad_sizes() -> None:
    with pytest.raises(InputError, match="even sizes"):
        simulated_bursts(size=(63, 64))
    with pytest.raises(InputError, match="2 frames"):
        simulated_bursts(frames=1)
