"""denoisers.tiling: weights that add up, and tiles that give what the whole image gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from denoisers import DenoiserSettings, build_denoiser
from denoisers.tiling import GRID, check_tiles, denoise_tiled, spans
from noisemodel import InputError, stream
from noisemodel.networks import reflect_to_multiple


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 4), st.integers(0, 6))
def test_weights_add_up_to_one_and_tiles_fit(length: int, overlap: int, more: int) -> None:
    overlap, tile = GRID * overlap, GRID * (2 * overlap + more)
    total, covered = torch.zeros(length), torch.zeros(length)
    for span in spans(length, tile, overlap):
        assert span.start % GRID == 0 and 0 < span.stop - span.start <= tile
        assert span.stop == length or (span.stop - span.start) == tile
        assert bool((span.weight >= 0).all())
        total[span.start : span.stop] += span.weight
        covered[span.start : span.stop] += 1
    torch.testing.assert_close(total, torch.ones(length), rtol=0, atol=1e-6)
    assert covered.max() <= 2


def test_the_outer_pixels_of_a_tile_count_nothing_but_at_the_image_border() -> None:
    first, *_, last = spans(500, 256, 64)
    assert float(first.weight[0]) == 1 and float(last.weight[-1]) == 1
    assert bool((first.weight[-24:] == 0).all()) and bool((last.weight[:24] == 0).all())
    assert 0 < float(first.weight[-32]) < 1


def halving(kernels: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """A network with one halving, max pooling and zero padding, which sees 2 + 2 * 2 + 1 pixels around itself."""
    height, width = image.shape[-2:]
    x = reflect_to_multiple(image, 32)
    y = functional.conv2d(x, kernels, padding=1).relu()
    low = functional.conv2d(functional.max_pool2d(y, 2), kernels, padding=1)
    y = functional.conv2d(y + functional.interpolate(low, scale_factor=2), kernels, padding=1)
    return y[..., :height, :width]


@pytest.mark.parametrize("shape", [(97, 201), (128, 96), (1, 300), (333, 1), (65, 64)])
@pytest.mark.parametrize("frames", [None, 5])
def test_tiles_give_what_the_whole_image_gives(shape: tuple[int, int], frames: int | None) -> None:
    rng = stream(0, "tiling", *shape)
    kernels = torch.randn(3, 3, 3, 3, generator=rng) / 5
    image = torch.rand(1, *([] if frames is None else [frames]), 3, *shape, generator=rng)
    weights = torch.rand(5, generator=rng).view(5, 1, 1, 1)

    def network(x: torch.Tensor) -> torch.Tensor:
        return halving(kernels, x if x.ndim == 4 else (x * weights).sum(1))

    found = denoise_tiled(network, image, tile=64, overlap=32)
    torch.testing.assert_close(found, network(image), rtol=0, atol=1e-5)


def test_tiles_of_the_unet_give_what_the_whole_image_gives() -> None:
    settings = DenoiserSettings("n2n", "unet", 1, "srgb", width=3)
    denoiser = build_denoiser(settings, generator=stream(0, "unet"))
    image = torch.rand(1, 1, 45, 1501, generator=stream(0, "strip"))
    whole = denoiser.denoise(image)
    found = denoise_tiled(denoiser.denoise, image, tile=896, overlap=448)  # 168 pixels of context
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    near = denoise_tiled(denoiser.denoise, image, tile=512, overlap=64)
    assert float((near - whole).abs().max()) > 1e-4  # less context is seen


def test_tiles_smaller_than_the_network_sees_still_blend_without_seams() -> None:
    image = torch.rand(1, 1, 150, 220, generator=stream(0, "wide"))

    def blurred(x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(functional.pad(x, (20,) * 4, mode="replicate"), 41, stride=1)

    found, whole = denoise_tiled(blurred, image, tile=64, overlap=32), blurred(image)
    inside = (found - whole).abs()
    assert 1e-5 < float(inside.max()) < 0.05
    assert float(found.diff(dim=-1).abs().max()) < 2 * float(whole.diff(dim=-1).abs().max()) + 0.01


def test_a_constant_stays_constant_and_progress_counts_every_pixel() -> None:
    image, told = torch.full((1, 2, 300, 170), 0.37), []
    found = denoise_tiled(lambda x: x, image, tile=64, overlap=32, done=told.append)
    torch.testing.assert_close(found, image, rtol=0, atol=1e-6)
    assert sum(told) == 300 * 170


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [(50, 32, "--tile must be a multiple of 32"), (-32, 32, "--tile must"), (64, 64, "at most half of --tile 64"),
     (128, 0, "--overlap must be"), (128, 40, "--overlap must be")],
)  # fmt: skip
def test_tiles_that_cannot_be(tile: int, overlap: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_tiles(tile, overlap)
    assert check_tiles(0, 7) == (0, 0)
