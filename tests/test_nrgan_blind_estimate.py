"""Shot and read noise from noisy images alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisemodel.families import amounts, corrupt
from noisemodel.streams import stream
from nrgan.blind_estimate import BlindEstimate, blind_estimate
from nrgan.corruption import NoisyImages
from nrgan.data import clean_images
from nrgan.physical_prior import LEAST, PhysicalPrior, physical_noise


def smooth_images(count: int, seed: int) -> torch.Tensor:
    """(count, 3, 32, 32): planes of slope, 0.3 to 0.7; nothing in the quiet directions."""
    draws = stream(seed, "smooth")
    base, slope = torch.rand(count, 3, 1, 1, generator=draws), torch.randn(count, 3, 2, 1, generator=draws)
    at = torch.linspace(-1, 1, 32)
    field = slope[:, :, :1] * at + slope[:, :, 1:] * at[:, None]
    return (0.4 + 0.2 * base + 0.005 * field).clamp(0.3, 0.7)


@settings(deadline=None, max_examples=5)
@given(gain=st.floats(1e-3, 8e-3), read=st.floats(0.01, 0.05), seed=st.integers(0, 999))
def test_it_finds_the_amounts_of_smooth_images(gain, read, seed):
    clean = smooth_images(256, seed)
    draws = stream(seed, "noise")
    noisy = clean + (gain * clean + read**2).sqrt() * torch.randn(clean.shape, generator=draws)
    found = blind_estimate(noisy)
    assert found is not None
    middle = gain * 0.5 + read**2  # where the line is best known
    # 256 images, a quarter of their directions: std of the mean power 3.2e-3; the slope's lever is 0.2 of the level.
    assert found.shot_gain * 0.5 + found.read_std**2 == pytest.approx(middle, rel=5 * 3.2e-3)
    assert found.shot_gain == pytest.approx(gain, abs=5 * 3.2e-3 * middle / 0.06)


def test_it_finds_the_simulated_sensor_in_the_embedded_pictures():
    images = NoisyImages(clean_images(), "sensor", 0)
    found = blind_estimate(images.batch(slice(0, 4096)))
    assert found is not None
    # Texture and clipping leave some per cent (measured: 7 % and 8 %).
    assert found.shot_gain == pytest.approx(0.02, rel=0.12)
    assert found.read_std == pytest.approx(15 / 255, rel=0.12)


def test_amounts_that_vary_by_image_give_their_medians_and_spread():
    clean = smooth_images(4096, 3)
    true = amounts("sensor5-25", 4096, seed=0)
    found = blind_estimate(corrupt("sensor5-25", clean, seed=0, clip=False))
    assert found is not None
    power = true["shot.gain"] * 0.5 + true["read.std"].square()
    shot, read = found.shot_gain / 2, found.read_std**2
    grown = math.exp(found.spread**2 / 2)  # the mean of a log-normal number over its median
    # 4096 amounts: the relative std of their mean is 0.4 / 64.
    assert (shot + read) * grown == pytest.approx(float(power.mean()), rel=5 * 0.4 / 64)
    variance = (math.exp(found.spread**2) - 1) * grown**2 * (shot**2 + read**2)
    assert variance == pytest.approx(float(power.var()), rel=0.15)


def test_amounts_that_do_not_vary_have_no_spread():
    found = blind_estimate(corrupt("sensor", smooth_images(2048, 4), seed=0, clip=False))
    assert found is not None and found.spread == 0.0


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_the_head_starts_with_the_spread_that_was_found(spread):
    found = BlindEstimate(0.02, 0.05, spread)
    start = physical_noise("shot_read", found=found)
    prior = PhysicalPrior(start, True, generator=stream(0, "head"), spread=found.spread)
    values = prior.parameters_of(torch.randn(4096, 128, generator=stream(0, "z")))
    logs = torch.stack([values["shot.gain"].log(), values["read.std"].square().log()]).detach()
    # 5 standard errors of a std and of a correlation of 4096 draws, twice: of the scale, and of its test.
    assert logs.std(dim=1).tolist() == pytest.approx([spread, spread], rel=2 * 5 / (2 * 4096) ** 0.5)
    assert logs.mean(dim=1).exp().tolist() == pytest.approx([0.02, 0.0025], rel=5 * (spread + 1e-4) / 64)
    if spread:
        assert abs(float(torch.corrcoef(logs)[0, 1])) < 0.25  # of hidden units that are alike by chance


@pytest.mark.parametrize(
    "images",
    [torch.rand(1, 3, 32, 32), torch.rand(8, 3, 4, 4), torch.zeros(8, 3, 32, 32), torch.full((8, 3, 32, 32), 0.0)],
    ids=["one image", "smaller than a patch", "black", "all black"],
)
def test_without_a_line_there_is_no_estimate(images):
    assert blind_estimate(images) is None


def test_the_prior_starts_from_what_was_found():
    found = blind_estimate(NoisyImages(clean_images(), "sensor", 0).batch(slice(0, 512)))
    assert found is not None
    started = {p.name: p.value for p in physical_noise("shot_read", found=found).parameters_table()}
    assert started["shot.gain"] == pytest.approx(found.shot_gain, rel=1e-5)
    assert started["read.std"] == pytest.approx(found.read_std, rel=1e-5)
    without_shot = physical_noise("read_row1", found=found._replace(read_std=0.0))
    least = LEAST["read_std"]
    assert {p.name: p.value for p in without_shot.parameters_table()}["read.std"] == pytest.approx(least, rel=1e-5)


def test_noise_in_the_level_does_not_flatten_the_line():
    """Grey levels so close together that a fifth of their variance is noise: plain least squares loses that share."""
    gain, read = 8e-3, 0.03
    clean = (0.45 + 0.1 * torch.rand(4096, 3, 1, 1, generator=stream(0, "close"))).expand(-1, -1, 32, 32)
    noise = (gain * clean + read**2).sqrt() * torch.randn(clean.shape, generator=stream(0, "noise"))
    found = blind_estimate(clean + noise)
    assert found is not None
    assert found.shot_gain == pytest.approx(gain, rel=4 * 0.032)  # standard error of the slope: 3.2 %
