"""The camera in torch: mosaic and demosaic, the law of its noise, what is refused."""

import numpy as np
import pytest
import torch
from colour_demosaicing import demosaicing_CFA_Bayer_bilinear, mosaicing_CFA_Bayer

from denoisers.ntgan_camera import (
    PATTERNS,
    CameraLaw,
    Cameras,
    camera_noise,
    demosaic,
    draw_cameras,
    level_map,
    mosaic,
    simulate,
)
from denoisers.ntgan_step import Rows
from denoisers.response_curves import KNOTS, curves_from, gamma_curve
from noisemodel import stream
from noisemodel.errors import InputError

RAMP = np.linspace(0, 1, KNOTS)
LINEAR = curves_from(RAMP, RAMP, "the identity")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rows(count: int, *purpose: str | int, of: slice | None = None) -> Rows:
    return Rows(count, of or slice(0, count), stream(0, *purpose))


def cameras(count: int, *, s: float, c: float, mosaicked: bool) -> Cameras:
    level = torch.ones(count, 3, 1, 1)
    nothing = torch.zeros(count, dtype=torch.int64)
    return Cameras(nothing, s * level, c * level, torch.zeros(count, 2, dtype=torch.int64), nothing.bool() | mosaicked)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [(2, 2), (7, 10), (12, 9)])
def test_demosaicing_is_that_of_colour_demosaicing(pattern, size):
    x = torch.rand((1, 3, *size), generator=stream(0, "picture", *size))
    red = torch.tensor([PATTERNS[pattern]])
    theirs = mosaicing_CFA_Bayer(x[0].permute(1, 2, 0).double().numpy(), pattern)
    ours = mosaic(x, red)
    np.testing.assert_allclose(ours[0, 0], theirs, atol=1e-7)
    expected = demosaicing_CFA_Bayer_bilinear(theirs, pattern)
    np.testing.assert_allclose(demosaic(ours, red)[0].permute(1, 2, 0), expected, atol=1e-6)


def test_a_batch_may_hold_every_pattern():
    x = torch.rand((4, 3, 6, 8), generator=stream(0, "pictures"))
    red = torch.tensor(list(PATTERNS.values()))
    one_by_one = [mosaic(x[k : k + 1], red[k : k + 1]) for k in range(4)]
    assert torch.equal(mosaic(x, red), torch.cat(one_by_one))


@pytest.mark.parametrize(("s", "c"), [(0.1, 0.0), (0.0, 0.05), (0.1, 0.05)])
def test_the_sigmas_are_stds(s, c):
    """On a linear camera at light I: std = sqrt((s I)^2 + c^2), and the level map says so."""
    light = torch.full((1, 3, 160, 160), 0.5)
    camera = cameras(1, s=s, c=c, mosaicked=False)
    found = camera_noise(light, camera, LINEAR, rows(1, "noise", str(s), str(c)))
    expected = ((s * 0.5) ** 2 + c**2) ** 0.5
    assert float(found.std()) == pytest.approx(expected, rel=5 / (2 * found.numel()) ** 0.5)
    torch.testing.assert_close(level_map(light, camera, LINEAR), torch.full_like(light, expected), rtol=1e-3, atol=0)
    neighbours = (found[..., 1:] * found[..., :-1]).mean() / found.var()
    assert abs(float(neighbours)) < 5 / found.numel() ** 0.5


def test_the_level_map_follows_the_response():
    """At a gamma curve, to first order in the noise."""
    curves, light = gamma_curve(), torch.tensor([0.3, 0.5, 0.8]).view(3, 1, 1, 1).expand(3, 3, 100, 100)
    camera = cameras(3, s=0.01, c=0.005, mosaicked=False)
    found = camera_noise(light, camera, curves, rows(3, "noise")).std(dim=(1, 2, 3))
    expected = level_map(light, camera, curves).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, expected, rtol=0.01 + 5 / (2 * 30000) ** 0.5, atol=0)


def test_a_mosaic_makes_noise_coarse():
    """The same draws through the mosaic; a channel's missing pixels are means of its neighbours."""
    x = torch.full((1, 3, 64, 64), 0.5)
    plain, coarse = (
        camera_noise(x, cameras(1, s=0, c=0.05, mosaicked=on), LINEAR, rows(1, "one")) for on in (False, True)
    )
    torch.testing.assert_close(coarse[:, 0, 2::2, 2::2], plain[:, 0, 2::2, 2::2])
    inside = (plain[:, 0, 2::2, 2:-2:2] + plain[:, 0, 2::2, 4::2]) / 2
    torch.testing.assert_close(coarse[:, 0, 2::2, 3:-2:2], inside)
    assert float(coarse[:, 0].std()) < 0.85 * float(plain[:, 0].std())


@pytest.mark.parametrize(("centred", "biased"), [(True, False), (False, True)])
def test_centred_noise_has_mean_zero(centred, biased):
    """In the dark a bent, clipped response moves the mean of camera noise; by 5 standard errors."""
    x = torch.full((1, 3, 128, 128), 0.1)
    camera = cameras(1, s=0.1, c=0.05, mosaicked=False)
    found = camera_noise(x, camera, gamma_curve(), rows(1, "centred"), centred=centred)
    errors = float(found.mean().abs() / (found.std() / found.numel() ** 0.5))
    assert (errors > 5) == biased


def test_without_noise_the_picture_is_left_alone_or_demosaicked():
    x = torch.rand((1, 3, 16, 16), generator=stream(0, "picture"))
    camera = cameras(1, s=0.0, c=0.0, mosaicked=True)
    assert float(camera_noise(x, camera, gamma_curve(), rows(1, "n")).abs().max()) < 1e-5
    passed = simulate(x, camera, gamma_curve(), rows(1, "n"))
    torch.testing.assert_close(passed, demosaic(mosaic(x, camera.red), camera.red), atol=1e-5, rtol=0)


def test_cameras_follow_their_law():
    law = CameraLaw(curves_from(np.stack([RAMP] * 5), np.stack([RAMP] * 5), "five"), 0.2, 0.1, 0.25)
    count = 4000
    found = draw_cameras(law, rows(count, "cameras"))
    for sigma, most in ((found.sigma_s, 0.2), (found.sigma_c, 0.1)):
        assert float(sigma.max()) <= most
        assert float(sigma.mean()) == pytest.approx(most / 2, abs=5 * most / (12 * 3 * count) ** 0.5)
    assert float(found.mosaic.float().mean()) == pytest.approx(0.25, abs=5 * (0.1875 / count) ** 0.5)
    each = torch.bincount(found.which, minlength=5) / count
    torch.testing.assert_close(each, torch.full((5,), 0.2), atol=5 * (0.16 / count) ** 0.5, rtol=0)
    phases = torch.bincount(found.red @ torch.tensor([2, 1]), minlength=4) / count
    torch.testing.assert_close(phases, torch.full((4,), 0.25), atol=5 * (0.1875 / count) ** 0.5, rtol=0)


@pytest.mark.parametrize("wrong", [{"sigma_s": -0.1}, {"sigma_s": 0.0, "sigma_c": 0.0}, {"mosaic_share": 1.1}])
def test_impossible_cameras_are_refused(wrong):
    with pytest.raises(InputError):
        CameraLaw(LINEAR, **wrong)
