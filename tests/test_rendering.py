"""Raw developed for the eye: known colours come out, whatever the mosaic, black levels and camera."""

import numpy as np
import pytest
import torch
from raw_files import CFAS, XYZ_TO_CAMERA, codes, write_dng

from noisemodel import InputError, pack_mosaic, stream, unpack_mosaic
from noisemodel.sensor.raw import XYZ_FROM_SRGB, camera_to_srgb, read_raw
from noisemodel.sensor.rendering import DEMOSAIC, demosaicing, develop, develop_raw, srgb_curve

SRGB = np.array([0.2, 0.45, 0.1])  # linear, of one flat scene
BALANCE = (2.0, 1.0, 1.5)


def flat_planes(camera_rgb, cfa: str, size: int = 16) -> torch.Tensor:
    values = dict(zip("RGB", camera_rgb, strict=True))
    return torch.tensor([values[colour] for colour in cfa]).float().view(4, 1, 1).expand(4, size, size)


def camera_rgb(srgb: np.ndarray, balance) -> np.ndarray:
    """What the camera of XYZ_TO_CAMERA, with as-shot gains ``balance``, records of linear sRGB."""
    camera = XYZ_TO_CAMERA @ XYZ_FROM_SRGB
    return (camera / camera.sum(axis=1, keepdims=True)) @ srgb / np.array(balance)


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("demosaic", list(DEMOSAIC))
def test_a_known_colour_comes_out(cfa, demosaic):
    planes = flat_planes(camera_rgb(SRGB, BALANCE), cfa)
    matrix = camera_to_srgb(XYZ_TO_CAMERA)
    picture = develop(planes, cfa, white_balance=BALANCE, colour_matrix=matrix, demosaic=demosaic)
    assert picture.shape == (32, 32, 3)
    np.testing.assert_allclose(picture, np.broadcast_to(srgb_curve(SRGB), picture.shape), atol=1e-5)


@pytest.mark.parametrize("cfa", CFAS)
def test_a_known_colour_comes_out_of_a_file(tmp_path, cfa):
    black, white = (200, 210, 220, 230), 16383
    signal = flat_planes(camera_rgb(SRGB, BALANCE), cfa)
    dn = (signal * (white - max(black)) + torch.tensor(black).view(4, 1, 1)).round()
    mosaic = unpack_mosaic(dn).numpy().astype(np.uint16)
    raw = read_raw(write_dng(tmp_path / "a.dng", mosaic, bits=16, cfa=cfa, black=black, white=white))
    picture = develop_raw(raw)
    np.testing.assert_allclose(picture, np.broadcast_to(srgb_curve(SRGB), picture.shape), atol=5e-4)


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("demosaic", list(DEMOSAIC))
def test_samples_stay_where_they_are_and_a_grey_ramp_stays_grey(cfa, demosaic):
    """A mosaic of a grey ramp: every method must give the ramp in all colours, so no phase or colour is swapped."""
    ramp = torch.linspace(0.1, 0.8, 32).repeat(32, 1) + torch.linspace(0, 0.1, 32).view(-1, 1)
    picture = demosaicing(demosaic)(ramp.double().numpy(), cfa)
    expected = np.repeat(ramp.double().numpy()[:, :, None], 3, axis=2)
    np.testing.assert_allclose(picture[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-3)
    random = torch.rand(32, 32, generator=stream(0, "mosaic")).double().numpy()
    developed = demosaicing(demosaic)(random, cfa)
    for place, colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), cfa, strict=True):
        rows, columns = slice(place[0], None, 2), slice(place[1], None, 2)
        np.testing.assert_allclose(developed[rows, columns, "RGB".index(colour)], random[rows, columns], atol=1e-12)


def test_blown_lights_are_white_and_black_is_black():
    """Where every colour is at the white level there is no colour left, whatever the white balance."""
    planes = torch.ones(4, 16, 16)
    picture = develop(planes, "RGGB", white_balance=BALANCE, colour_matrix=camera_to_srgb(XYZ_TO_CAMERA))
    np.testing.assert_allclose(picture, 1, atol=1e-6)
    np.testing.assert_array_equal(develop(-0.01 * planes, "RGGB", white_balance=BALANCE), 0)


def test_brightness_is_a_factor_on_light():
    planes = flat_planes((0.1, 0.2, 0.05), "GBRG")
    picture = develop(planes, "GBRG", brightness=2.0)[8, 8]
    np.testing.assert_allclose(picture, srgb_curve(np.array([0.2, 0.4, 0.1])), atol=1e-6)


def test_a_file_without_white_balance_gets_the_grey_world(tmp_path):
    raw = read_raw(write_dng(tmp_path / "a.dng", codes(), AsShotNeutral=None))
    assert develop_raw(raw, demosaic="bilinear").shape == (38, 52, 3)


def test_packing_and_unpacking_are_exact():
    mosaic = torch.from_numpy(codes(bits=16).astype(np.int32))
    assert torch.equal(unpack_mosaic(pack_mosaic(mosaic)), mosaic)


@pytest.mark.parametrize(("cfa", "planes"), [("RCCB", 4), ("RGB", 3)])
def test_other_colours_and_methods_are_refused(cfa, planes):
    with pytest.raises(InputError, match="R, G and B"):
        develop(torch.zeros(planes, 4, 4), cfa)
    with pytest.raises(InputError, match="known: bilinear, menon2007, malvar2004"):
        develop(torch.zeros(4, 4, 4), "RGGB", demosaic="best")
