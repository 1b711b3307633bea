"""How noisy a picture is: found from the picture alone, for noise that is white, coarse, coloured or bright."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from denoisers.ntgan_levels import (
    BINS,
    BLOCK,
    BOXES,
    PictureLevels,
    block_covariances,
    measure_levels,
    measured_noise,
    share_out,
    unit_leaks,
)
from denoisers.ntgan_step import Rows
from noisemodel import stream
from noisemodel.errors import InputError
from noisemodel.png import read_png

CC15 = Path(__file__).parents[2] / "shared/data/cc15"
SIDE = 512


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def white(*shape: int, name: str = "white") -> Tensor:
    return torch.randn(shape, generator=stream(0, name, *shape))


def enlarged(box: int) -> Tensor:
    """Noise of std 1 on a grid of ``box`` pixels."""
    return functional.interpolate(white(1, 3, SIDE // box, SIDE // box), size=(SIDE, SIDE), mode="bilinear")


def picture() -> Tensor:
    """Smooth shades, and a textured third that noise must not be read from."""
    down, across = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    shades = 0.2 + 0.6 * torch.stack([across, (across + down) / 2, 1 - across])[None]
    stripes = 0.1 * torch.sin(torch.arange(SIDE) * 1.9)[:, None].expand(SIDE, SIDE)
    return shades + stripes * (torch.arange(SIDE) % 96 < 32)[:, None]


def made(images: Tensor, like: Tensor) -> Tensor:
    """Noise on ``images`` with the levels that are measured of ``like``."""
    return measured_noise(images, measure_levels(like), Rows(1, slice(0, 1), stream(0, "made")))


def stds(noise: Tensor) -> list[float]:
    """Std after means over boxes of 1, 2, 4 pixels."""
    return [float(functional.avg_pool2d(noise, box).std()) for box in BOXES]


def test_blocks_without_their_planes_have_the_variance_of_the_noise():
    """White noise of variance 1 on a slope: mean over blocks, by its standard error; box means divide it by 4."""
    x = white(4, 3, 256, 256)
    ramp = torch.linspace(0, 9, 256) + torch.linspace(0, 5, 256)[:, None]
    light, found = block_covariances(x + ramp)
    blocks = 4 * (256 // BLOCK) ** 2
    for number, box in enumerate(BOXES):
        freedom = (BLOCK // box) ** 2 - 3
        error = math.sqrt(2 / freedom / blocks / 3) / box**2
        assert float(found[:, number, :3].mean()) == pytest.approx(1 / box**2, abs=5 * error)
        assert float(found[:, number, 3:].mean()) == pytest.approx(0, abs=5 * error)
    torch.testing.assert_close(light.mean(), (x + ramp).double().mean())


@pytest.mark.parametrize("mix", [(1, 0, 0), (0, 1, 0), (0.5, 0.5, 0.5), (0.3, 0, 0.8)])
def test_noise_is_as_strong_and_as_coarse_as_the_pictures(mix):
    own = 0.03 * sum(share * enlarged(box) for share, box in zip(mix, BOXES, strict=True))
    found = stds(made(picture(), picture() + own))
    for ours, true in zip(found, stds(own), strict=True):
        assert ours == pytest.approx(true, rel=0.12)


def test_noise_follows_brightness():
    shades = picture()
    std = 0.02 + 0.08 * shades
    found = made(shades, shades + std * white(1, 3, SIDE, SIDE))
    dark, bright = shades < 0.35, shades > 0.65
    for where in (dark, bright):
        assert float(found[where].std()) == pytest.approx(float(std[where].square().mean().sqrt()), rel=0.1)
    assert float(found[bright].std() / found[dark].std()) > 1.6


def test_channels_are_correlated_as_the_pictures():
    grey, own = white(1, 1, SIDE, SIDE, name="grey"), white(1, 3, SIDE, SIDE)
    smooth = picture()[..., 32:64, :].repeat_interleave(SIDE // 32, dim=-2)  # no texture: it is alike in the channels
    for share, expected in ((0.0, 0.0), (0.5, 0.5), (0.9, 0.9)):
        noise = 0.04 * (math.sqrt(share) * grey + math.sqrt(1 - share) * own)
        found = torch.corrcoef(made(smooth, smooth + noise)[0].flatten(1))
        assert float(found[0, 1]) == pytest.approx(expected, abs=0.06)
        assert float(found[1, 2]) == pytest.approx(expected, abs=0.06)


def test_a_picture_without_noise_gets_none():
    flat = torch.full((1, 3, 64, 64), 0.25)
    assert float(made(flat, flat).abs().max()) == 0
    noise = 0.02 * white(1, 3, 64, 64)
    assert float(made(flat, flat + noise).std()) == pytest.approx(0.02, rel=0.15)  # few blocks: one bin


def test_pictures_without_a_block_are_refused():
    with pytest.raises(InputError, match="at least 16 px"):
        measure_levels(torch.zeros(1, 3, 12, 300))


def test_levels_are_of_a_known_form():
    levels = measure_levels(torch.rand((2, 3, 100, 330), generator=stream(0, "x")))
    assert levels.brightness.shape == (2, 3, BINS) and levels.power.shape == (2, len(BOXES), 3, BINS)
    assert bool((levels.brightness.diff(dim=-1) >= 0).all()) and bool((levels.power >= 0).all())
    squares = levels.mixing @ levels.mixing.mT
    torch.testing.assert_close(squares.diagonal(dim1=-2, dim2=-1), torch.ones(2, len(BOXES), 3))


def test_shares_add_up_to_what_is_wanted():
    leaks = unit_leaks()
    power = torch.rand((3, 50), generator=stream(0, "power"), dtype=torch.float64)
    torch.testing.assert_close(share_out(leaks @ power, leaks), power, rtol=0.02, atol=0.02)
    impossible = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)  # finer than white: the nearest, not below 0
    assert bool((share_out(impossible, leaks) >= 0).all())


def test_pictures_are_measured_once_and_by_number():
    pictures = [torch.randint(0, 256, (3, 48, 64), generator=stream(0, "p", n), dtype=torch.uint8) for n in range(3)]
    levels = PictureLevels(pictures)
    found = levels([2, 0, 2])
    expected = measure_levels(pictures[2][None] / 255)
    for part, one in zip(found, expected, strict=True):
        assert torch.equal(part[:1], one) and torch.equal(part[2:], one) and not torch.equal(part[1:2], one)
    assert sorted(levels.found) == [0, 2]
    pictures[2] = torch.zeros(3, 8, 8, dtype=torch.uint8)
    assert torch.equal(levels([2]).power, expected.power)


@pytest.mark.skipif(not CC15.is_dir(), reason="needs pairs of real pictures")
def test_noise_of_real_pictures_is_found():
    """Within a factor of 2.1 for each of 8 pictures, and of 1.25 in the median: pictures hold texture."""
    ratios = []
    for file in sorted(CC15.glob("*_real.png"))[::2]:
        noisy, clean = (
            torch.tensor(read_png(path)[:512, :512]).permute(2, 0, 1)[None] / 255
            for path in (file, file.with_name(file.name.replace("_real", "_mean")))
        )
        noise, ours = noisy - clean, made(noisy, noisy)
        ratios.append(stds(ours - _coarse(ours))[0] / stds(noise - _coarse(noise))[0])
    assert 0.8 < float(torch.tensor(ratios).median()) < 1.25
    assert max(ratios) < 2.1 and min(ratios) > 1 / 2.1


def _coarse(noise: Tensor) -> Tensor:
    return functional.avg_pool2d(noise, 17, 1, 8, count_include_pad=False)
