"""Pictures for the eye: one stretch, right colours, the sRGB curve."""

import numpy as np
import pytest
import torch

from noisemodel import InputError, stream
from noisemodel.sensor.rendering import Stretch, plane_colours, render, srgb_curve, stretch_of


def test_the_same_signal_gets_the_same_brightness_in_every_picture():
    scene = torch.rand(4, 16, 16, generator=stream(0, "scene"))
    stretch = stretch_of(scene, "mosaic", "RGGB")
    other = scene.clone()
    other[:, 8:] = 0.9
    first, second = (render(image, stretch, "mosaic", "RGGB") for image in (scene, other))
    assert first.shape == (32, 32, 3)
    np.testing.assert_array_equal(first[:12], second[:12])


def test_srgb_curve():
    x = np.array([-1.0, 0.0, 0.002, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(srgb_curve(x), [0, 0, 0.02584, 0.735357, 1, 1], atol=1e-5)


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
@pytest.mark.parametrize("demosaic", ["bilinear", "menon2007"])
def test_a_mosaic_of_one_colour_gets_that_colour(cfa, demosaic):
    values = {"R": 0.6, "G": 0.3, "B": 0.1}
    planes = torch.tensor([values[c] for c in cfa]).view(4, 1, 1).expand(4, 8, 8)
    picture = render(planes, Stretch(0.0, 1.0), "mosaic", cfa, demosaic=demosaic)
    expected = srgb_curve(np.array([0.6, 0.3, 0.1]))
    np.testing.assert_allclose(picture[4:-4, 4:-4], np.broadcast_to(expected, (8, 8, 3)), atol=1e-5)


def test_white_balance_makes_the_mean_grey():
    planes = torch.tensor([0.2, 0.4, 0.4, 0.2]).view(4, 1, 1) * torch.rand(4, 8, 8, generator=stream(0, "balance"))
    stretch = stretch_of(planes, "mosaic", "RGGB")
    red, green, blue = (planes[[0]].mean(), planes[1:3].mean(), planes[[3]].mean())
    assert stretch.balance == pytest.approx((float(green / red), 1.0, float(green / blue)))
    assert stretch_of(planes, "mosaic", "RGGB", balance=False).balance == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("layout", "cfa", "channels", "shape"),
    [
        ("planes", None, 1, (8, 8)),
        ("planes", None, 3, (8, 8, 3)),
        ("mosaic", None, 4, (8, 8)),
        ("mosaic", "RCCB", 4, (8, 8)),
    ],
)
def test_what_has_no_known_colours_is_grey(layout, cfa, channels, shape):
    image = torch.rand(channels, 8, 8, generator=stream(0, "grey"))
    assert render(image, stretch_of(image, layout, cfa), layout, cfa).shape == shape
    assert (plane_colours(layout, cfa, channels) is None) == (len(shape) == 2)


def test_a_flat_picture_is_stretched_over_its_noise_and_a_scene_from_black():
    flat = 0.6 + 0.01 * torch.randn(1, 64, 64, generator=stream(0, "flat"))
    stretch = stretch_of(flat, "planes")
    assert stretch.low > 0.5 and stretch.high < 0.7
    scene = torch.linspace(0.1, 0.9, 4096).view(1, 64, 64)
    assert stretch_of(scene, "planes").low == 0.0
    assert stretch_of(scene, "planes", from_black=False).low > 0.1


def test_an_unknown_demosaicing_is_refused():
    with pytest.raises(InputError, match="known: bilinear, menon2007"):
        render(torch.zeros(4, 4, 4), Stretch(0, 1), "mosaic", "RGGB", demosaic="best")
